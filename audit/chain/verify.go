package chain

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"time"

	"teleport/fault"
)

// maxLine bounds a line of an export: an event, or a checkpoint in base64.
const maxLine = 2 * MaxCheckpoint

// maxProblems bounds what a report lists; more are only counted.
const maxProblems = 100

// Problem kinds.
const (
	Modified      = "modified"       // an event's bytes are not those that were chained
	Missing       = "missing"        // events between two others of a writer are gone
	Reordered     = "reordered"      // events or blocks are not in the order they were taken
	Cut           = "cut"            // the log ends before the saved checkpoint
	DroppedWriter = "dropped_writer" // a writer is in a checkpoint and not in the log
	Rewritten     = "rewritten"      // the log is consistent but not the one that was signed or saved
	BadSignature  = "bad_signature"  // a checkpoint is not signed by a given key
	Unsigned      = "unsigned"       // no checkpoint covers the last blocks
	Malformed     = "malformed"      // the export itself is damaged
	OutOfRange    = "out_of_range"   // the saved checkpoint lies before this export's start
)

// Problem is one thing that does not verify.
type Problem struct {
	Kind   string `json:"kind"`
	Block  uint64 `json:"block,omitempty"`
	Writer Writer `json:"writer,omitzero"`
	Text   string `json:"text"`
}

// Report is what a verification saw.
type Report struct {
	Cluster     string    `json:"cluster"`
	FromBlock   uint64    `json:"from_block"` // first block of the export
	ToBlock     uint64    `json:"to_block"`
	Events      uint64    `json:"events"`
	Redacted    uint64    `json:"redacted"`
	Writers     int       `json:"writers"`
	Checkpoints uint64    `json:"checkpoints"`
	Last        *Signed   `json:"last,omitempty"` // newest verified checkpoint: the one to save
	LastTime    time.Time `json:"last_time,omitzero"`
	Problems    []Problem `json:"problems,omitempty"`
	Count       int       `json:"problem_count"`
}

// Verify reads an export and checks all of it with public keys only: every
// event against its chain, every chain against the one before, every block
// against the signed checkpoints, and the whole against a checkpoint saved
// earlier (nil: none), which is what a cut tail shows against. It returns
// fault.Untrusted together with the report when anything does not verify, and
// the reader's error when it fails.
func Verify(r io.Reader, keys []ed25519.PublicKey, saved *Signed) (Report, error) {
	return VerifyEach(r, keys, saved, func([]byte) {})
}

// VerifyEach is Verify that hands on the public fields of each event, as JSON, in
// the order of the log. What each was given is proven when there is no error in
// the end. each does not keep its argument.
func VerifyEach(r io.Reader, keys []ed25519.PublicKey, saved *Signed, each func(public []byte)) (Report, error) {
	v := verifier{keys: keys, heads: make(map[Writer]Head), each: each}
	if saved != nil {
		c, err := saved.Verify(keys)
		if err != nil {
			return v.report, fault.Wrap(err, fault.Untrusted, "the saved checkpoint is not signed by a given key")
		}
		v.saved = &c
	}
	in := bufio.NewReaderSize(r, 64<<10)
	for !v.ended {
		b, err := readLine(in)
		if errors.Is(err, io.EOF) {
			v.problem(Malformed, Writer{}, "the export is cut short: its last line is missing")
			break
		}
		if err != nil {
			return v.report, err
		}
		ln, err := parseLine(b)
		if err != nil {
			v.problem(Malformed, Writer{}, "%s", fault.Message(err))
			break
		}
		v.line(ln)
		if v.stop {
			break
		}
	}
	if _, err := in.Peek(1); v.ended && err == nil {
		v.problem(Malformed, Writer{}, "something follows the end of the export")
	}
	v.finish()
	if v.report.Count > 0 {
		return v.report, fault.New(fault.Untrusted, "the audit log does not verify: %s", v.report.Problems[0].Text)
	}
	return v.report, nil
}

