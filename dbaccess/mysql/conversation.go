package mysql

import (
	"context"
	"sync"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/types/event"
)

// emitter tells the audit log.
type emitter struct {
	ctx context.Context
	s   session
}

// session is what the two directions need of one.
type session interface {
	Tell(e event.Event, typ, code string)
	Commit(ctx context.Context) error
	CommitSoon(ctx context.Context) error
	Switch(name string) error
	Number(number uint32) (own uint32, ok bool)
}

var _ session = (*dbaccess.Session)(nil)

// emit is what ends most ways of seeing a packet, well: the log has what it tells
// before the packet goes on.
func (m emitter) emit(e event.Event, typ, code string) error {
	m.s.Tell(e, typ, code)
	return nil
}

// conversation is what the two directions of a session know of each other: which
// commands wait for an answer, and how far the answer to the first of them is.
type conversation struct {
	mu       sync.Mutex
	waiting  []mysqlwire.Command
	sequence byte              // of the next packet to the client, within an answer
	within   bool              // an answer
	prepared map[uint32]uint16 // how many parameters a statement has
	last     uint32            // statement that was prepared
}

const (
	mostWaiting  = 10_000
	mostPrepared = 64 << 10 // of which the parameters are counted
	// lastPrepared is what a MariaDB client calls the statement that it prepared
	// last and of which it does not know the number yet.
	lastPrepared = 0xffffffff
)

// ask notes a command that will have an answer.
func (c *conversation) ask(cmd mysqlwire.Command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == mostWaiting {
		return fault.New(fault.Limit, "the client asks for more than %d things without hearing an answer", mostWaiting)
	}
	c.waiting = append(c.waiting, cmd)
	return nil
}

// asked is the command that the server is to answer; none is false.
func (c *conversation) asked() (mysqlwire.Command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return 0, false
	}
	return c.waiting[0], true
}

// heard notes a packet of the answer, and whether it is the last.
func (c *conversation) heard(sequence byte, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sequence, c.within = sequence+1, !last
	if last && len(c.waiting) > 0 {
		c.waiting = c.waiting[1:]
	}
}

// next is the sequence of a packet that would end the answer at hand, or be the
// answer to what the client asks next.
func (c *conversation) next() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.within {
		return c.sequence
	}
	return 1
}

// keep notes a statement that the server prepared.
func (c *conversation) keep(p mysqlwire.Prepared) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = p.Statement
	if len(c.prepared) < mostPrepared {
		c.prepared[p.Statement] = p.Parameters
	}
}

// forget notes that a statement is closed.
func (c *conversation) forget(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.prepared, id)
}

// forgetAll notes that all are.
func (c *conversation) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.prepared)
}

// number is by which the server knows a statement.
func (c *conversation) number(id uint32) uint32 {
	if id != lastPrepared {
		return id
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// parameters is how many a statement has, as far as that is known.
func (c *conversation) parameters(id uint32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == lastPrepared {
		id = c.last
	}
	return int(c.prepared[id])
}
