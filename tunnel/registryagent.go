package tunnel

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// handshakeTimeout covers the SSH handshake and the hello.
const handshakeTimeout = 20 * time.Second

// maxAuthChannels bounds the channels to auth that one agent may hold open.
const maxAuthChannels = 16

// agent is one tunnel at the proxy.
type agent struct {
	reg        *Registry
	uuid       string
	identity   *types.Identity
	generation uint64
	services   []string
	release    string
	data       bool
	since      time.Time
	conn       *ssh.ServerConn
	live       *liveConn
	ctx        context.Context
	cancel     context.CancelFunc
	pinging    atomic.Bool
	authOpen   atomic.Int32

	mu        sync.Mutex
	draining  bool
	streams   int
	warm      []net.Conn
	asked     int // data connections that were asked for to be kept warm and have not come
	lastDial  time.Time
	noDataTil time.Time
}

// serveTunnel brings a tunnel up. It holds a slot of r.handshakes until the
// handshake is over, and ends then: the goroutine that serves an idle tunnel
// begins with a small stack of its own.
func (r *Registry) serveTunnel(life context.Context, c net.Conn) {
	defer func() { <-r.handshakes }()
	err := lifecycle.Guard(life, func(ctx context.Context) error {
		a, chans, reqs, err := r.handshake(ctx, c)
		if err != nil {
			return err
		}
		r.o.Log.Info("tunnel up", telemetry.KeyHostID, a.uuid, "generation", a.generation,
			telemetry.KeyAddr, c.RemoteAddr().String(), "services", a.services)
		r.work.Go(func() { a.run(chans, reqs) })
		return nil
	})
	if err != nil {
		c.Close()
		if life.Err() == nil {
			r.o.Log.Info("no tunnel", telemetry.KeyAddr, c.RemoteAddr().String(), telemetry.KeyErr, err)
		}
	}
}

// run serves a tunnel until its end.
func (a *agent) run(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	err := lifecycle.Guard(a.ctx, func(context.Context) error { return a.serve(chans, reqs) })
	if a.ctx.Err() == nil {
		a.reg.o.Log.Info("tunnel down", telemetry.KeyHostID, a.uuid, "generation", a.generation, telemetry.KeyErr, err)
	}
	a.close("")
	discard(a.conn, chans, reqs)
	a.reg.remove(a)
}

// handshake authenticates both ends, reads the hello and files the tunnel.
func (r *Registry) handshake(life context.Context, c net.Conn) (*agent, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	live := newLiveConn(c)
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(life, func() { c.Close() })
	defer stop()
	conn, chans, reqs, err := r.serverConn(live)
	if err != nil {
		return nil, nil, nil, err
	}
	a := &agent{reg: r, conn: conn, live: live, since: time.Now()}
	a.ctx, a.cancel = context.WithCancel(life)
	err = a.greet(reqs)
	if err == nil {
		err = live.handshakeDone()
	}
	if err != nil {
		a.cancel()
		r.remove(a)
		discard(conn, chans, reqs)
		return nil, nil, nil, err
	}
	return a, chans, reqs, nil
}

// discard closes an SSH connection and empties its queues, so that its
// goroutines end.
func discard(conn ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	conn.Close()
	for chans != nil || reqs != nil {
		select {
		case _, ok := <-chans:
			if !ok {
				chans = nil
			}
		case _, ok := <-reqs:
			if !ok {
				reqs = nil
			}
		}
	}
}

// identityKey finds the verified identity in the final permissions.
type identityKey struct{}

// serverConn does the SSH handshake. The identity comes out of the permissions
// of the final authentication result, never from a key that was only offered.
func (r *Registry) serverConn(c net.Conn) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	signer, err := r.o.Credentials.Signer()
	if err != nil {
		return nil, nil, nil, err
	}
	config := &ssh.ServerConfig{
		Config:        algorithms(),
		ServerVersion: version,
		MaxAuthTries:  2,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			id, err := r.o.Credentials.verifyHost(key, r.o.Cluster, agentRoles())
			if err != nil {
				return nil, err
			}
			return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: id}}, nil
		},
	}
	config.AddHostKey(signer)
	return ssh.NewServerConn(c, config)
}

// greet reads the agent's hello, files the tunnel and answers with the list of
// proxies. Anything else before the hello is a mistake of the peer.
func (a *agent) greet(reqs <-chan *ssh.Request) error {
	id, ok := a.conn.Permissions.ExtraData[identityKey{}].(*types.Identity)
	if !ok {
		return fault.New(fault.Internal, "a tunnel was authenticated without an identity")
	}
	a.identity, a.uuid = id, id.Name
	req, ok := <-reqs
	if !ok {
		return fault.New(fault.Unavailable, "the agent left before its hello")
	}
	var hello tunframe.Hello
	if req.Type != tunframe.RequestHello || !req.WantReply {
		return fault.New(fault.Invalid, "the agent's first request is %q, not its hello", req.Type)
	}
	err := tunframe.Unmarshal(req.Payload, &hello)
	if err == nil && a.reg.o.Refuse != nil {
		err = a.reg.o.Refuse(a.identity)
	}
	var replaced []*agent
	if err == nil {
		a.generation, a.services, a.release = hello.Generation, hello.Services, hello.Release
		a.data = hello.Data && a.reg.o.Credentials.Peer != nil
		replaced, err = a.reg.file(a)
	}
	welcome := tunframe.Welcome{V: tunframe.Version, Release: a.reg.o.Release}
	if err != nil {
		welcome.Err = fault.Message(err)
	} else {
		a.reg.mu.Lock()
		welcome.Proxies = a.reg.proxies
		a.reg.mu.Unlock()
	}
	body, merr := tunframe.Marshal(&welcome)
	if merr != nil && err == nil {
		err = merr
	}
	if rerr := req.Reply(err == nil, body); err == nil && rerr != nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	for _, old := range replaced {
		old.retire()
	}
	return nil
}