func readLine(in *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(out)+len(part) > maxLine {
			return nil, fault.New(fault.Limit, "a line of the audit export is longer than %d bytes", maxLine)
		}
		out = append(out, part...)
		switch {
		case err == nil:
			return out[:len(out)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, fault.Wrap(err, fault.Unavailable, "the export cannot be read")
		}
	}
}

// verifier walks the lines and keeps what the log must be so far.
type verifier struct {
	each      func(public []byte)
	keys      []ed25519.PublicKey
	saved     *Checkpoint
	savedDone bool
	report    Report
	started   bool
	ended     bool
	stop      bool
	heads     map[Writer]Head
	log       Hash        // chain value after the last closed block
	block     *blockLn    // open block
	number    uint64      // last closed block
	runs      []Run       // of the open block
	at        Hash        // chain value within the open run
	seq       uint64      // last sequence within the open run
	previous  *Checkpoint // last checkpoint
	prevHash  Hash
	covered   uint64 // last block under a checkpoint
	blocks    uint64
}

func (v *verifier) problem(kind string, w Writer, format string, args ...any) {
	v.report.Count++
	if len(v.report.Problems) >= maxProblems {
		return
	}
	block := v.number
	if v.block != nil {
		block = v.block.Number
	}
	v.report.Problems = append(v.report.Problems, Problem{Kind: kind, Block: block, Writer: w, Text: fmt.Sprintf(format, args...)})
}

func (v *verifier) line(ln line) {
	switch {
	case !v.started && ln.Header == nil, v.started && ln.Header != nil:
		v.problem(Malformed, Writer{}, "this is not an audit export: it does not start with one header")
		v.stop = true
	case ln.Header != nil:
		v.start(*ln.Header)
	case ln.Block != nil:
		v.openBlock(ln.Block)
	case ln.Run != nil:
		v.openRun(*ln.Run)
	case ln.Event != nil:
		v.event(ln.Event)
	case ln.Checkpoint != nil:
		v.closeBlock()
		v.checkpoint(*ln.Checkpoint)
	case ln.End != nil:
		v.closeBlock()
		v.ended = true
		if ln.End.Blocks != v.blocks || ln.End.Events != v.report.Events {
			v.problem(Malformed, Writer{}, "the export holds %d events, its end counts %d", v.report.Events, ln.End.Events)
		}
	default:
		v.problem(Malformed, Writer{}, "an empty line in the audit export")
	}
}

func (v *verifier) start(h Header) {
	v.started = true
	v.report.Cluster = h.Cluster
	v.log = LogGenesis(h.Cluster)
	if h.Version != 1 {
		v.problem(Malformed, Writer{}, "the export has version %d, this program reads 1", h.Version)
		v.stop = true
		return
	}
	if v.saved != nil && v.saved.Cluster != h.Cluster {
		v.problem(OutOfRange, Writer{}, "the saved checkpoint is of cluster %q, the export of %q", v.saved.Cluster, h.Cluster)
	}
	if h.Base != nil {
		v.base(h)
	}
	v.report.FromBlock = v.number + 1
	v.checkSaved()
}

// base starts behind a checkpoint.
func (v *verifier) base(h Header) {
	c, err := h.Base.Verify(v.keys)
	if err != nil {
		v.problem(BadSignature, Writer{}, "the checkpoint that the export starts from is not signed by a given key")
		v.stop = true
		return
	}
	if c.Cluster != h.Cluster || c.Heads != HashHeads(h.BaseHeads) || c.Writers != len(h.BaseHeads) {
		v.problem(Rewritten, Writer{}, "the export does not start from the state that its first checkpoint signed")
	}
	for _, head := range h.BaseHeads {
		v.heads[head.Writer] = head
	}
	v.log, v.number, v.covered = c.Log, c.Block, c.Block
	v.previous, v.prevHash = &c, h.Base.Hash()
	v.report.Last, v.report.LastTime = h.Base, c.Time
	if v.saved != nil && v.saved.Block < c.Block {
		v.savedDone = true
		v.problem(OutOfRange, Writer{}, "the saved checkpoint is of block %d, before this export's start at %d: export from an earlier time", v.saved.Block, c.Block+1)
	}
}

