package agentd

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"teleport/access"
	"teleport/dial"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/resume"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Handover finds the other processes of this agent; *generation.Handover is one.
type Handover interface {
	Listen(ctx context.Context) (net.Listener, error)
	Others(ctx context.Context, try func(net.Conn) (taken bool)) error
}

// Streams say how dials of this agent are kept for clients that lost their
// connection. Fields without a remark are required.
type Streams struct {
	// Timeout is how long a stream without a connection is kept. An idle timeout
	// of the user's roles may end it earlier.
	Timeout time.Duration
	// Verify makes the identity of a user's certificate.
	Verify func(*x509.Certificate, time.Time) (*types.Identity, error)
	// Decide decides, from the policy of now, whether the identity may still dial
	// a resource (kind/name) from where it comes.
	Decide func(id *types.Identity, resource string, from resume.Party, now time.Time) access.Decision
	// Observe tells the audit log. It may block.
	Observe func(resume.Notice)
	// Handover is where older processes are asked for streams that this one does
	// not hold, and where this one is asked. Optional.
	Handover Handover
	// Changed ticks when locks change. Optional.
	Changed func() (ticks <-chan struct{}, stop func())
	PerUser int              // streams kept for one user; 0: 100
	Total   int              // for all; 0: 1000
	Now     func() time.Time // nil: time.Now
}

func (s *Streams) holder(o Options) *resume.Holder {
	if s.Now == nil {
		s.Now = time.Now
	}
	return resume.NewHolder(resume.HolderOptions{Agent: o.UUID, Generation: o.Generation, Verify: s.Verify, Admit: s.admit, Keep: s.keep,
		Observe: s.Observe, PerUser: s.PerUser, Total: s.Total})
}