// serve answers what the agent opens and asks, in one goroutine, until the
// tunnel ends.
func (a *agent) serve(chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) error {
	stop := context.AfterFunc(a.ctx, func() { a.conn.Close() })
	defer stop()
	for chans != nil || reqs != nil {
		select {
		case nc, ok := <-chans:
			if !ok {
				chans = nil
				continue
			}
			a.open(nc)
		case req, ok := <-reqs:
			if !ok {
				reqs = nil
				continue
			}
			a.request(req)
		}
	}
	return a.conn.Wait()
}

// open serves a channel of the closed list; anything else is refused.
func (a *agent) open(nc ssh.NewChannel) {
	if nc.ChannelType() != tunframe.ChannelAuth || a.reg.o.Auth == nil {
		nc.Reject(ssh.UnknownChannelType, "this proxy opens no such channel")
		return
	}
	if a.authOpen.Add(1) > maxAuthChannels {
		a.authOpen.Add(-1)
		nc.Reject(ssh.ResourceShortage, "too many channels to the auth service")
		return
	}
	a.reg.work.Go(func() {
		defer a.authOpen.Add(-1)
		ch, chReqs, err := nc.Accept()
		if err != nil {
			return
		}
		conn := newChannelConn(ch, chReqs, a.conn.LocalAddr(), a.conn.RemoteAddr())
		defer conn.Close()
		err = lifecycle.Guard(a.ctx, func(ctx context.Context) error { return a.reg.o.Auth(ctx, a.identity, conn) })
		if err != nil && a.ctx.Err() == nil {
			a.reg.o.Log.Debug("agent's channel to auth ended", telemetry.KeyHostID, a.uuid, telemetry.KeyErr, err)
		}
	})
}

// request handles a global request of the closed list.
func (a *agent) request(req *ssh.Request) {
	switch req.Type {
	case tunframe.RequestDraining:
		a.mu.Lock()
		a.draining = true
		a.mu.Unlock()
	case tunframe.RequestNoData:
		var no tunframe.DataRequest
		if tunframe.Unmarshal(req.Payload, &no) == nil {
			a.reg.noData(a, no.IDs)
		}
	}
	if req.WantReply {
		req.Reply(false, nil)
	}
}

// notify sends a request without an answer, from its own goroutine so that one
// stuck tunnel holds nobody up; liveConn bounds how long that may be.
func (a *agent) notify(name string, body []byte) {
	a.reg.work.Go(func() {
		if _, _, err := a.conn.SendRequest(name, false, body); err != nil {
			a.close("it cannot be written to")
		}
	})
}

// close ends the tunnel and what it holds.
func (a *agent) close(reason string) {
	if reason != "" && a.ctx.Err() == nil {
		a.reg.o.Log.Info("closing tunnel", telemetry.KeyHostID, a.uuid, "reason", reason)
	}
	a.cancel()
	// The transport first: closing SSH alone waits for a write lock that a stuck peer may hold.
	a.live.Close()
	a.dropWarm()
}

// retire takes a tunnel out of use that a newer one replaces: at once if
// nothing flows in it, else when its streams have ended.
func (a *agent) retire() {
	a.mu.Lock()
	a.draining = true
	busy := a.streams > 0
	a.mu.Unlock()
	if !busy {
		a.close("a newer tunnel of the same agent replaces it")
	}
}

func (a *agent) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams++
	a.lastDial = time.Now()
}

func (a *agent) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams--
}

func (a *agent) isDraining() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.draining
}

func (a *agent) expired(now time.Time) bool {
	e := a.identity.Authority.Expires
	return !e.IsZero() && now.After(e)
}

// better reports whether a serves new dials rather than b does.
func (a *agent) better(b *agent) bool {
	ad, bd := a.isDraining(), b.isDraining()
	switch {
	case ad != bd:
		return bd
	case a.generation != b.generation:
		return a.generation > b.generation
	}
	return !a.since.Before(b.since)
}

func (a *agent) info() AgentInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AgentInfo{UUID: a.uuid, Identity: a.identity, Generation: a.generation, Services: a.services,
		Release: a.release, Addr: a.conn.RemoteAddr(), Since: a.since, LastSeen: a.live.lastHeard(),
		Draining: a.draining, Streams: a.streams}
}
