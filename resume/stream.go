package resume

import (
	"crypto/rand"
	"sync"
	"time"

	"teleport/fault"
	"teleport/types"
)

// Stream is one that the holder keeps: a net.Conn for the service behind it, and
// what it was opened with.
type Stream struct {
	*Conn
	ID       string
	Identity *types.Identity // of the certificate that its key is bound to
	Opened   Party
	// Resource is what the stream leads to, for whoever decides again. It belongs
	// to the caller of Open.
	Resource string

	holder    *Holder
	key       [32]byte
	attaching sync.Mutex // one attempt at a time gets beyond its checks

	mu    sync.Mutex
	from  Party
	since time.Time // without a carrier; zero: it has one
	timer *time.Timer
}

// leftover returns since when nothing but the end of a session has waited for its
// client; zero while there is more to it.
func (s *Stream) leftover() time.Time {
	s.Conn.mu.Lock()
	over := s.closed && s.k == nil
	s.Conn.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !over {
		return time.Time{}
	}
	return s.since
}

// Attachment is a carrier in use.
type Attachment struct{ k *carrier }

// Done is closed when the stream has left the carrier.
func (a *Attachment) Done() <-chan struct{} { return a.k.gone }

// Carrier returns the carrier of now, nil while there is none.
func (s *Stream) Carrier() *Attachment {
	s.Conn.mu.Lock()
	defer s.Conn.mu.Unlock()
	if s.k == nil {
		return nil
	}
	return &Attachment{s.k}
}

func no(kind fault.Kind, format string, args ...any) error {
	return &Refusal{fault.New(kind, format, args...)}
}

// admit asks for the proof, decides, fences the carrier of before, and goes on.
func (s *Stream) admit(k *carrier, from Party) error {
	h := s.holder
	if from.User != s.Identity.Name || from.Cluster != s.Identity.Cluster {
		return no(fault.Denied, "the stream belongs to somebody else")
	}
	var ask challenge
	if _, err := rand.Read(ask.nonce[:]); err != nil {
		return err
	}
	if err := k.say(&ask); err != nil {
		return err
	}
	var m attachment
	if err := k.expect(&m); err != nil {
		return err
	}
	switch {
	case !m.signed(s.key, h.subject(s.ID, from), ask.nonce):
		return no(fault.Untrusted, "the key of the stream did not sign this attempt")
	case m.generation != h.o.Generation:
		return no(fault.Invalid, "the stream belongs to generation %d of the agent, not to %d", h.o.Generation, m.generation)
	}
	if err := h.o.Admit(s, from); err != nil {
		return &Refusal{asFault(err)}
	}
	if err := s.agree(&m); err != nil {
		return err
	}
	return s.move(k, &m, from)
}

func asFault(err error) *fault.Error {
	return fault.New(fault.KindOf(err), "%s", fault.Message(err)).WithHint("%s", fault.Hint(err))
}

// agree refuses positions that cannot be: what the client says to have received
// must have been sent and be kept from there on, and what we have received must
// lie within what it can send again.
func (s *Stream) agree(m *attachment) error {
	s.Conn.mu.Lock()
	defer s.Conn.mu.Unlock()
	switch {
	case s.err != nil:
		return no(fault.NotFound, "the session is gone: it has ended, or the host's agent was restarted")
	case m.received > s.out.next || m.received < s.out.base:
		return no(fault.Invalid, "the client has received up to %d, and %d to %d is what was sent", m.received, s.out.base, s.out.next)
	case m.base > m.next || s.recv < m.base || s.recv > m.next:
		return no(fault.Invalid, "the client can send %d to %d again, and %d is what was received", m.base, m.next, s.recv)
	}
	return nil
}

// move goes from the old carrier to k. Our position is told once the old reader
// has stopped.
func (s *Stream) move(k *carrier, m *attachment, from Party) error {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	s.Conn.mu.Lock()
	old := s.k
	s.Conn.mu.Unlock()
	if old != nil {
		s.leave(old, errReplaced)
	}
	s.token <- struct{}{}
	defer func() { <-s.token }()
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.agree(m); err != nil {
		return err
	}
	s.Conn.mu.Lock()
	received := s.recv
	s.Conn.mu.Unlock()
	if err := k.say(&attached{received}); err != nil {
		return err
	}
	if err := k.SetDeadline(time.Time{}); err != nil {
		return err
	}
	gap := s.arrived(from)
	if err := s.install(k, m.received); err != nil {
		return err
	}
	s.holder.tell(Notice{What: Attached, Stream: s, From: from, Gap: gap})
	return nil
}

var errReplaced = fault.New(fault.Canceled, "its client came over another connection")

// arrived ends the time without a carrier and returns how long it was.
func (s *Stream) arrived(from Party) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	gap := time.Duration(0)
	if !s.since.IsZero() {
		gap = time.Since(s.since)
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.from, s.since = from, time.Time{}
	return gap
}

func (s *Stream) onLost(k *carrier, why error) {
	s.Conn.mu.Lock()
	quiet := s.closed || s.peerClosed
	s.Conn.mu.Unlock()
	keep := s.holder.o.Keep(s)
	s.mu.Lock()
	from := s.from
	s.since = time.Now()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(keep, func() { s.expire(keep, quiet) })
	s.mu.Unlock()
	if !quiet {
		s.holder.tell(Notice{What: Detached, Stream: s, From: from, Err: why})
	}
}

// expire ends a stream whose client did not come back: it has no carrier, and
// has not had one since the timer was set.
func (s *Stream) expire(keep time.Duration, quiet bool) {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	s.mu.Lock()
	gap, from := time.Since(s.since), s.from
	s.mu.Unlock()
	if s.Carrier() != nil || gap < keep {
		return
	}
	if !quiet {
		s.holder.tell(Notice{What: Expired, Stream: s, From: from, Gap: gap})
	}
	s.fail(fault.New(fault.Timeout, "the client did not come back within %s", gap.Round(time.Second)))
}

func (s *Stream) onFinished(error) {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.mu.Unlock()
	h := s.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.ID] != s {
		return
	}
	delete(h.streams, s.ID)
	close(h.gone)
	h.gone = make(chan struct{})
	user := [2]string{s.Opened.User, s.Opened.Cluster}
	if h.users[user]--; h.users[user] <= 0 {
		delete(h.users, user)
	}
}

// Abort ends the stream at once: what it keeps is dropped.
func (s *Stream) Abort(why error) { s.fail(why) }

// From returns who brought the carrier of now, or the last one.
func (s *Stream) From() Party {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from
}

// LastHeard is when bytes last came from the client.
func (s *Stream) LastHeard() time.Time {
	s.Conn.mu.Lock()
	defer s.Conn.mu.Unlock()
	return s.in
}