// admit decides anew before a stream goes on: certificate, locks, roles and the
// address that the client comes from now.
func (s *Streams) admit(x *resume.Stream, from resume.Party) error {
	now := s.Now()
	if end := x.Identity.Authority.Expires; !end.IsZero() && !now.Before(end) {
		return fault.New(fault.Denied, "your certificate has expired, and the session cannot go on").WithHint("log in again: tsh login")
	}
	d := s.Decide(x.Identity, x.Resource, from, now)
	switch {
	case d.Allow:
		return nil
	case len(d.Reasons) == 0:
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", d.Reasons[0].Text)
}

// keep counts the time without a connection as idle.
func (s *Streams) keep(x *resume.Stream) time.Duration {
	d := s.Decide(x.Identity, x.Resource, x.From(), s.Now())
	if idle := d.Limits.IdleTimeout; idle > 0 {
		return max(0, min(s.Timeout, idle-time.Since(x.LastHeard())))
	}
	return s.Timeout
}

// offers reports whether a dial is kept when its connection breaks.
func (a *Agent) offers(in *dial.Inbound) bool {
	g := in.Header.Gateway
	return a.holder != nil && in.Header.Resume == resume.Version && g != nil && in.Header.Stream != "" && a.holder.Offers(g.User, g.Cluster)
}

// party is who stands behind a dial.
func party(h dial.Header) resume.Party {
	p := resume.Party{Client: h.Client, Proxy: h.ProxyUUID}
	if h.Gateway != nil {
		p.User, p.Cluster = h.Gateway.User, h.Gateway.Cluster
	}
	return p
}

// open serves a dial whose stream may outlive it; it returns when the stream has
// left this dial's connection.
func (a *Agent) open(s Service, in *dial.Inbound) error {
	stream, carrier, err := a.holder.Open(in.Conn, in.Header.Stream, in.Header.Kind+"/"+in.Header.Name, party(in.Header))
	if err != nil {
		return err
	}
	inner := *in
	inner.Conn = stream
	a.work.Go(func() {
		defer stream.Close()
		err := lifecycle.Guard(a.life, func(ctx context.Context) error { return s.Serve(ctx, &inner) })
		if err != nil {
			a.log(a.life, in.Header, err)
		}
	})
	<-carrier.Done()
	return nil
}

// attach lets a client go on with a stream that this process holds, or an older
// one.
func (a *Agent) attach(ctx context.Context, in *dial.Inbound) error {
	if in.Header.Gateway == nil {
		err := fault.New(fault.Denied, "the dial does not say who came through the gate")
		return errors.Join(err, in.Refuse(err))
	}
	if !a.holder.Has(in.Header.Stream) && a.o.Streams.Handover != nil {
		if err := a.passOn(ctx, in); !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	if err := in.Accept(dial.Reply{AgentUUID: a.o.UUID, Generation: a.o.Generation, Hostname: a.o.Hostname, Resume: true}); err != nil {
		return err
	}
	carrier, err := a.holder.Attach(in.Conn, in.Header.Stream, party(in.Header))
	if err != nil {
		return err
	}
	<-carrier.Done()
	return nil
}

// passOn copies between the client and the process that holds its stream. It is
// fault.NotFound, and nothing was answered, when there is none.
func (a *Agent) passOn(ctx context.Context, in *dial.Inbound) error {
	var other net.Conn
	var reply dial.Reply
	err := a.o.Streams.Handover.Others(ctx, func(c net.Conn) bool {
		var err error
		if reply, err = ask(ctx, c, &in.Header); err != nil {
			c.Close()
			return false
		}
		other = c
		return true
	})
	switch {
	case err != nil && !errors.Is(err, fault.NotFound):
		a.o.Log.WarnContext(ctx, "other processes of this agent cannot be asked for a stream", telemetry.KeyErr, err)
		return fault.Wrap(err, fault.NotFound, "no other process of this agent was asked")
	case err != nil:
		return err
	}
	if err := in.Accept(reply); err != nil {
		other.Close()
		return err
	}
	return netx.Splice(ctx, in.Conn, other, netx.SpliceOptions{})
}

// ask sends a header to another process of this agent and reads its answer.
func ask(ctx context.Context, c net.Conn, h *dial.Header) (dial.Reply, error) {
	if err := c.SetWriteDeadline(time.Now().Add(dial.HeaderTimeout)); err != nil {
		return dial.Reply{}, err
	}
	if err := dial.WriteHeader(c, h); err != nil {
		return dial.Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, dial.HeaderTimeout)
	defer cancel()
	return dial.ReadReply(ctx, c)
}

// Serve answers newer processes of this agent and follows locks on proxies,
// until ctx ends; then it waits until no stream is kept any more.
func (a *Agent) Serve(ctx context.Context) error {
	defer a.end()
	if a.holder == nil {
		<-ctx.Done()
		return nil
	}
	asked, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if h := a.o.Streams.Handover; h != nil {
		ln, err := h.Listen(ctx)
		if err != nil {
			a.o.Log.Warn("sessions will not outlive a restart of this process together with their connection", telemetry.KeyErr, err)
		} else {
			a.work.Go(func() { a.answer(asked, ln) })
		}
	}
	if a.o.Streams.Changed != nil {
		a.work.Go(func() { a.followLocks(asked) })
	}
	<-ctx.Done()
	a.holder.WaitEmpty(context.WithoutCancel(ctx))
	stop()
	a.end()
	a.work.Wait()
	a.holder.Wait()
	return nil
}

// lastReads is how long clients may take to read the end of sessions that were
// cut.
const lastReads = time.Second

// Cut ends every stream, as the process stops at once: those of sessions that
// have just been cut within a moment, in which their clients learn of it.
func (a *Agent) Cut() {
	if a.holder == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastReads)
	defer cancel()
	a.holder.WaitEmpty(ctx)
	a.holder.AbortAll(fault.New(fault.Unavailable, "the agent stops"))
}

// answer takes the streams' clients from newer processes.
func (a *Agent) answer(ctx context.Context, ln net.Listener) {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	_ = netx.Accept(ctx, ln, a.o.Log, func(c net.Conn) { // an error says that ln was closed
		a.work.Go(func() {
			defer c.Close()
			cut := context.AfterFunc(ctx, func() { c.Close() })
			defer cut()
			if err := a.take(c); err != nil {
				a.o.Log.Debug("a stream was not handed over", telemetry.KeyErr, err)
			}
		})
	})
}

// take lets a client go on over a connection that a newer process brings; that
// one has checked who carries it.
func (a *Agent) take(c net.Conn) error {
	h, err := dial.ReadHeader(c)
	if err != nil {
		return err
	}
	if h.Verb != tunframe.Attach || h.Gateway == nil || !a.holder.Has(h.Stream) {
		return dial.Refuse(c, fault.New(fault.NotFound, "there is no such stream here"))
	}
	reply := dial.Reply{AgentUUID: a.o.UUID, Generation: a.o.Generation, Hostname: a.o.Hostname, Resume: true}
	if err := dial.WriteReply(c, reply); err != nil {
		return err
	}
	carrier, err := a.holder.Attach(c, h.Stream, party(*h))
	if err != nil {
		return err
	}
	<-carrier.Done()
	return nil
}

// followLocks leaves the connections through proxies that a lock names; their
// streams may go on through another.
func (a *Agent) followLocks(ctx context.Context) {
	ticks, stop := a.o.Streams.Changed()
	defer stop()
	for {
		a.holder.LeaveProxies(func(uuid string) error { return a.locked(uuid) })
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
	}
}

// locked returns the text of a lock on a process.
func (a *Agent) locked(uuid string) error {
	now := a.o.Now()
	for _, l := range a.o.Locks() {
		if access.LockInForce(l, access.LockSubject{ServerID: uuid}, now) {
			return fault.New(fault.Denied, "%s", access.LockText(l))
		}
	}
	return nil
}
