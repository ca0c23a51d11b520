package recordings

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// Bounds of one page: recordings in it, and rows looked through for it where a
// filter leaves few.
const (
	MaxPage    = 1000
	maxScanned = 20000
	rowsAtOnce = 500
)

// Query asks for recordings. The zero value of a field asks nothing.
type Query struct {
	From, To time.Time // of the session's start: from inclusive, to exclusive
	User     string    // whose session it is
	Host     string    // host UUID or name
	Limit    int       // at most MaxPage, which is also its default
	Page     string    // Next of the page before
	// See tells which recordings the asker may know of; required.
	See func(*Meta) bool
}

func (q *Query) match(m *Meta) bool {
	return (q.From.IsZero() || !m.Start.Before(q.From)) && (q.To.IsZero() || m.Start.Before(q.To)) &&
		(q.User == "" || m.Info.User == q.User) && (q.Host == "" || m.HostID == q.Host || m.Info.Hostname == q.Host) && q.See(m)
}

// List returns one page of recordings, stored and under way, the newest first. A
// page may be short; next is "" after the last.
func (s *Service) List(ctx context.Context, q Query) (page []*Meta, next string, err error) {
	if q.Page != "" && !strings.HasPrefix(q.Page, byTime) {
		return nil, "", fault.New(fault.Invalid, "the page token is not one of this list")
	}
	if q.Limit <= 0 || q.Limit > MaxPage {
		q.Limit = MaxPage
	}
	live, err := s.arriving(&q)
	if err != nil {
		return nil, "", err
	}
	from, end := q.Page, backend.PrefixEnd(byTime)
	if from == "" {
		from = byTime
		if !q.To.IsZero() {
			from = fmt.Sprintf("%s%016x", byTime, math.MaxInt64-q.To.UnixNano())
		}
	}
	if !q.From.IsZero() {
		end = fmt.Sprintf("%s%016x", byTime, math.MaxInt64-q.From.UnixNano()+1)
	}
	for scanned := 0; ; {
		items, err := s.d.Backend.Range(ctx, from, end, rowsAtOnce)
		if err != nil {
			return nil, "", err
		}
		for _, item := range items {
			m, err := parseMeta(item)
			if err != nil {
				return nil, "", err
			}
			from = item.Key + "\x00"
			live, page = before(live, page, item.Key)
			if q.match(m) {
				page = append(page, m)
			}
			if len(page) >= q.Limit {
				return cut(page, q.Limit, from)
			}
		}
		if len(items) < rowsAtOnce {
			return cut(append(page, live...), q.Limit, "")
		}
		if scanned += len(items); scanned >= maxScanned {
			return page, from, nil
		}
	}
}

// cut ends a page at its limit: the recordings under way may have made it longer.
func cut(page []*Meta, limit int, next string) ([]*Meta, string, error) {
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].timeKey() + "\x00"
	}
	return page, next, nil
}

// before moves recordings under way to the page that come before a key.
func before(live, page []*Meta, key string) (rest, out []*Meta) {
	for len(live) > 0 && live[0].timeKey() < key {
		page, live = append(page, live[0]), live[1:]
	}
	return live, page
}

// arriving is the recordings under way that a page may hold, in its order.
func (s *Service) arriving(q *Query) ([]*Meta, error) {
	var live []*Meta
	for _, id := range s.snapshot() {
		e, err := s.locked(id)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		m := e.copyMeta()
		e.mu.Unlock()
		if len(m.Segments) > 0 && m.timeKey() >= q.Page && q.match(m) {
			live = append(live, m)
		}
	}
	slices.SortFunc(live, func(a, b *Meta) int { return cmp.Compare(a.timeKey(), b.timeKey()) })
	return live, nil
}
