package tunnel

import (
	"context"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// agentEnd is one tunnel at the agent.
type agentEnd struct {
	pool   *Pool
	target Target
	proxy  *types.Identity
	conn   ssh.Conn
	live   *liveConn
	life   context.Context // ends with the pool
	ctx    context.Context // ends with the tunnel
	cancel context.CancelFunc
	// dataCtx ends when idle data connections should close: with the drain.
	dataCtx  context.Context
	stopData context.CancelFunc

	// Guarded by pool.mu.
	usable   bool
	outdated bool      // a successor is sought
	replaces *agentEnd // the tunnel that goes when this one stands
	draining bool
	streams  int
	data     int // data connections asked for or idle
}

// attempt dials t and brings a tunnel up; when it returns nil the tunnel is
// served by a goroutine of its own.
func (p *Pool) attempt(ctx, life context.Context, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.DialTimeout)
	defer cancel()
	c, err := p.o.Dial(ctx, t)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	e := &agentEnd{pool: p, target: t, live: newLiveConn(c), life: life}
	e.ctx, e.cancel = context.WithCancel(life)
	e.dataCtx, e.stopData = context.WithCancel(e.ctx)
	chans, reqs, err := e.handshake(ctx)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.unclaim(e)
		e.cancel()
		c.Close()
		if e.conn != nil {
			discard(e.conn, chans, reqs)
		}
		return err
	}
	p.work.Go(func() { e.run(chans, reqs) })
	p.stand(e)
	p.o.Log.Info("tunnel up", "proxy", e.name(), telemetry.KeyAddr, c.RemoteAddr().String())
	return nil
}

// name is the proxy's UUID, "" before the handshake.
func (e *agentEnd) name() string {
	if e.proxy == nil {
		return ""
	}
	return e.proxy.Name
}

// handshake authenticates both ends, claims the proxy and says hello.
func (e *agentEnd) handshake(ctx context.Context) (<-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	p := e.pool
	deadline, _ := ctx.Deadline()
	if err := e.live.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	signer, err := p.o.Credentials.Signer()
	if err != nil {
		return nil, nil, err
	}
	// The callback runs once per key exchange; what counts is the key of the
	// exchange that NewClientConn completed.
	config := &ssh.ClientConfig{
		Config:            algorithms(),
		User:              p.o.UUID,
		ClientVersion:     version,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: hostCertAlgorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			id, err := p.o.Credentials.verifyHost(key, p.o.Cluster, []types.SystemRole{types.RoleProxy})
			if err != nil {
				return err
			}
			if e.proxy != nil && e.proxy.Name != id.Name {
				return fault.New(fault.Untrusted, "the proxy changed its identity while connected")
			}
			if e.proxy == nil {
				e.proxy = id
			}
			return nil
		},
	}
	conn, chans, reqs, err := ssh.NewClientConn(e.live, "", config)
	if err != nil {
		return nil, nil, err
	}
	e.conn = conn
	if err := p.claim(e); err != nil {
		return chans, reqs, err
	}
	if err := e.hello(); err != nil {
		return chans, reqs, err
	}
	return chans, reqs, e.live.handshakeDone()
}

// hello introduces this agent and learns of the other proxies.
func (e *agentEnd) hello() error {
	h := e.pool.o.Hello
	body, err := tunframe.Marshal(&h)
	if err != nil {
		return err
	}
	ok, answer, err := e.conn.SendRequest(tunframe.RequestHello, true, body)
	if err != nil {
		return err
	}
	var w tunframe.Welcome
	if err := tunframe.Unmarshal(answer, &w); err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.Denied, "the proxy refuses the tunnel: %s", w.Err)
	}
	e.pool.learn(w.Proxies, e.proxy.Name)
	return nil
}

