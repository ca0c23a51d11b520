package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// Query selects events. Zero values select all.
type Query struct {
	From      time.Time // inclusive, by the event's own time
	To        time.Time // exclusive
	Types     []string
	SessionID string
	User      string
	Text      string // anywhere in the event's JSON, any case
	Limit     int    // default 100, at most 5,000
	Ascending bool   // oldest first; default newest first
	Page      string // Next of the page before
}

// Found is one event of the log.
type Found struct {
	Writer   chain.Writer
	Sequence uint64
	Received time.Time // when auth took it; the event's own time is in JSON
	Time     time.Time
	JSON     []byte // the whole event
}

// Result is one page. Next is empty on the last one.
type Result struct {
	Events []Found
	Next   string
}

// query is a Query made ready.
type query struct {
	Query
	from, to int64
	keys     []uint32
	text     []byte
	after    *cursor
}

// cursor is an event's place in the order of results.
type cursor struct {
	Time       int64  `json:"t"`
	UUID       string `json:"w"`
	Generation uint64 `json:"g"`
	Sequence   uint64 `json:"s"`
}

func (f *Found) cursor() cursor {
	return cursor{f.Time.UnixNano(), f.Writer.UUID, f.Writer.Generation, f.Sequence}
}

func (c cursor) compare(o cursor) int {
	return cmp.Or(cmp.Compare(c.Time, o.Time), cmp.Compare(c.UUID, o.UUID),
		cmp.Compare(c.Generation, o.Generation), cmp.Compare(c.Sequence, o.Sequence))
}

func prepareQuery(in Query) (*query, error) {
	q := &query{Query: in, from: math.MinInt64, to: math.MaxInt64}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit = min(q.Limit, 5000)
	if !in.From.IsZero() {
		q.from = in.From.UnixNano()
	}
	if !in.To.IsZero() {
		q.to = in.To.UnixNano()
	}
	if in.SessionID != "" {
		q.keys = append(q.keys, keyOf("sid", in.SessionID))
	}
	if in.User != "" {
		q.keys = append(q.keys, keyOf("user", in.User))
	}
	q.text = bytes.ToLower([]byte(in.Text))
	if in.Page == "" {
		return q, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(in.Page)
	q.after = new(cursor)
	if err != nil || json.Unmarshal(b, q.after) != nil {
		return nil, fault.New(fault.Invalid, "the page token is not one of this audit log")
	}
	if q.Ascending {
		q.from = max(q.from, q.after.Time)
	} else if q.after.Time < math.MaxInt64 {
		q.to = min(q.to, q.after.Time+1)
	}
	return q, nil
}

// order sorts results the way the query wants them.
func (q *query) order(a, b cursor) int {
	if q.Ascending {
		return a.compare(b)
	}
	return b.compare(a)
}

// Search returns a page of events in the order of their own times. Blocks that
// cannot hold any are not read. Pages neither repeat nor skip events that were
// there when the first page was read.
func (l *Log) Search(ctx context.Context, in Query) (Result, error) {
	q, err := prepareQuery(in)
	if err != nil {
		return Result{}, err
	}
	var found []Found
	refs := l.candidates(q)
	for i, ref := range refs {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		// All that comes from here on lies behind this block's edge.
		if len(found) > q.Limit && q.settled(found, ref) {
			break
		}
		block, err := l.readBlock(refs[i])
		if err != nil {
			return Result{}, err
		}
		if found, err = q.collect(found, block); err != nil {
			return Result{}, err
		}
	}
	return q.page(found)
}

// candidates are the blocks that may hold events, those with the first
// possible results first.
func (l *Log) candidates(q *query) []blockRef {
	l.mu.RLock()
	blocks := l.st.blocks
	l.mu.RUnlock()
	var refs []blockRef
	for i := range blocks { // entries are never changed once appended
		if blocks[i].mayHold(q) {
			refs = append(refs, blocks[i])
		}
	}
	slices.SortStableFunc(refs, func(a, b blockRef) int {
		if q.Ascending {
			return cmp.Compare(a.min, b.min)
		}
		return cmp.Compare(b.max, a.max)
	})
	return refs
}

// settled reports whether one more than a page of results comes before
// anything that the block can hold.
func (q *query) settled(found []Found, ref blockRef) bool {
	t := found[q.Limit].Time.UnixNano()
	if q.Ascending {
		return t < ref.min
	}
	return t > ref.max
}

// collect adds a block's matches, keeps the results in order and drops what no
// page can need.
func (q *query) collect(found []Found, b chain.Block) ([]Found, error) {
	before := len(found)
	for _, run := range b.Runs {
		for _, r := range run.Records {
			f := Found{Writer: run.Writer, Sequence: r.Sequence, Received: b.Received}
			ok, err := q.match(r, &f)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, f)
			}
		}
	}
	if len(found) == before {
		return found, nil
	}
	slices.SortFunc(found, func(a, b Found) int { return q.order(a.cursor(), b.cursor()) })
	if len(found) > q.Limit+1 {
		clear(found[q.Limit+1:])
		found = found[:q.Limit+1]
	}
	return found, nil
}

func (q *query) match(r chain.Record, f *Found) (bool, error) {
	e, err := event.ParseEncoded(r.Event)
	if err != nil {
		return false, err
	}
	var m recordMeta
	if err := parseMeta(e, &m, &recordMeta{}); err != nil {
		return false, err
	}
	f.Time = m.Time
	if t := m.Time.UnixNano(); t < q.from || t >= q.to {
		return false, nil
	}
	if (len(q.Types) > 0 && !slices.Contains(q.Types, m.Type)) ||
		(q.SessionID != "" && q.SessionID != m.SessionID) || (q.User != "" && q.User != m.User) {
		return false, nil
	}
	if q.after != nil && q.order(f.cursor(), *q.after) <= 0 {
		return false, nil
	}
	if f.JSON, err = e.JSON(); err != nil {
		return false, err
	}
	return len(q.text) == 0 || strings.Contains(strings.ToLower(string(f.JSON)), string(q.text)), nil
}

func (q *query) page(found []Found) (Result, error) {
	if len(found) <= q.Limit {
		return Result{Events: found}, nil
	}
	last := found[q.Limit-1].cursor()
	token, err := json.Marshal(last)
	if err != nil {
		return Result{}, fault.Wrap(err, fault.Internal, "the page token cannot be made")
	}
	return Result{Events: found[:q.Limit], Next: base64.RawURLEncoding.EncodeToString(token)}, nil
}
