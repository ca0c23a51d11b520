package tunnel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/sshserver"
	"teleport/tunnel/tundial"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Dial opens a stream to an agent and returns it once the agent has accepted
// the header. h.Generation, when set, picks one process of the agent; AgentUUID,
// Generation and ProxyUUID are filled in. A data connection is preferred, unless
// h.Carrier asks for a channel; a carrier that fails before the agent has
// answered is replaced by the next one. A refusal by the agent is a fault,
// returned with the reply; an agent without a tunnel is fault.Unavailable.
func (r *Registry) Dial(ctx context.Context, uuid string, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	a, err := r.choose(ctx, uuid, &h)
	if err != nil {
		return nil, tunframe.Reply{}, err
	}
	h.V, h.AgentUUID, h.Generation, h.ProxyUUID = tunframe.Version, a.uuid, a.generation, r.o.UUID
	r.begin(a)
	conn, reply, err := r.carry(ctx, a, &h)
	result := "ok"
	if err != nil {
		result = string(fault.KindOf(err))
	}
	r.dials.WithLabelValues(string(reply.Carrier), result).Inc()
	if err != nil {
		r.end(a, nil)
		return nil, reply, err
	}
	s := &stream{Conn: conn}
	s.release = func() { r.end(a, s) }
	r.mu.Lock()
	r.open[s] = a.uuid
	r.mu.Unlock()
	return s, reply, nil
}

// choose picks the tunnel of a dial. A stream that goes on is best served by the
// process that holds it, draining or not; where that has no tunnel here, the
// newest process of the agent finds it.
func (r *Registry) choose(ctx context.Context, uuid string, h *tunframe.Header) (*agent, error) {
	if h.Verb != tunframe.Attach {
		return r.await(ctx, uuid, h.Generation)
	}
	if h.Generation != 0 {
		if a, err := r.pick(uuid, h.Generation); err == nil {
			return a, nil
		}
	}
	return r.await(ctx, uuid, 0)
}

