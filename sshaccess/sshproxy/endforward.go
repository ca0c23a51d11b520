package sshproxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/netx"
	"teleport/sshserver"
	"teleport/types/event"
)

// Bounds of what one connection may forward.
const (
	remotesMost = 32 // listeners
	carriedMost = 64 // connections at once through one of them
	agentsMost  = 16 // uses of the key agent at once
)

// serveDirect is -L and -D: the server itself opens the connection, as its own
// configuration allows.
func (c *end) serveDirect(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil || !ValidTarget(m.Host) || m.Port == 0 || m.Port > 65535 {
		reject(nc, "malformed target")
		return
	}
	addr := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	remote, reqs, err := sshserver.OpenChannel(ctx, c.remote.Conn(), "direct-tcpip", nc.ExtraData())
	if err != nil {
		_ = c.port(event.CodePortFail, addr, "local", 0, 0, fault.New(fault.Unavailable, "the server does not reach %s", addr)) // refused
		reject(nc, "the server does not reach "+addr)
		return
	}
	defer remote.Close()
	go ssh.DiscardRequests(reqs)
	// Told before the first byte; what cannot be told does not happen.
	if err := c.port(event.CodePortStart, addr, "local", 0, 0, nil); err != nil {
		reject(nc, fault.Message(err))
		return
	}
	ch, own, err := nc.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(own)
	sent, received := c.splice(ctx, ch, remote)
	_ = c.port(event.CodePortStop, addr, "local", sent, received, nil) // it has ended
}

// splice copies both ways until both have ended or ctx has, and closes both.
func (c *end) splice(ctx context.Context, a, b io.ReadWriteCloser) (sent, received uint64) {
	defer a.Close()
	defer b.Close()
	var n netx.Counters
	_ = netx.Splice(ctx, a, b, netx.SpliceOptions{Counters: &n, Touch: c.live.Touch}) // either end left
	return uint64(n.AToB.Load()), uint64(n.BToA.Load())
}

func (c *end) port(code, addr, direction string, sent, received uint64, err error) error {
	e := &event.Port{User: c.who(), Session: event.Session{SessionID: c.id}, Server: c.host(), Connection: c.wire(),
		Addr: addr, Direction: direction, Sent: sent, Received: received, Status: event.Status{Success: err == nil}}
	if err != nil {
		e.Error = fault.Message(err)
	}
	return c.emit(e, event.TypePort, code)
}

// remoteForward is a listener of -R on the server. Only its own connection knows
// it, and it ends with that.
type remoteForward struct {
	l    net.Listener
	addr string // as the client asked
	port uint32
	done chan struct{} // closed when nothing more is accepted
}

func remoteKey(addr string, port uint32) string { return addr + "\x00" + strconv.Itoa(int(port)) }

// startRemote has the server listen on its loopback, whatever address the client
// named: to open a port to the network is not the client's to ask.
func (c *end) startRemote(ctx context.Context, _ *sshserver.Conn, r *ssh.Request) ([]byte, error) {
	var m struct {
		Addr string
		Port uint32
	}
	if ssh.Unmarshal(r.Payload, &m) != nil || len(m.Addr) > 255 || m.Port > 65535 {
		return nil, fault.New(fault.Invalid, "malformed tcpip-forward")
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(m.Port)))
	l, err := c.listen(at)
	if err != nil {
		_ = c.port(event.CodePortFail, at, "remote", 0, 0, err) // refused
		return nil, err
	}
	port := netx.AddrPort(l.Addr()).Port()
	if err := c.port(event.CodePortStart, l.Addr().String(), "remote", 0, 0, nil); err != nil {
		l.Close()
		return nil, err
	}
	f := &remoteForward{l: l, addr: m.Addr, port: uint32(port), done: make(chan struct{})}
	c.mu.Lock()
	c.remotes[remoteKey(f.addr, f.port)] = f
	c.mu.Unlock()
	c.behind.Go(func() { c.serveRemote(ctx, f) })
	if m.Port != 0 {
		return nil, nil
	}
	return ssh.Marshal(struct{ Port uint32 }{f.port}), nil
}

