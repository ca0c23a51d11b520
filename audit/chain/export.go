package chain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"time"

	"teleport/fault"
	"teleport/types/event"
)

// An export is lines of JSON, each an object with one of these keys:
//
//	{"teleport_audit_export":{…}}  first: version, cluster, keys, where it starts
//	{"block":{…}}                  a block opens: number, time of receipt
//	{"run":{…}}                    a run of one writer opens
//	{"event":{…}}                  its records in sequence
//	{"checkpoint":{…}}             signs all blocks so far
//	{"end":{…}}                    last: counts
//
// Each line is in the one form that this package writes; any other spelling of
// the same content does not verify.
type line struct {
	Header     *Header   `json:"teleport_audit_export,omitempty"`
	Block      *blockLn  `json:"block,omitempty"`
	Run        *Run      `json:"run,omitempty"`
	Event      *eventLn  `json:"event,omitempty"`
	Checkpoint *Signed   `json:"checkpoint,omitempty"`
	End        *endTally `json:"end,omitempty"`
}

// Header opens an export. Keys are for information: verification uses keys
// that the verifier got another way. Base and BaseHeads are set when the export
// starts behind a checkpoint and not at the log's first block.
type Header struct {
	Version   int                 `json:"version"`
	Cluster   string              `json:"cluster"`
	Keys      []ed25519.PublicKey `json:"keys"`
	Base      *Signed             `json:"base,omitempty"`
	BaseHeads []Head              `json:"base_heads,omitempty"`
}

type blockLn struct {
	Number   uint64    `json:"number"`
	Received time.Time `json:"received"`
	Runs     int       `json:"runs"`
}

// eventLn has either Sensitive and Salt, or Commit in their place (redacted).
type eventLn struct {
	Sequence  uint64          `json:"sequence"`
	Public    json.RawMessage `json:"public"`
	Sensitive json.RawMessage `json:"sensitive,omitempty"`
	Salt      []byte          `json:"salt,omitempty"`
	Commit    *Hash           `json:"commit,omitempty"`
	Chain     Hash            `json:"chain"`
}

type endTally struct {
	Blocks uint64 `json:"blocks"`
	Events uint64 `json:"events"`
}

// Exporter writes an export. Not for concurrent use.
type Exporter struct {
	w      io.Writer
	buf    bytes.Buffer
	redact bool
	tally  endTally
}

// NewExporter writes the header. With redact, the sensitive halves are left
// out and their commitments take their place.
func NewExporter(w io.Writer, h Header, redact bool) (*Exporter, error) {
	h.Version = 1
	x := &Exporter{w: w, redact: redact}
	return x, x.write(line{Header: &h})
}

// Block writes a block with its records.
func (x *Exporter) Block(b Block) error {
	if err := x.write(line{Block: &blockLn{b.Number, b.Received, len(b.Runs)}}); err != nil {
		return err
	}
	for _, batch := range b.Runs {
		run := RunOf(batch)
		if err := x.write(line{Run: &run}); err != nil {
			return err
		}
		for _, r := range batch.Records {
			if err := x.record(r); err != nil {
				return err
			}
		}
	}
	x.tally.Blocks++
	return nil
}

func (x *Exporter) record(r Record) error {
	e, err := event.ParseEncoded(r.Event)
	if err != nil {
		return err
	}
	ln := eventLn{Sequence: r.Sequence, Public: e.Public, Sensitive: e.Sensitive, Salt: r.Salt, Chain: r.Chain}
	if x.redact {
		commit := Commit(r.Salt, e.Sensitive)
		ln.Sensitive, ln.Salt, ln.Commit = nil, nil, &commit
	}
	x.tally.Events++
	return x.write(line{Event: &ln})
}

// Checkpoint writes a checkpoint, which must cover exactly the blocks so far.
func (x *Exporter) Checkpoint(s Signed) error { return x.write(line{Checkpoint: &s}) }

// End closes the export.
func (x *Exporter) End() error { return x.write(line{End: &x.tally}) }

func (x *Exporter) write(ln line) error {
	x.buf.Reset()
	if err := ln.append(&x.buf); err != nil {
		return err
	}
	if _, err := x.w.Write(x.buf.Bytes()); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the export cannot be written")
	}
	return nil
}

// append writes the line in its one form. Event bytes are copied as they are:
// encoding/json would rewrite what was hashed.
func (ln line) append(buf *bytes.Buffer) error {
	if ln.Event == nil {
		b, err := json.Marshal(ln)
		if err != nil {
			return fault.Wrap(err, fault.Internal, "the export cannot be written")
		}
		buf.Write(b)
		buf.WriteByte('\n')
		return nil
	}
	e := ln.Event
	rest, err := json.Marshal(struct {
		Salt   []byte `json:"salt,omitempty"`
		Commit *Hash  `json:"commit,omitempty"`
		Chain  Hash   `json:"chain"`
	}{e.Salt, e.Commit, e.Chain})
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the export cannot be written")
	}
	seq, err := json.Marshal(e.Sequence)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the export cannot be written")
	}
	buf.WriteString(`{"event":{"sequence":`)
	buf.Write(seq)
	buf.WriteString(`,"public":`)
	buf.Write(e.Public)
	if e.Sensitive != nil {
		buf.WriteString(`,"sensitive":`)
		buf.Write(e.Sensitive)
	}
	buf.WriteByte(',')
	buf.Write(rest[1:])
	buf.WriteString("}\n")
	return nil
}

// parseLine reads one line, without its newline, and refuses every spelling
// but the one that append writes.
func parseLine(b []byte) (line, error) {
	var ln line
	if err := json.Unmarshal(b, &ln); err != nil {
		return ln, fault.Wrap(err, fault.Invalid, "not a line of an audit export")
	}
	var again bytes.Buffer
	if err := ln.append(&again); err != nil {
		return ln, err
	}
	if out := again.Bytes(); !bytes.Equal(out[:len(out)-1], b) {
		return ln, fault.New(fault.Invalid, "a line of the audit export is not in its canonical form")
	}
	if e := ln.Event; e != nil && (e.Commit == nil) != (e.Sensitive != nil) {
		return ln, fault.New(fault.Invalid, "an event of the audit export is neither whole nor redacted")
	}
	return ln, nil
}
