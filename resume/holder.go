package resume

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"teleport/fault"
	"teleport/types"
)

// Party is who brings a carrier, as the gate has verified it.
type Party struct {
	User, Cluster string
	Client        netip.AddrPort
	Proxy         string // UUID of the proxy that carries it
}

// HolderOptions say what a Holder keeps, and for whom. Fields without a remark
// are required.
type HolderOptions struct {
	Agent      string // this agent's UUID
	Generation uint64 // of this process
	// Verify makes the identity of a user's certificate.
	Verify func(*x509.Certificate, time.Time) (*types.Identity, error)
	// Admit decides, before a stream goes on over a further carrier, whether its
	// bearer may still have it, from where it comes now.
	Admit func(s *Stream, from Party) error
	// Keep is how long a stream without a carrier may still live.
	Keep func(s *Stream) time.Duration
	// Observe is told of what happens to streams, one notice after the other. It
	// may block.
	Observe func(Notice)

	PerUser int   // streams that are offered to one user; 0: 100
	Total   int   // to all; 0: 1000
	Memory  int64 // bytes that all streams together keep for their clients; 0: 256 MiB
}

// What happens to a stream after it was opened.
type What string

// The notices.
const (
	Detached What = "detached" // it has lost its carrier
	Attached What = "attached" // it goes on over another
	Refused  What = "refused"  // somebody was not let to it
	Expired  What = "expired"  // its client did not come back in time
)

// Notice tells what happened to a stream.
type Notice struct {
	What   What
	Stream *Stream
	From   Party         // whose carrier it is about; of an expiry, the last one's
	Gap    time.Duration // of Attached and Expired: how long there was no carrier
	Err    error         // of Detached and Refused: why
	At     time.Time
}

// Holder keeps the resumable streams of one agent's process. Safe for concurrent
// use.
type Holder struct {
	o      HolderOptions
	budget Budget
	work   sync.WaitGroup

	mu      sync.Mutex
	streams map[string]*Stream
	users   map[[2]string]int
	notices []Notice
	telling bool
	gone    chan struct{} // closed and renewed when a stream is over
}

// NewHolder makes an empty holder. It starts nothing.
func NewHolder(o HolderOptions) *Holder {
	if o.PerUser <= 0 {
		o.PerUser = 100
	}
	if o.Total <= 0 {
		o.Total = 1000
	}
	if o.Memory <= 0 {
		o.Memory = 256 << 20
	}
	h := &Holder{o: o, streams: map[string]*Stream{}, users: map[[2]string]int{}, gone: make(chan struct{})}
	h.budget.Max = o.Memory
	return h
}

// Wait returns when every stream is over and everything about it was told.
func (h *Holder) Wait() { h.work.Wait() }

// WaitEmpty returns when no stream is kept, or ctx ends.
func (h *Holder) WaitEmpty(ctx context.Context) {
	for {
		h.mu.Lock()
		empty, gone := len(h.streams) == 0, h.gone
		h.mu.Unlock()
		if empty {
			return
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return
		}
	}
}

// Len returns how many streams are kept.
func (h *Holder) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// Offers reports whether a stream of this user would be kept: nobody is refused
// for want of room, only not offered to resume. Where there is none, the stream
// that has waited longest for a client gives way, if its service has closed it:
// as after a lock, whose clients do not come back.
func (h *Holder) Offers(user, cluster string) bool {
	h.mu.Lock()
	all := len(h.streams) >= h.o.Total
	if !all && h.users[[2]string{user, cluster}] < h.o.PerUser {
		h.mu.Unlock()
		return true
	}
	var list []*Stream
	for _, s := range h.streams {
		if all || s.Opened.User == user && s.Opened.Cluster == cluster {
			list = append(list, s)
		}
	}
	h.mu.Unlock()
	var oldest *Stream
	var since time.Time
	for _, s := range list {
		if at := s.leftover(); !at.IsZero() && (oldest == nil || at.Before(since)) {
			oldest, since = s, at
		}
	}
	if oldest == nil {
		return false
	}
	oldest.Abort(fault.New(fault.Limit, "it had ended, and its place was needed"))
	return true
}

// Has reports whether the stream is kept here.
func (h *Holder) Has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[id] != nil
}

