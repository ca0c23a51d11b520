package audit

import (
	"hash/fnv"
	"slices"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
)

// blockRef is a block's entry in the index: about 200 bytes in memory for
// each block, which holds what came in together.
type blockRef struct {
	file     uint64
	at       entry
	number   uint64
	received time.Time
	min, max int64
	types    []string
	keys     []uint32
	runs     []chain.Run
}

func newBlockRef(file uint64, e entry, h blockHeader) blockRef {
	e.header = nil
	return blockRef{file: file, at: e, number: h.Number, received: h.Received, min: h.Min, max: h.Max,
		types: h.Types, keys: h.Keys, runs: h.Runs}
}

// keyOf hashes a session id or user name for the index.
func keyOf(space, value string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(space + "\x00" + value))
	return h.Sum32()
}

// mayHold reports whether a block can hold events of a query.
func (b *blockRef) mayHold(q *query) bool {
	if b.max < q.from || b.min >= q.to {
		return false
	}
	if len(q.Types) > 0 && !slices.ContainsFunc(q.Types, func(t string) bool { return slices.Contains(b.types, t) }) {
		return false
	}
	for _, k := range q.keys {
		if _, ok := slices.BinarySearch(b.keys, k); !ok {
			return false
		}
	}
	return true
}

// readBlock reads a block back from disk.
func (l *Log) readBlock(ref blockRef) (chain.Block, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return chain.Block{}, fault.New(fault.Unavailable, "the audit log is closed")
	}
	b, err := ref.at.readBody(l.files[ref.file])
	if err == nil {
		b, err = l.dec.DecodeAll(b, nil)
	}
	if err == nil {
		var block chain.Block
		if block, err = chain.DecodeBlock(b); err == nil && block.Number == ref.number {
			return block, nil
		}
	}
	return chain.Block{}, fault.Wrap(orDamaged(err), fault.Untrusted, "block %d of the audit log cannot be read: its file is damaged", ref.number)
}

func orDamaged(err error) error {
	if err == nil {
		return errDamaged
	}
	return err
}

// chainAt returns a writer's chain value at a sequence that the log holds. It
// is called with disk held, when an old batch comes again.
func (l *Log) chainAt(w chain.Writer, sequence uint64) (chain.Hash, bool) {
	for i := len(l.st.blocks) - 1; i >= 0; i-- {
		for j, r := range l.st.blocks[i].runs {
			if r.Writer != w || sequence < r.First || sequence > r.Last {
				continue
			}
			if sequence == r.Last {
				return r.Chain, true
			}
			block, err := l.readBlock(l.st.blocks[i])
			if err != nil || j >= len(block.Runs) || sequence-r.First >= uint64(len(block.Runs[j].Records)) {
				return chain.Hash{}, false
			}
			return block.Runs[j].Records[sequence-r.First].Chain, true
		}
	}
	return chain.Hash{}, false
}
