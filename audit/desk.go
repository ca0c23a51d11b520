package audit

import (
	"bytes"
	"crypto/rand"
	"sync"
	"time"

	"github.com/google/uuid"

	"teleport/audit/chain"
	"teleport/types/event"
)

// desk is what one Emit works on before it takes the lock: the bytes of its events,
// and what is chained. Desks are used again, as events are many and small.
type desk struct {
	buf    []byte
	list   []prepared
	random []byte
	source bytes.Reader // of random
}

var desks = sync.Pool{New: func() any { return new(desk) }}

// prepared is an event ready to be chained.
type prepared struct {
	start, end int // of its bytes in the desk's buffer
	salt       [chain.SaltSize]byte
	leaf       chain.Hash
	session    *sessionChange // nil for most
}

// clear gives a desk back.
func (d *desk) clear() {
	if cap(d.buf) > maxSpare {
		d.buf = nil
	}
	clear(d.list)
	d.buf, d.list = d.buf[:0], d.list[:0]
	desks.Put(d)
}

// draw makes sure of random bytes for n events: a salt and an id for each.
func (d *desk) draw(n int) {
	n *= chain.SaltSize + len(uuid.UUID{})
	if cap(d.random) < n {
		d.random = make([]byte, n)
	}
	d.random = d.random[:n]
	rand.Read(d.random) //nolint:errcheck // never fails: it ends the program instead
	d.source.Reset(d.random)
}

// prepare fills events and makes their bytes and leaves; no lock is needed.
func (w *Writer) prepare(d *desk, events []event.Event) error {
	d.draw(len(events))
	for _, e := range events {
		if err := w.fill(d, e); err != nil {
			return err
		}
		var r prepared
		if _, err := d.source.Read(r.salt[:]); err != nil {
			return err
		}
		r.start = len(d.buf)
		buf, encoded, err := w.codec.Append(d.buf, e)
		if err != nil {
			return err
		}
		d.buf, r.end = buf, len(buf)
		r.leaf, r.session = chain.Leaf(chain.Commit(r.salt[:], encoded.Sensitive), encoded.Public), changeOf(e)
		d.list = append(d.list, r)
	}
	return nil
}

// fill completes what an event's emitter left to the writer.
func (w *Writer) fill(d *desk, e event.Event) error {
	if err := w.codec.Fill(e); err != nil {
		return err
	}
	m := e.EventMeta()
	if m.UID == "" {
		id, err := uuid.NewRandomFromReader(&d.source)
		if err != nil {
			return err
		}
		m.UID = id.String()
	}
	if m.Time.IsZero() {
		m.Time = time.Now().UTC()
	}
	if m.Cluster == "" {
		m.Cluster = w.o.Cluster
	}
	if s, ok := e.(interface{ EventServer() *event.Server }); ok {
		if g := s.EventServer(); g.ServerID != "" && g.ServerID != w.id.UUID {
			g.ForwardedBy = w.id.UUID
		}
	}
	return nil
}