// run serves the tunnel until it ends.
func (e *agentEnd) run(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	defer e.pool.release(e)
	defer e.cancel()
	stop := context.AfterFunc(e.ctx, func() { e.live.Close() })
	defer stop()
	err := lifecycle.Guard(e.ctx, func(context.Context) error { return e.serve(chans, reqs) })
	if e.ctx.Err() == nil {
		e.pool.o.Log.Warn("tunnel lost", "proxy", e.name(), telemetry.KeyErr, err)
	}
	e.cancel()
	discard(e.conn, chans, reqs)
}

func (e *agentEnd) serve(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) error {
	for {
		select {
		case nc, ok := <-chans:
			if !ok {
				return e.conn.Wait()
			}
			e.open(nc)
		case req, ok := <-reqs:
			if !ok {
				return e.conn.Wait()
			}
			e.request(req)
		}
	}
}

// open takes a dial; any other channel is refused.
func (e *agentEnd) open(nc ssh.NewChannel) {
	if nc.ChannelType() != tunframe.ChannelDial {
		nc.Reject(ssh.UnknownChannelType, "this agent opens no such channel")
		return
	}
	var h tunframe.Header
	if err := tunframe.Unmarshal(nc.ExtraData(), &h); err != nil {
		nc.Reject(ssh.ConnectionFailed, fault.Message(err))
		return
	}
	if !e.begin() {
		nc.Reject(ssh.ResourceShortage, "too many streams on this tunnel")
		return
	}
	e.pool.work.Go(func() {
		defer e.end()
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		conn := newChannelConn(ch, reqs, e.conn.LocalAddr(), e.conn.RemoteAddr())
		e.handle(e.ctx, Incoming{Conn: conn, Header: h, Proxy: e.proxy, Carrier: tunframe.CarrierChannel})
	})
}

// handle runs the agent's handler; the connection is closed after it in any case.
func (e *agentEnd) handle(ctx context.Context, in Incoming) {
	stop := context.AfterFunc(ctx, func() { in.Conn.Close() })
	defer stop()
	defer in.Conn.Close()
	if in.Header.AgentUUID != e.pool.o.UUID {
		why := tunframe.Refusal(fault.New(fault.NotFound, "the dial is for agent %s and reached %s", in.Header.AgentUUID, e.pool.o.UUID))
		why.V = tunframe.Version
		if err := tunframe.Write(in.Conn, &why); err != nil {
			e.pool.o.Log.Debug("refusal not sent", telemetry.KeyErr, err)
		}
		return
	}
	err := lifecycle.Guard(ctx, func(ctx context.Context) error { e.pool.o.Handle(ctx, in); return nil })
	if err != nil {
		e.pool.o.Log.Error("a dial's handler failed", telemetry.KeyErr, err)
	}
}

// request handles a global request of the closed list.
func (e *agentEnd) request(req *ssh.Request) {
	p := e.pool
	switch req.Type {
	case tunframe.RequestDraining:
		p.mu.Lock()
		p.letGo(e)
		p.announce()
		p.mu.Unlock()
		p.look()
	case tunframe.RequestProxies:
		var list tunframe.Proxies
		if err := tunframe.Unmarshal(req.Payload, &list); err != nil {
			p.o.Log.Warn("a discovery list was not understood", telemetry.KeyErr, err)
			break
		}
		p.learn(list.Proxies, e.proxy.Name)
	case tunframe.RequestData:
		var want tunframe.DataRequest
		if err := tunframe.Unmarshal(req.Payload, &want); err == nil {
			e.dialBack(want.IDs)
		}
	}
	if req.WantReply {
		req.Reply(false, nil)
	}
}

// notify sends a request without an answer, in its own goroutine.
func (e *agentEnd) notify(name string, body []byte) {
	e.pool.work.Go(func() {
		if _, _, err := e.conn.SendRequest(name, false, body); err != nil {
			e.close("it cannot be written to")
		}
	})
}

func (e *agentEnd) close(reason string) {
	if e.ctx.Err() == nil {
		e.pool.o.Log.Info("closing tunnel", "proxy", e.name(), "reason", reason)
	}
	e.cancel()
}