func (c *end) listen(at string) (net.Listener, error) {
	c.mu.Lock()
	n := len(c.remotes)
	c.mu.Unlock()
	if n >= remotesMost {
		return nil, fault.New(fault.Limit, "too many remote forwards on this connection")
	}
	l, err := c.remote.Listen(at)
	return l, fault.Wrap(err, fault.Unavailable, "the server does not listen on %s", at)
}

// cancelRemote ends a forward that this very connection started. What it has
// carried in so far lives on (RFC 4254 §7.1).
func (c *end) cancelRemote(ctx context.Context, _ *sshserver.Conn, r *ssh.Request) ([]byte, error) {
	var m struct {
		Addr string
		Port uint32
	}
	if ssh.Unmarshal(r.Payload, &m) != nil {
		return nil, fault.New(fault.Invalid, "malformed cancel-tcpip-forward")
	}
	c.mu.Lock()
	f := c.remotes[remoteKey(m.Addr, m.Port)]
	c.mu.Unlock()
	if f == nil {
		return nil, fault.New(fault.NotFound, "no such forward on this connection")
	}
	f.l.Close()
	select {
	case <-f.done:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serveRemote opens a channel to the client for each connection that comes in at
// the server, and returns when the last of them has ended.
func (c *end) serveRemote(ctx context.Context, f *remoteForward) {
	stop := context.AfterFunc(ctx, func() { f.l.Close() })
	defer stop()
	var carried sync.WaitGroup
	slots := make(chan struct{}, carriedMost)
	for {
		slots <- struct{}{}
		nc, err := f.l.Accept()
		if err != nil {
			break
		}
		carried.Go(func() {
			defer func() { <-slots }()
			from := netx.AddrPort(nc.RemoteAddr())
			if !from.IsValid() {
				from = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
			}
			c.openTo(ctx, nc, "forwarded-tcpip", ssh.Marshal(struct {
				Addr       string
				Port       uint32
				Origin     string
				OriginPort uint32
			}{f.addr, f.port, from.Addr().String(), uint32(from.Port())}))
		})
	}
	f.l.Close()
	c.mu.Lock()
	delete(c.remotes, remoteKey(f.addr, f.port))
	c.mu.Unlock()
	close(f.done)
	_ = c.port(event.CodePortStop, f.l.Addr().String(), "remote", 0, 0, nil) // it has ended
	carried.Wait()
}

// openTo asks the client for a channel and splices it with what the server opened.
func (c *end) openTo(ctx context.Context, from io.ReadWriteCloser, kind string, payload []byte) {
	ch, reqs, err := sshserver.OpenChannel(ctx, c.peer.SSH, kind, payload)
	if err != nil {
		from.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	c.splice(ctx, ch, from)
}

// passAgent gets ready for the server to use the client's key agent, once per
// connection, before the server is asked to offer it.
func (c *end) passAgent(ctx context.Context, session string) error {
	c.passing.Lock() // who comes second is granted what is ready
	defer c.passing.Unlock()
	if c.agent {
		return nil
	}
	e := &event.AgentForward{User: c.who(), Session: event.Session{SessionID: session}, Server: c.host(), Connection: c.wire(), Status: event.Status{Success: true}}
	if err := c.emit(e, event.TypeAgentForward, event.CodeAgentForward); err != nil {
		return err
	}
	c.agent = true
	uses := c.remote.Incoming("auth-agent@openssh.com")
	c.behind.Go(func() { c.serveAgent(ctx, uses) })
	return nil
}

// serveAgent passes uses of the key agent on, until the server leaves.
func (c *end) serveAgent(ctx context.Context, uses <-chan ssh.NewChannel) {
	var carried sync.WaitGroup
	defer carried.Wait()
	slots := make(chan struct{}, agentsMost)
	for nc := range uses {
		slots <- struct{}{}
		carried.Go(func() {
			defer func() { <-slots }()
			// Decided again each time: a lock may have come since.
			if err := denied(c.decide(access.ActionForwardAgent, c.cfg.Now(), false).decision); err != nil {
				reject(nc, fault.Message(err))
				return
			}
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			c.openTo(ctx, ch, "auth-agent@openssh.com", nil)
		})
	}
}