func (v *verifier) openBlock(b *blockLn) {
	v.closeBlock()
	if b.Number != v.number+1 {
		kind := Missing
		if b.Number <= v.number {
			kind = Reordered
		}
		v.problem(kind, Writer{}, "block %d follows block %d", b.Number, v.number)
	}
	v.block = b
	v.runs = v.runs[:0]
}

func (v *verifier) openRun(r Run) {
	if v.block == nil {
		v.problem(Malformed, r.Writer, "a run outside of a block")
		return
	}
	v.closeRun()
	head, known := v.heads[r.Writer]
	if !known {
		head = Head{Writer: r.Writer, Chain: Genesis(r.Writer)}
	}
	switch {
	case r.First > head.Sequence+1:
		v.problem(Missing, r.Writer, "events %d to %d of writer %s (generation %d) are missing", head.Sequence+1, r.First-1, r.UUID, r.Generation)
	case r.First <= head.Sequence:
		v.problem(Reordered, r.Writer, "event %d of writer %s (generation %d) comes after event %d", r.First, r.UUID, r.Generation, head.Sequence)
	case r.Previous != head.Chain:
		v.problem(Modified, r.Writer, "event %d of writer %s (generation %d) does not continue the one before", r.First, r.UUID, r.Generation)
	}
	v.runs = append(v.runs, r)
	v.at, v.seq = r.Previous, r.First-1
	v.heads[r.Writer] = Head{Writer: r.Writer, Sequence: r.Last, Chain: r.Chain}
}

func (v *verifier) event(e *eventLn) {
	if v.block == nil || len(v.runs) == 0 {
		v.problem(Malformed, Writer{}, "an event outside of a run")
		return
	}
	run := v.runs[len(v.runs)-1]
	v.report.Events++
	if e.Sequence != v.seq+1 {
		kind := Missing
		if e.Sequence <= v.seq {
			kind = Reordered
		}
		v.problem(kind, run.Writer, "event %d of writer %s follows event %d", e.Sequence, run.UUID, v.seq)
	}
	var commit Hash
	if e.Commit != nil {
		v.report.Redacted++
		commit = *e.Commit
	} else {
		commit = Commit(e.Salt, e.Sensitive)
	}
	if Next(v.at, e.Sequence, Leaf(commit, e.Public)) != e.Chain {
		v.problem(Modified, run.Writer, "event %d of writer %s (generation %d) was changed", e.Sequence, run.UUID, run.Generation)
	}
	v.at, v.seq = e.Chain, e.Sequence
	v.each(e.Public)
}

func (v *verifier) closeRun() {
	if len(v.runs) == 0 {
		return
	}
	run := v.runs[len(v.runs)-1]
	switch {
	case v.seq < run.Last:
		v.problem(Missing, run.Writer, "events %d to %d of writer %s (generation %d) are missing", v.seq+1, run.Last, run.UUID, run.Generation)
	case v.seq > run.Last || v.at != run.Chain:
		v.problem(Modified, run.Writer, "the run up to event %d of writer %s (generation %d) was changed", run.Last, run.UUID, run.Generation)
	}
}

func (v *verifier) closeBlock() {
	if v.block == nil {
		return
	}
	v.closeRun()
	if len(v.runs) != v.block.Runs {
		v.problem(Missing, Writer{}, "block %d holds %d runs of events, not %d", v.block.Number, len(v.runs), v.block.Runs)
	}
	v.log = LogNext(v.log, v.block.Number, v.block.Received, v.runs)
	v.number = v.block.Number
	v.report.ToBlock = v.number
	v.block, v.runs = nil, v.runs[:0]
	v.blocks++
	v.checkSaved()
}
