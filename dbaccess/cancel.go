package dbaccess

import (
	"context"
	"crypto/rand"
	"errors"

	"teleport/fault"
)

// CancelKey names a live session to whoever wants its statement stopped. The
// client has it from us; the database's own key stays here.
type CancelKey [8]byte

// Interruptible makes the session's statement one that can be stopped: it returns
// the key that its client gets. interrupt asks the database to stop it.
func (s *Session) Interruptible(interrupt func(ctx context.Context) error) CancelKey {
	var k CancelKey
	_, _ = rand.Read(k[:]) // never fails
	s.svc.mu.Lock()
	defer s.svc.mu.Unlock()
	s.key, s.interrupt = k, interrupt
	s.svc.keys[k] = s
	return k
}

// Interrupt stops the statement of the session with that key, if it belongs to
// the same user and database as this one. It is fault.NotFound otherwise: whether
// somebody else's session has a key is nobody's business.
func (s *Session) Interrupt(ctx context.Context, k CancelKey) error {
	s.svc.mu.Lock()
	other := s.svc.keys[k]
	s.svc.mu.Unlock()
	if other == nil || other.identity.Name != s.identity.Name || other.identity.Cluster != s.identity.Cluster ||
		other.database.Metadata.Name != s.database.Metadata.Name {
		return fault.New(fault.NotFound, "there is no session to cancel")
	}
	return other.interrupt(ctx)
}

// numberKey is a number that means something to one person with one database.
type numberKey struct {
	user, cluster, database string
	number                  uint32
}

func (s *Session) numberKey(n uint32) numberKey {
	return numberKey{s.identity.Name, s.identity.Cluster, s.database.Metadata.Name, n}
}

// Numbered tells by which number the client knows the session, where that is not
// the database's own.
func (s *Session) Numbered(number, own uint32) {
	s.svc.mu.Lock()
	defer s.svc.mu.Unlock()
	s.number, s.own = number, own
	s.svc.numbers[s.numberKey(number)] = s
}

// Number is what the database calls the session that the client knows by a number.
// It finds those of the same user and database as this one, and no others.
func (s *Session) Number(number uint32) (own uint32, ok bool) {
	s.svc.mu.Lock()
	defer s.svc.mu.Unlock()
	other := s.svc.numbers[s.numberKey(number)]
	if other == nil {
		return 0, false
	}
	return other.own, true
}

func (s *Service) forget(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := x.numberKey(x.number); s.numbers[k] == x {
		delete(s.numbers, k)
	}
	if s.keys[x.key] == x {
		delete(s.keys, x.key)
	}
}

// ErrEnded is what an engine returns when either side ended in the usual way.
var ErrEnded = errors.New("the connection has ended")
