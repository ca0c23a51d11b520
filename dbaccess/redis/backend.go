package redis

import (
	"context"

	"teleport/dbaccess"
	"teleport/dbaccess/redis/rediswire"
	"teleport/dbaccess/relay"
	"teleport/types/event"
)

// backend is what the server says: it passes as it is, and errors are told.
type backend struct {
	ctx context.Context
	s   *dbaccess.Session
	// unread is set once the server has said what cannot be taken apart: from there on
	// everything passes, and nothing of it is told.
	unread bool
}

var _ relay.Direction = (*backend)(nil)

// maxError is how much of an error is looked at.
const maxError = 4 << 10

// Split implements relay.Direction.
func (d *backend) Split(b []byte) (int64, int, error) {
	if d.unread {
		return int64(len(b)), 0, nil
	}
	p, err := rediswire.PartOf(b)
	switch {
	case err != nil:
		d.unread = true
		return int64(len(b)), 0, nil
	case p.Failed():
		return p.Size, int(min(p.Size, maxError)), nil
	}
	return p.Size, 0, nil
}

// See implements relay.Direction.
func (d *backend) See(b []byte) (bool, error) {
	if p, err := rediswire.PartOf(b); err == nil && p.Failed() {
		e := &event.DBResult{}
		e.Code, e.Error = p.Failure(b)
		d.s.Tell(e, event.TypeDBResult, event.CodeDBResultFail)
	}
	return true, nil
}

// Commit implements relay.Direction. What has happened is told with what comes next.
func (d *backend) Commit() error { return d.s.CommitSoon(d.ctx) }
