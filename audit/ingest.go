package audit

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/telemetry"
	"teleport/types/event"
)

// MaxBatch bounds the event bytes of one batch.
const MaxBatch = 8 << 20

// Caller is who hands in a batch, from its verified certificate.
type Caller struct {
	UUID string
	Auth bool // it is an auth service: it may write of what only auth does
	// Proxy: what passes through it, or ends there, is on other hosts, and it may
	// write of them, with its own name beside theirs.
	Proxy bool
}

// ingest is a batch on its way to the disk.
type ingest struct {
	batch chain.Batch
	metas []recordMeta
	ack   uint64
	err   error
	alarm event.Event
	done  bool
}

// recordMeta is what the index and the checks need of an event.
type recordMeta = event.Head

// Ingest takes a batch of the caller's own events and returns the last
// sequence of its writer that is durable. Records that the log has already are
// passed over. It returns fault.Denied for another's events or events that the
// caller may not write, fault.Invalid for broken bytes, fault.Conflict for a gap
// or a fork (each with an audit event of its own), fault.Limit for a batch that
// is too large, fault.Unavailable when the disk does not take it.
func (l *Log) Ingest(ctx context.Context, caller Caller, b chain.Batch) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	metas, err := l.inspect(caller, b)
	if err != nil {
		l.raise(ctx, alarm{caller.UUID, b.Generation, event.CodeAuditRefused}, &event.AuditRefused{
			AuditWriter: event.AuditWriter{Writer: b.UUID, Generation: b.Generation}, Sequence: b.First(),
			Status: event.Status{Error: "from " + caller.UUID + ": " + fault.Message(err)},
		})
		return 0, err
	}
	in := &ingest{batch: b, metas: metas}
	l.queueMu.Lock()
	l.queue = append(l.queue, in)
	l.queueMu.Unlock()
	l.commit(in)
	if in.alarm != nil {
		l.raise(ctx, alarm{b.UUID, b.Generation, string(fault.KindOf(in.err))}, in.alarm)
	}
	return in.ack, in.err
}

// inspect checks a batch by itself: whose it is, its size, its chain, and what
// each event claims.
func (l *Log) inspect(caller Caller, b chain.Batch) ([]recordMeta, error) {
	if caller.UUID == "" || b.UUID != caller.UUID {
		return nil, fault.New(fault.Denied, "a process may only send its own audit events")
	}
	size := 0
	for _, r := range b.Records {
		size += len(r.Event)
	}
	if size > MaxBatch {
		return nil, fault.New(fault.Limit, "audit batch of %d bytes is larger than %d", size, MaxBatch)
	}
	events, err := b.Check()
	if err != nil {
		return nil, err
	}
	metas := make([]recordMeta, len(events))
	like := new(recordMeta)
	for i, e := range events {
		if err := parseMeta(e, &metas[i], like); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "audit event %d is malformed", b.Records[i].Sequence)
		}
		if err := l.allowed(caller, metas[i]); err != nil {
			return nil, err
		}
		like = &metas[i]
	}
	return metas, nil
}

func parseMeta(e event.Encoded, m, like *recordMeta) error {
	h, err := e.HeadLike(like)
	if err != nil {
		return err
	}
	if h.Type == "" || h.Code == "" || h.UID == "" || h.Time.IsZero() {
		return fault.New(fault.Invalid, "audit event without type, code, uid or time")
	}
	*m = h
	return nil
}

// allowed refuses events that their writer cannot have seen.
func (l *Log) allowed(caller Caller, m recordMeta) error {
	if e, known := l.codec.Entry(m.Type); known && !caller.Auth {
		if e.AuthOnly {
			return fault.New(fault.Denied, "only the auth service writes %s events", m.Type)
		}
	}
	switch {
	case m.ServerID == "" || m.ServerID == caller.UUID:
		return nil
	case !caller.Proxy && !caller.Auth:
		return fault.New(fault.Denied, "event %s is about another host, and only proxies write of others", m.Type)
	case m.ForwardedBy != caller.UUID:
		return fault.New(fault.Denied, "event %s is about another host and does not say who forwards it", m.Type)
	}
	return nil
}

// commit returns when in is done. Whoever gets the disk takes all that wait
// along, so that one sync serves many.
func (l *Log) commit(in *ingest) {
	l.disk.Lock()
	defer l.disk.Unlock()
	if in.done {
		return
	}
	l.queueMu.Lock()
	queue := l.queue
	l.queue = nil
	l.queueMu.Unlock()
	for len(queue) > 0 {
		queue = l.commitSome(queue)
	}
}

// commitSome makes one block of the first ingests and returns the rest.
func (l *Log) commitSome(queue []*ingest) []*ingest {
	heads := make(map[chain.Writer]chain.Head)
	block := chain.Block{Number: l.st.number + 1, Received: time.Now().UTC()}
	if block.Received.Before(l.st.received) {
		block.Received = l.st.received // the log's own order is by receipt
	}
	var taken []*ingest
	var metas []recordMeta
	size := 0
	n := 0
	for ; n < len(queue) && (n == 0 || size < MaxBatch); n++ {
		in := queue[n]
		in.done = true
		before := len(in.batch.Records)
		if l.admit(in, heads); in.err != nil || len(in.batch.Records) == 0 {
			continue
		}
		in.metas = in.metas[before-len(in.batch.Records):]
		taken, metas = append(taken, in), append(metas, in.metas...)
		block.Runs = append(block.Runs, in.batch)
		for _, r := range in.batch.Records {
			size += len(r.Event)
		}
	}
	if len(taken) > 0 {
		if err := l.store(block, metas); err != nil {
			for _, in := range queue[:n] { // also those that rely on another of this block
				in.ack, in.err, in.alarm = 0, err, nil
			}
		}
	}
	return queue[n:]
}