// Open begins a stream over its first carrier, which was offered to resume. It
// waits for the client's open message, and refuses one that is not bound to the
// identity that came through the gate. The stream owns the carrier then.
func (h *Holder) Open(nc net.Conn, id, resource string, from Party) (*Stream, *Attachment, error) {
	k := newCarrier(nc)
	if err := k.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return nil, nil, err
	}
	var m opening
	if err := k.expect(&m); err != nil {
		return nil, nil, err
	}
	identity, err := h.verify(&m, id, from)
	if err == nil {
		err = k.SetDeadline(time.Time{})
	}
	s := &Stream{ID: id, Identity: identity, Opened: from, Resource: resource, holder: h, key: m.key, from: from}
	if err == nil {
		s.Conn = newConn(id, nc, agentDead, &h.budget, &h.work)
		s.lost, s.finished = s.onLost, s.onFinished
		err = h.add(s)
	}
	if err != nil {
		k.refuse(err)
		return nil, nil, err
	}
	h.work.Go(s.serve)
	return s, &Attachment{k}, s.install(k, 0)
}

// verify checks whose certificate has signed the fresh key.
func (h *Holder) verify(m *opening, id string, from Party) (*types.Identity, error) {
	cert, err := m.bound(h.subject(id, from))
	if err != nil {
		return nil, err
	}
	identity, err := h.o.Verify(cert, time.Now())
	switch {
	case err != nil:
		return nil, err
	case identity == nil || identity.Kind != types.IdentityUser:
		return nil, fault.New(fault.Unauthenticated, "the certificate of a resumable stream is not a user's")
	case identity.Name != from.User || identity.Cluster != from.Cluster:
		return nil, fault.New(fault.Denied, "the certificate of a resumable stream is not of who came through the proxy")
	case identity.Authority.Route != nil: // which somebody may hold who has not the person's own
		return nil, fault.New(fault.Denied, "a certificate for one resource opens no stream that can be gone on with")
	}
	return identity, nil
}

func (h *Holder) subject(id string, from Party) Subject {
	return Subject{Stream: id, Agent: h.o.Agent, User: from.User, Cluster: from.Cluster}
}

func (h *Holder) add(s *Stream) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[s.ID] != nil || s.ID == "" {
		return fault.New(fault.Conflict, "a stream of that name is open already")
	}
	h.streams[s.ID] = s
	h.users[[2]string{s.Opened.User, s.Opened.Cluster}]++
	return nil
}

// Attach lets a client go on with its stream over another carrier, and returns
// once it does. A stream that is not kept here is fault.NotFound. Whoever is
// refused is told on nc, which stays the caller's then.
func (h *Holder) Attach(nc net.Conn, id string, from Party) (*Attachment, error) {
	h.mu.Lock()
	s := h.streams[id]
	h.mu.Unlock()
	k := newCarrier(nc)
	if s == nil {
		err := fault.New(fault.NotFound, "the session is gone: it has ended, or the host's agent was restarted")
		k.refuse(err)
		return nil, err
	}
	if err := k.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return nil, err
	}
	err := s.admit(k, from)
	var no *Refusal
	if errors.As(err, &no) {
		k.refuse(no.why)
		h.tell(Notice{What: Refused, Stream: s, From: from, Err: no.why})
		return nil, no.why
	}
	if err != nil {
		return nil, err
	}
	return &Attachment{k}, nil
}

// LeaveProxies breaks the carriers that come through the proxies named by gone;
// the streams may go on over another.
func (h *Holder) LeaveProxies(gone func(uuid string) error) {
	h.mu.Lock()
	list := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		list = append(list, s)
	}
	h.mu.Unlock()
	for _, s := range list {
		if why := gone(s.From().Proxy); why != nil {
			if a := s.Carrier(); a != nil {
				s.leave(a.k, why)
			}
		}
	}
}

// AbortAll ends every stream, as the process does.
func (h *Holder) AbortAll(why error) {
	h.mu.Lock()
	list := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		list = append(list, s)
	}
	h.mu.Unlock()
	for _, s := range list {
		s.Abort(why)
	}
}

// tell queues a notice: whoever has one may hold what Observe would wait for.
func (h *Holder) tell(n Notice) {
	n.At = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices = append(h.notices, n)
	if h.telling {
		return
	}
	h.telling = true
	h.work.Go(func() {
		for {
			h.mu.Lock()
			if len(h.notices) == 0 {
				h.notices, h.telling = nil, false
				h.mu.Unlock()
				return
			}
			n := h.notices[0]
			h.notices = h.notices[1:]
			h.mu.Unlock()
			h.o.Observe(n)
		}
	})
}
