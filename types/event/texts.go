package event

import "sync"

// Texts are some events as JSON, one object each, in memory that is used again. The
// zero value is empty. Use it from one goroutine.
type Texts struct {
	buf  []byte
	ends []int
	list [][]byte
}

var texts = sync.Pool{New: func() any { return new(Texts) }}

// NewTexts takes empty Texts from those that were given back.
func NewTexts() *Texts { return texts.Get().(*Texts) }

// maxTexts bounds the memory that is kept for the next ones.
const maxTexts = 128 << 10

// Free gives the memory back. What List returned is no longer valid.
func (t *Texts) Free() {
	if cap(t.buf) > maxTexts {
		return
	}
	clear(t.list)
	t.buf, t.ends, t.list = t.buf[:0], t.ends[:0], t.list[:0]
	texts.Put(t)
}

// Add adds e, as Codec.AppendJSON writes it.
func (t *Texts) Add(c *Codec, e Event, shared bool) (err error) {
	if t.buf, err = c.AppendJSON(t.buf, e, shared); err != nil {
		return err
	}
	t.ends = append(t.ends, len(t.buf))
	return nil
}

// List returns what was added, valid until the next Add or Free.
func (t *Texts) List() [][]byte {
	t.list = t.list[:0]
	from := 0
	for _, to := range t.ends {
		t.list = append(t.list, t.buf[from:to:to])
		from = to
	}
	return t.list
}
