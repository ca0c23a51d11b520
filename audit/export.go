package audit

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
)

// ExportOptions say which part of the log is exported. Times are those of
// receipt: an export is a stretch of the log, not a search.
type ExportOptions struct {
	From   time.Time // zero: from the first block
	To     time.Time // zero: to the end
	Redact bool      // leave the sensitive halves out
}

// Export writes a stretch of the log with all that verification needs
// (chain.Verify). It starts at a checkpoint at or before From and ends with one
// at or after To, so that everything in it is signed; what is not signed yet is
// signed first.
func (l *Log) Export(ctx context.Context, o ExportOptions, w io.Writer) error {
	if _, err := l.Checkpoint(ctx); err != nil {
		return err
	}
	l.mu.RLock()
	blocks, points := l.st.blocks, l.st.points
	l.mu.RUnlock()
	lo, hi := stretch(blocks, points, o)
	head := chain.Header{Cluster: l.o.Cluster, Keys: l.Keys()}
	if lo > 0 {
		base, err := l.readPoint(points[lo-1])
		if err != nil {
			return err
		}
		head.Base, head.BaseHeads = &base, headsAt(blocks, points[lo-1].block)
	}
	x, err := chain.NewExporter(w, head, o.Redact)
	if err != nil {
		return err
	}
	next := 0
	for next < len(blocks) && lo > 0 && blocks[next].number <= points[lo-1].block {
		next++
	}
	for _, p := range points[lo:hi] {
		for ; next < len(blocks) && blocks[next].number <= p.block; next++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			b, err := l.readBlock(blocks[next])
			if err != nil {
				return err
			}
			if err := x.Block(b); err != nil {
				return err
			}
		}
		s, err := l.readPoint(p)
		if err != nil {
			return err
		}
		if err := x.Checkpoint(s); err != nil {
			return err
		}
	}
	return x.End()
}

// stretch returns which checkpoints an export holds: points[lo:hi], with
// points[lo-1] as its base.
func stretch(blocks []blockRef, points []pointRef, o ExportOptions) (lo, hi int) {
	first, last := uint64(1), uint64(0)
	for _, b := range blocks {
		if !o.From.IsZero() && b.received.Before(o.From) {
			first = b.number + 1
		}
		if o.To.IsZero() || b.received.Before(o.To) {
			last = b.number
		}
	}
	for lo < len(points) && points[lo].block < first && !o.From.IsZero() {
		lo++
	}
	hi = lo
	for hi < len(points) && (hi == lo || points[hi-1].block < last) {
		hi++
	}
	return lo, hi
}

// headsAt recomputes every writer's head after a block.
func headsAt(blocks []blockRef, number uint64) []chain.Head {
	heads := make(map[chain.Writer]chain.Head)
	for i := range blocks {
		if blocks[i].number > number {
			break
		}
		for _, r := range blocks[i].runs {
			heads[r.Writer] = chain.Head{Writer: r.Writer, Sequence: r.Last, Chain: r.Chain}
		}
	}
	out := make([]chain.Head, 0, len(heads))
	for _, h := range heads {
		out = append(out, h)
	}
	chain.SortHeads(out)
	return out
}

// readPoint reads a checkpoint back from disk.
func (l *Log) readPoint(p pointRef) (chain.Signed, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var s chain.Signed
	if l.closed {
		return s, fault.New(fault.Unavailable, "the audit log is closed")
	}
	b, err := p.at.readBody(l.files[p.file])
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fault.Wrap(err, fault.Untrusted, "a checkpoint of the audit log cannot be read: its file is damaged")
	}
	return s, nil
}