// admit places a batch behind its writer's head: it cuts off what the log has
// and refuses a gap or a fork. heads are those of this block so far.
func (l *Log) admit(in *ingest, heads map[chain.Writer]chain.Head) {
	b := in.batch
	head, ok := heads[b.Writer]
	if !ok {
		head, ok = l.st.heads[b.Writer]
	}
	if !ok {
		head = chain.Head{Writer: b.Writer, Chain: chain.Genesis(b.Writer)}
	}
	who := event.AuditWriter{Writer: b.UUID, Generation: b.Generation}
	if b.First() > head.Sequence+1 {
		in.err = fault.New(fault.Conflict, "audit events %d to %d of this writer are missing", head.Sequence+1, b.First()-1)
		in.alarm = &event.AuditGap{AuditWriter: who, Expected: head.Sequence + 1, Got: b.First()}
		return
	}
	if !l.continues(b, head) {
		in.err = fault.New(fault.Conflict, "audit event %d of this writer is not the one that was acknowledged", min(b.Last(), head.Sequence))
		in.alarm = &event.AuditFork{AuditWriter: who, Sequence: min(b.Last(), head.Sequence)}
		return
	}
	in.batch = b.After(head.Sequence)
	in.ack = max(head.Sequence, b.Last())
	if len(in.batch.Records) > 0 {
		heads[b.Writer] = chain.Head{Writer: b.Writer, Sequence: b.Last(), Chain: b.Head()}
	}
}

// continues reports whether a batch that starts at or before the head's next
// sequence has the same history as the log.
func (l *Log) continues(b chain.Batch, head chain.Head) bool {
	if b.First() == head.Sequence+1 {
		return b.Previous == head.Chain
	}
	if b.Last() >= head.Sequence {
		return b.Records[head.Sequence-b.First()].Chain == head.Chain
	}
	have, ok := l.chainAt(b.Writer, b.Last())
	return !ok || have == b.Head() // not found: in this very block, or pruned
}

// store writes a block and takes it into the state. It is called with disk held.
func (l *Log) store(block chain.Block, metas []recordMeta) error {
	h := headerOf(block, metas)
	header, err := json.Marshal(h)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the audit block cannot be written")
	}
	l.plain = chain.AppendBlock(l.plain[:0], block)
	l.packed = l.enc.EncodeAll(l.plain, l.packed[:0])
	file, e, err := l.appendDisk(kindBlock, header, l.packed)
	l.plain, l.packed = kept(l.plain), kept(l.packed)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.st.addBlock(file, e, h)
	enough := l.st.events >= uint64(l.o.CheckpointEvents)
	l.mu.Unlock()
	if enough {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
	return nil
}

// mostKept bounds a buffer that is kept for the next block.
const mostKept = 1 << 20

func kept(b []byte) []byte {
	if cap(b) > mostKept {
		return nil
	}
	return b[:0]
}

// alarm names a kind of trouble with a writer; each is told once per start.
type alarm struct {
	writer     string
	generation uint64
	kind       string
}

// raise emits one of the log's own events, the same one once.
func (l *Log) raise(ctx context.Context, a alarm, e event.Event) {
	l.mu.Lock()
	seen := l.alarms[a]
	if len(l.alarms) < 10_000 {
		l.alarms[a] = true
	}
	l.mu.Unlock()
	if seen {
		return
	}
	l.o.Log.Error("audit log alarm", telemetry.KeyHostID, a.writer, "generation", a.generation, "alarm", a.kind)
	if l.o.Emitter == nil {
		return
	}
	if err := l.o.Emitter.Emit(ctx, e); err != nil {
		l.o.Log.Error("the alarm could not be emitted", "err", err)
	}
}

func headerOf(b chain.Block, metas []recordMeta) blockHeader {
	h := blockHeader{Number: b.Number, Received: b.Received}
	types, keys := make(map[string]bool), make(map[uint32]bool)
	for i, m := range metas {
		t := m.Time.UnixNano()
		if i == 0 || t < h.Min {
			h.Min = t
		}
		if i == 0 || t > h.Max {
			h.Max = t
		}
		if !types[m.Type] {
			types[m.Type] = true
			h.Types = append(h.Types, m.Type)
		}
		for _, k := range []uint32{keyOf("sid", m.SessionID), keyOf("user", m.User)} {
			if !keys[k] {
				keys[k] = true
				h.Keys = append(h.Keys, k)
			}
		}
	}
	slices.Sort(h.Keys)
	for _, r := range b.Runs {
		h.Runs = append(h.Runs, chain.RunOf(r))
	}
	return h
}