// begin counts a stream; false when there are too many.
func (e *agentEnd) begin() bool {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	if e.streams >= e.pool.o.MaxStreams {
		return false
	}
	e.streams++
	e.pool.streams++
	return true
}

func (e *agentEnd) end() {
	p := e.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	e.streams--
	p.streams--
	if e.draining && e.streams == 0 {
		p.work.Go(func() { e.close("it was draining and is empty") })
	}
	if p.stopping && p.streams == 0 {
		p.announce()
	}
}

// maxData bounds the data connections of one tunnel that wait for a dial.
const maxData = 64

// dialBack opens the data connections that the proxy asked for.
func (e *agentEnd) dialBack(ids []tunframe.DataID) {
	p := e.pool
	for _, id := range ids {
		p.mu.Lock()
		ok := e.data < maxData && !p.stopping && p.o.Credentials.Peer != nil
		if ok {
			e.data++
		}
		p.mu.Unlock()
		if !ok {
			e.noData(id)
			continue
		}
		p.work.Go(func() {
			err := lifecycle.Guard(e.dataCtx, func(context.Context) error { return e.dataConn(id) })
			if err != nil && e.dataCtx.Err() == nil {
				p.o.Log.Debug("no data connection", "proxy", e.name(), telemetry.KeyErr, err)
				e.noData(id)
			}
		})
	}
}

func (e *agentEnd) noData(id tunframe.DataID) {
	if body, err := tunframe.Marshal(&tunframe.DataRequest{V: tunframe.Version, IDs: []tunframe.DataID{id}}); err == nil {
		e.notify(tunframe.RequestNoData, body)
	}
}

// dataAttempts is how often a balancer may lead to another proxy before the
// agent gives up and lets the proxy use a channel.
const dataAttempts = 3

// dataConn dials back to the very process that asked, waits for a dial and
// serves it.
func (e *agentEnd) dataConn(id tunframe.DataID) error {
	p := e.pool
	waiting := true
	uncount := func() {
		if waiting {
			waiting = false
			p.mu.Lock()
			e.data--
			p.mu.Unlock()
		}
	}
	defer uncount()
	conn, proxy, err := e.reach()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(e.dataCtx, func() { conn.Close() })
	defer stop()
	if err := tunframe.Write(conn, &tunframe.DataHello{V: tunframe.Version, ID: id}); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(p.o.DataIdle)); err != nil {
		return err
	}
	var h tunframe.Header
	if tunframe.Read(conn, &h) != nil || !stop() {
		return nil // it was not needed, or the tunnel ended
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	uncount()
	if !e.begin() {
		return nil
	}
	defer e.end()
	// The stream has a connection of its own: it outlives the tunnel's end, but
	// not the pool's.
	e.handle(e.life, Incoming{Conn: conn, Header: h, Proxy: proxy, Carrier: tunframe.CarrierData})
	return nil
}

// reach opens TLS to the proxy of this tunnel and sends nothing before it has
// verified that it is that one.
func (e *agentEnd) reach() (net.Conn, *types.Identity, error) {
	p := e.pool
	ctx, cancel := context.WithTimeout(e.dataCtx, p.o.DialTimeout)
	defer cancel()
	for i := 0; ; i++ {
		conn, err := p.o.Dial(ctx, Target{Addr: e.target.Addr, ALPN: tunframe.ALPNData})
		if err != nil {
			return nil, nil, err
		}
		id, err := p.o.Credentials.checkPeer(ctx, conn, p.o.Cluster, []types.SystemRole{types.RoleProxy})
		if err == nil && id.Name == e.proxy.Name {
			return conn, id, conn.SetDeadline(time.Now().Add(p.o.DialTimeout))
		}
		conn.Close()
		if err == nil && i+1 >= dataAttempts {
			err = fault.New(fault.Unavailable, "the address leads to proxy %s, not to %s", id.Name, e.proxy.Name)
		}
		if err != nil {
			return nil, nil, err
		}
	}
}
