package recsearch

import (
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
	"io"
	"time"

	"filippo.io/age"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/screen"
	"teleport/transcript"
)

// Records of an index. It has the form of a recording (package recfmt), and so
// its encryption, its compression and its bounds.
const (
	recordKeyframe  recfmt.RecordType = 'k' // varint columns, varint rows, a repaint
	recordLine      recfmt.RecordType = 'l' // varint µs, varint row, varint columns, text
	recordDirectory recfmt.RecordType = 'd' // JSON directory; the last record, in a chunk of its own
)

// Bounds of an index.
const (
	keyframeEvery = 512 << 10 // bytes shown, and recordCost for each record
	recordCost    = 64
	slowerAfter   = 1000 // keyframes, after which they are half as frequent
	maxKeyframe   = 400 << 10
	maxLineBytes  = 256 << 20 // of all lines together
	rememberLines = 2048      // of full-screen programs, which paint them again and again
)

// directory is what a reader looks at first.
type directory struct {
	Keyframes []keyframe `json:"keyframes,omitempty"`
	Filter    filter     `json:"filter"`
	Truncated bool       `json:"truncated,omitempty"` // there was more text than an index holds
}

// keyframe is where the screen of a moment is. All records up to At are in it,
// and none after.
type keyframe struct {
	At     time.Duration `json:"at"`
	Offset int64         `json:"offset"`
}

// builder makes the index of one recording from its records.
type builder struct {
	out    io.Writer
	enc    *recfmt.Encoder
	show   *screen.Screen
	dir    directory
	last   time.Duration
	cost   int
	every  int
	size   int
	failed error
	seed   maphash.Seed
	seen   map[uint64]bool
	ring   []uint64 // nil before a full-screen program
	filter *filter  // of dir, to be given back
	next   int
	tell   bool // a session with a database, whose events are its text
}

func newBuilder(name string, out io.Writer, to []age.Recipient) (*builder, error) {
	enc, head, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: name, Kind: "index"}, Recipients: to})
	if err != nil {
		return nil, err
	}
	b := &builder{out: out, enc: enc, every: keyframeEvery, seed: maphash.MakeSeed(), seen: map[uint64]bool{}, filter: filters.Get().(*filter)}
	b.dir.Filter = *b.filter
	b.begin(screen.NewPlain(screen.MaxColumns, 24))
	b.write(head)
	return b, b.failed
}

func (b *builder) begin(s *screen.Screen) {
	b.show = s
	s.Watch(b.line)
}

func (b *builder) write(p []byte) {
	if b.failed == nil && len(p) > 0 {
		_, b.failed = b.out.Write(p)
	}
}

// record takes the next record. What is malformed is passed over: an index says
// what it can.
func (b *builder) record(r recfmt.Record) error {
	if b.cost >= b.every && r.At > b.last {
		b.keyframe()
	}
	b.last = max(b.last, r.At)
	b.show.At(r.At)
	b.cost += recordCost
	switch r.Type {
	case recfmt.RecordInfo:
		var i recfmt.Info
		if json.Unmarshal(r.Data, &i) != nil {
			break
		}
		b.tell = transcript.Tells(i.Kind)
		if i.Columns > 0 {
			b.show.Flush()
			b.begin(screen.New(i.Columns, i.Rows))
		}
	case recfmt.RecordOutput, recfmt.RecordErrors:
		b.cost += len(r.Data)
		_, _ = b.show.Write(r.Data) // it never fails
		b.show.Settle()
	case recfmt.RecordEvent:
		b.told(r)
	case recfmt.RecordResize:
		if columns, rows, err := recfmt.ParseResize(r.Data); err == nil {
			b.show.Resize(columns, rows)
		}
	}
	return b.failed
}

// told shows what an event of a database session is in words, as playback does.
func (b *builder) told(r recfmt.Record) {
	if !b.tell {
		return
	}
	for _, l := range transcript.Of(r.Data) {
		b.cost += len(l.Text)
		_, _ = b.show.Write([]byte(l.String() + "\n")) // it never fails
		b.show.Settle()
	}
}

func (b *builder) add(r recfmt.Record) {
	if b.enc.Pending()+len(r.Data) >= recfmt.ChunkSize {
		b.write(b.enc.Chunk(nil))
	}
	if b.failed == nil {
		b.failed = b.enc.Add(r)
	}
}

func (b *builder) keyframe() {
	b.cost = 0
	columns, rows := b.show.Size()
	data := b.show.AppendRepaint(recfmt.ResizeData(columns, rows))
	if len(data) > maxKeyframe {
		return
	}
	b.write(b.enc.Chunk(nil))
	b.dir.Keyframes = append(b.dir.Keyframes, keyframe{b.last, b.enc.Position().Offset})
	b.add(recfmt.Record{Type: recordKeyframe, At: b.last, Data: data})
	b.write(b.enc.Chunk(nil))
	if len(b.dir.Keyframes)%slowerAfter == 0 {
		b.every *= 2
	}
}

// line takes a line that was shown.
func (b *builder) line(l screen.Line) {
	if l.Alt && b.again(l.Text) {
		return
	}
	if b.size += len(l.Text); b.size > maxLineBytes {
		b.dir.Truncated = true
		return
	}
	b.dir.Filter.add(string(l.Text))
	data := binary.AppendUvarint(nil, uint64(max(l.At, 0).Microseconds()))
	data = binary.AppendVarint(data, int64(l.Row))
	data = binary.AppendUvarint(data, uint64(l.Columns))
	b.add(recfmt.Record{Type: recordLine, At: b.last, Data: append(data, l.Text...)})
}

// again tells whether a line was told lately.
func (b *builder) again(text []byte) bool {
	if b.ring == nil {
		b.ring = make([]uint64, rememberLines)
	}
	h := maphash.Bytes(b.seed, text)
	if b.seen[h] {
		return true
	}
	delete(b.seen, b.ring[b.next])
	b.seen[h], b.ring[b.next] = true, h
	b.next = (b.next + 1) % len(b.ring)
	return false
}

func (b *builder) finish() error {
	b.show.Flush()
	b.write(b.enc.Chunk(nil))
	b.dir.Filter = b.dir.Filter.fold()
	data, err := json.Marshal(b.dir)
	clear(*b.filter)
	filters.Put(b.filter)
	b.dir.Filter, b.filter = nil, nil
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the index cannot be written")
	}
	b.add(recfmt.Record{Type: recordDirectory, At: b.last, Data: data})
	b.write(b.enc.Finish(b.enc.Chunk(nil), recfmt.EndSession))
	return b.failed
}

func parseLine(data []byte) (l screen.Line, ok bool) {
	at, n := binary.Uvarint(data)
	if n <= 0 || at > 1<<52 {
		return l, false
	}
	row, m := binary.Varint(data[n:])
	if m <= 0 || row < -1<<31 || row > 1<<31 {
		return l, false
	}
	columns, k := binary.Uvarint(data[n+m:])
	if k <= 0 || columns > 1<<16 {
		return l, false
	}
	return screen.Line{At: time.Duration(at) * time.Microsecond, Row: int(row), Columns: int(columns), Text: data[n+m+k:]}, true
}