// await picks the tunnel for a dial. While this registry is young it waits for
// an agent that has not come yet; one that came and left is not waited for.
func (r *Registry) await(ctx context.Context, uuid string, generation uint64) (*agent, error) {
	a, err := r.pick(uuid, generation)
	if err == nil || errors.Is(err, ErrDraining) {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.MaxWait)
	defer cancel()
	for err != nil {
		arrived, left := r.expected(uuid)
		if left <= 0 {
			return nil, err
		}
		timer := time.NewTimer(left)
		select {
		case <-arrived:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
		timer.Stop()
		a, err = r.pick(uuid, generation)
	}
	return a, nil
}

// expected tells how much longer an agent without a tunnel is expected, and
// what closes when any agent comes.
func (r *Registry) expected(uuid string) (<-chan struct{}, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, left := r.departed[uuid]; left || r.draining || r.begun.IsZero() {
		return r.arrived, 0
	}
	return r.arrived, time.Until(r.begun.Add(r.o.Settle))
}

// carry tries the carriers in order. An answer of the agent, yes or no, ends the search.
func (r *Registry) carry(ctx context.Context, a *agent, h *tunframe.Header) (net.Conn, tunframe.Reply, error) {
	if h.Carrier != tunframe.CarrierChannel && a.dataUsable() {
		for conn := a.takeWarm(); conn != nil; conn = a.takeWarm() {
			reply, err := exchange(ctx, conn, h)
			if err == nil {
				r.refill(a)
				return conn, reply, nil
			}
			conn.Close()
			if reply.Kind != "" || ctx.Err() != nil {
				return nil, reply, err
			}
		}
		if conn := r.fetch(ctx, a); conn != nil {
			reply, err := exchange(ctx, conn, h)
			if err == nil {
				r.refill(a)
				return conn, reply, nil
			}
			conn.Close()
			if reply.Kind != "" || ctx.Err() != nil {
				return nil, reply, err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, tunframe.Reply{}, err
	}
	conn, err := a.openDial(ctx, h)
	if err != nil {
		return nil, tunframe.Reply{}, err
	}
	reply, err := tundial.ReadReply(ctx, conn)
	if err != nil {
		conn.Close()
	}
	return conn, reply, err
}

// exchange sends the header on a data connection and waits for the answer.
func exchange(ctx context.Context, conn net.Conn, h *tunframe.Header) (tunframe.Reply, error) {
	if err := conn.SetWriteDeadline(time.Now().Add(tundial.ReplyTimeout)); err != nil {
		return tunframe.Reply{}, err
	}
	if err := tunframe.Write(conn, h); err != nil {
		return tunframe.Reply{}, err
	}
	return tundial.ReadReply(ctx, conn)
}

// openDial opens a channel whose opening message carries the header, so that a
// dial costs one round trip.
func (a *agent) openDial(ctx context.Context, h *tunframe.Header) (net.Conn, error) {
	body, err := tunframe.Marshal(h)
	if err != nil {
		return nil, err
	}
	return openChannel(ctx, a.ctx, a.conn, tunframe.ChannelDial, body)
}

// openChannel opens a channel, and gives up with ctx, or with life, which is that of the
// tunnel.
func openChannel(ctx, life context.Context, conn ssh.Conn, kind string, extra []byte) (net.Conn, error) {
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	ch, reqs, err := sshserver.OpenChannel(either, conn, kind, extra)
	switch {
	case err == nil:
		return newChannelConn(ch, reqs, conn.LocalAddr(), conn.RemoteAddr()), nil
	case ctx.Err() != nil:
		return nil, fault.Wrap(context.Cause(ctx), fault.KindOf(ctx.Err()), "the tunnel did not open a stream in time")
	case life.Err() != nil:
		return nil, fault.New(fault.Unavailable, "the tunnel ended before it opened a stream")
	}
	return nil, fault.Wrap(err, fault.Unavailable, "the tunnel does not open a stream")
}

// pendingData is a data connection that an agent was asked for.
type pendingData struct {
	agent   *agent
	expires time.Time

	mu      sync.Mutex
	waiter  chan net.Conn // capacity 1; closed when it will not come; nil: it is to be kept warm
	settled bool
}

// deliver gives the connection to the dial that waits, if one still does.
func (p *pendingData) deliver(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled || p.waiter == nil {
		return false
	}
	p.settled = true
	p.waiter <- c
	return true
}

// fail tells the dial that waits that nothing will come.
func (p *pendingData) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.settled && p.waiter != nil {
		p.settled = true
		close(p.waiter)
	}
}

// abandon ends the wait; it reports whether a connection had arrived meanwhile.
func (p *pendingData) abandon() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled {
		return <-p.waiter
	}
	p.waiter = nil
	return nil
}

// dataLate is how long after being asked for a data connection may still come.
const dataLate = 30 * time.Second

// noDataPause is how long an agent that could not dial back is not asked again.
const noDataPause = time.Minute

// fetch asks for one data connection and waits for it; nil when it does not
// come in time. One that comes late is kept warm.
func (r *Registry) fetch(ctx context.Context, a *agent) net.Conn {
	p := &pendingData{agent: a, waiter: make(chan net.Conn, 1)}
	if !r.ask(a, p) {
		return nil
	}
	waiter := p.waiter
	timer := time.NewTimer(r.o.DataWait)
	defer timer.Stop()
	select {
	case c := <-waiter: // nil when closed
		return c
	case <-timer.C:
		a.pauseData(r.o.DataWait)
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
	return p.abandon()
}

// refill asks for as many data connections as should be warm.
func (r *Registry) refill(a *agent) {
	for {
		a.mu.Lock()
		want := len(a.warm)+a.asked < r.o.Warm && !a.draining
		if want {
			a.asked++
		}
		a.mu.Unlock()
		if !want {
			return
		}
		if !r.ask(a, &pendingData{agent: a}) {
			a.unask()
			return
		}
	}
}

// ask names the connection and sends the request.
func (r *Registry) ask(a *agent, p *pendingData) bool {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return false
	}
	id := tunframe.DataID(hex.EncodeToString(b[:]))
	body, err := tunframe.Marshal(&tunframe.DataRequest{V: tunframe.Version, IDs: []tunframe.DataID{id}})
	if err != nil {
		return false
	}
	p.expires = time.Now().Add(dataLate)
	r.mu.Lock()
	full := p.waiter == nil && int(r.warmTotal.Load()) >= r.o.MaxWarm
	if !full {
		r.pending[id] = p
	}
	r.mu.Unlock()
	if full {
		return false
	}
	a.notify(tunframe.RequestData, body)
	return true
}

// noData handles the agent's word that connections will not come.
func (r *Registry) noData(a *agent, ids []tunframe.DataID) {
	for _, id := range ids {
		if p := r.takePending(id, a.uuid); p != nil {
			a.pauseData(noDataPause)
			r.drop(p)
		}
	}
}

// drop settles a pending connection that will not come.
func (r *Registry) drop(p *pendingData) {
	p.mu.Lock()
	warm := p.waiter == nil && !p.settled
	p.mu.Unlock()
	if warm {
		p.agent.unask()
		return
	}
	p.fail()
}

// takePending looks a one-time id up and strikes it out; the agent must be the
// one that was asked.
func (r *Registry) takePending(id tunframe.DataID, uuid string) *pendingData {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pending[id]
	if p == nil || p.agent.uuid != uuid {
		return nil
	}
	delete(r.pending, id)
	return p
}

// serveData receives a data connection: it holds a slot of r.handshakes until
// the connection is handed over.
func (r *Registry) serveData(life context.Context, c net.Conn) {
	defer func() { <-r.handshakes }()
	if err := r.receive(life, c); err != nil {
		c.Close()
		r.o.Log.Debug("data connection refused", "addr", c.RemoteAddr().String(), "err", err)
	}
}

func (r *Registry) receive(life context.Context, c net.Conn) error {
	if r.o.Credentials.Peer == nil {
		return fault.New(fault.Unimplemented, "this proxy takes no data connections")
	}
	ctx, cancel := context.WithTimeout(life, handshakeTimeout)
	defer cancel()
	if err := c.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	id, err := r.o.Credentials.checkPeer(ctx, c, r.o.Cluster, agentRoles())
	if err != nil {
		return err
	}
	var hello tunframe.DataHello
	if err := tunframe.Read(c, &hello); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return r.handOver(hello.ID, id, c)
}

// handOver gives a data connection to the dial that asked for it, or keeps it warm.
func (r *Registry) handOver(id tunframe.DataID, peer *types.Identity, c net.Conn) error {
	p := r.takePending(id, peer.Name)
	if p == nil {
		return fault.New(fault.Denied, "%s brings a data connection that was not asked of it", peer)
	}
	if p.deliver(c) {
		return nil
	}
	if !p.agent.keepWarm(c) {
		c.Close()
	}
	return nil
}
