package sshaccess

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/netx"
	"teleport/sshserver"
	"teleport/types/event"
)

const (
	remotesMost = 32 // forwards that one connection may listen with
	hostMost    = 255
)

// serveDirect is -L and -D: one connection from this host to where the client
// says, dialled as the user. The decision was made before it is called.
func (cn *conn) serveDirect(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil || !validHost(m.Host) || m.Port == 0 || m.Port > 65535 {
		nc.Reject(ssh.ConnectionFailed, "malformed address") //nolint:errcheck // the connection is gone then
		return
	}
	addr := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	to, err := cn.dialAsUser(ctx, addr)
	if err != nil {
		cn.port(event.CodePortFail, addr, "local", 0, 0, err)
		nc.Reject(ssh.ConnectionFailed, clean(fault.Message(err))) //nolint:errcheck // the connection is gone then
		return
	}
	defer to.Close()
	// Told before the first byte; what cannot be told does not happen.
	if err := cn.port(event.CodePortStart, addr, "local", 0, 0, nil); err != nil {
		nc.Reject(ssh.Prohibited, fault.Message(err)) //nolint:errcheck // the connection is gone then
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	sent, received := cn.splice(ctx, ch, to)
	cn.port(event.CodePortStop, addr, "local", sent, received, nil) //nolint:errcheck // logged; it has ended
}

func validHost(h string) bool {
	if h == "" || len(h) > hostMost {
		return false
	}
	for i := range len(h) {
		if h[i] <= 0x20 || h[i] >= 0x7f || h[i] == '/' {
			return false
		}
	}
	return true
}

func (cn *conn) dialAsUser(ctx context.Context, addr string) (net.Conn, error) {
	h, err := cn.sockets()
	if err != nil {
		return nil, err
	}
	c, err := h.Dial(ctx, addr)
	return c, fault.Wrap(err, fault.Unavailable, "cannot connect to %s: %s", addr, innermost(err))
}

// innermost is the last part of a dial error, which says why.
func innermost(err error) string {
	if err == nil {
		return ""
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return clean(err.Error())
}

func (cn *conn) port(code, addr, dir string, sent, received uint64, err error) error {
	e := &event.Port{User: cn.who(), Session: cn.sessionOf(cn.id), Server: cn.host(), Connection: cn.wire(),
		Addr: addr, Direction: dir, Sent: sent, Received: received, Status: event.Status{Success: err == nil}}
	if err != nil {
		e.Error = fault.Message(err)
	}
	return cn.emit(e, event.TypePort, code)
}

// splice copies both ways, with each end of stream passed on by itself, until
// both have ended or ctx has.
func (cn *conn) splice(ctx context.Context, ch ssh.Channel, to net.Conn) (sent, received uint64) {
	var n netx.Counters
	if err := netx.Splice(ctx, ch, to, netx.SpliceOptions{Counters: &n, Touch: cn.live.Touch}); err != nil {
		cn.svc.cfg.Log.Debug("a forwarded connection broke", "reason", err)
	}
	return uint64(n.AToB.Load()), uint64(n.BToA.Load())
}

// remoteForward is a listener of -R. It is known to its connection only, so no
// other can name it, and it ends with it.
type remoteForward struct {
	l    net.Listener
	addr string // as the client asked
	port uint32
	stop context.CancelFunc
	done chan struct{} // closed when nothing more is accepted
}

// startRemote listens on this host's loopback as the user, whatever address the
// client named: to open a port to the network is not the client's to ask.
func (cn *conn) startRemote(ctx context.Context, _ *sshserver.Conn, r *ssh.Request) ([]byte, error) {
	var m struct {
		Addr string
		Port uint32
	}
	if ssh.Unmarshal(r.Payload, &m) != nil || len(m.Addr) > hostMost || m.Port > 65535 {
		return nil, fault.New(fault.Invalid, "malformed tcpip-forward")
	}
	l, err := cn.listenAsUser(ctx, m.Port)
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(m.Port)))
	if err != nil {
		cn.port(event.CodePortFail, at, "remote", 0, 0, err) //nolint:errcheck // logged; it was refused
		return nil, err
	}
	port := uint32(l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener was asked for
	at = l.Addr().String()
	if err := cn.port(event.CodePortStart, at, "remote", 0, 0, nil); err != nil {
		l.Close()
		return nil, err
	}
	accepting, stop := context.WithCancel(ctx)
	f := &remoteForward{l: l, addr: m.Addr, port: port, stop: stop, done: make(chan struct{})}
	cn.mu.Lock()
	cn.remotes[remoteKey(m.Addr, port)] = f
	cn.mu.Unlock()
	cn.behind.Go(func() {
		defer stop()
		cn.serveRemote(ctx, accepting, f)
	})
	if m.Port != 0 {
		return nil, nil
	}
	return ssh.Marshal(struct{ Port uint32 }{port}), nil
}

func (cn *conn) listenAsUser(ctx context.Context, port uint32) (net.Listener, error) {
	cn.mu.Lock()
	n := len(cn.remotes)
	cn.mu.Unlock()
	if n >= remotesMost {
		return nil, fault.New(fault.Limit, "too many remote forwards on this connection")
	}
	h, err := cn.sockets()
	if err != nil {
		return nil, err
	}
	l, err := h.Listen(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	return l, fault.Wrap(err, fault.Unavailable, "cannot listen on port %d: %s", port, innermost(err))
}

func remoteKey(addr string, port uint32) string { return addr + "\x00" + strconv.Itoa(int(port)) }

// cancelRemote ends a forward that this very connection started. What it has
// carried in so far lives on (RFC 4254 §7.1).
func (cn *conn) cancelRemote(ctx context.Context, _ *sshserver.Conn, r *ssh.Request) ([]byte, error) {
	var m struct {
		Addr string
		Port uint32
	}
	if ssh.Unmarshal(r.Payload, &m) != nil {
		return nil, fault.New(fault.Invalid, "malformed cancel-tcpip-forward")
	}
	cn.mu.Lock()
	f := cn.remotes[remoteKey(m.Addr, m.Port)]
	cn.mu.Unlock()
	if f == nil {
		return nil, fault.New(fault.NotFound, "no such forward on this connection")
	}
	f.l.Close() // here, as stop only begins it
	f.stop()
	select {
	case <-f.done:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serveRemote opens a channel to the client for each connection that comes in,
// and returns when the last of them has ended.
func (cn *conn) serveRemote(ctx, accepting context.Context, f *remoteForward) {
	var carried sync.WaitGroup
	defer carried.Wait()
	stop := context.AfterFunc(accepting, func() { f.l.Close() })
	cn.acceptRemote(ctx, accepting, f, &carried)
	stop()
	f.l.Close()
	cn.mu.Lock()
	delete(cn.remotes, remoteKey(f.addr, f.port))
	cn.mu.Unlock()
	close(f.done)
	cn.port(event.CodePortStop, f.l.Addr().String(), "remote", 0, 0, nil) //nolint:errcheck // logged; it has ended
}

// acceptRemote takes connections, so many at a time, until accepting ends.
func (cn *conn) acceptRemote(ctx, accepting context.Context, f *remoteForward, carried *sync.WaitGroup) {
	slots := make(chan struct{}, 64)
	for {
		select {
		case slots <- struct{}{}:
		case <-accepting.Done():
			return
		}
		c, err := f.l.Accept()
		if err != nil {
			return
		}
		carried.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			from := addrPort(c.RemoteAddr())
			cn.openTo(ctx, c, "forwarded-tcpip", ssh.Marshal(struct {
				Addr       string
				Port       uint32
				Origin     string
				OriginPort uint32
			}{f.addr, f.port, from.Addr().String(), uint32(from.Port())}))
		})
	}
}

// openTo asks the client for a channel and splices c with it.
func (cn *conn) openTo(ctx context.Context, c net.Conn, kind string, payload []byte) {
	ch, reqs, err := sshserver.OpenChannel(ctx, cn.peer.SSH, kind, payload)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	cn.splice(ctx, ch, c)
}

// forwardAgent gives the login user a socket that reaches the client's key
// agent, once per connection.
func (cn *conn) forwardAgent(ctx context.Context, sid string) error {
	cn.mu.Lock()
	have := cn.agent != ""
	cn.mu.Unlock()
	if have {
		return nil
	}
	e := &event.AgentForward{User: cn.who(), Session: cn.sessionOf(sid), Server: cn.host(), Connection: cn.wire()}
	l, path, err := cn.agentListener(ctx)
	if err == nil {
		e.Success = true
		if err = cn.emit(e, event.TypeAgentForward, event.CodeAgentForward); err != nil {
			l.Close()
		}
	} else {
		e.Error = fault.Message(err)
		cn.note(e, event.TypeAgentForward, event.CodeAgentForwardFail)
	}
	if err != nil {
		return err
	}
	cn.mu.Lock()
	cn.agent = path
	cn.mu.Unlock()
	cn.behind.Add(1)
	go func() {
		defer cn.behind.Done()
		cn.serveAgent(cn.ctx, l)
	}()
	return nil
}

func (cn *conn) agentListener(ctx context.Context) (net.Listener, string, error) {
	h, err := cn.sockets()
	if err != nil {
		return nil, "", err
	}
	return h.Agent(ctx)
}

func (cn *conn) serveAgent(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 16)
	for {
		slots <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Add(1)
		go func() {
			defer func() { <-slots; wg.Done() }()
			defer c.Close()
			// Decided again each time: a lock may have come since.
			if denied(cn.decide(access.ActionForwardAgent, cn.svc.cfg.Now()).decision) == nil {
				cn.openTo(ctx, c, "auth-agent@openssh.com", nil)
			}
		}()
	}
}

func keepalive(context.Context, *sshserver.Conn, *ssh.Request) ([]byte, error) { return nil, nil }
