package tunnel

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
)

// Target is where a Pool wants a TLS connection to.
type Target struct {
	// Addr is the address that one proxy announced, host:port; empty means the
	// cluster's public address, behind which any proxy may answer. It is resolved
	// anew for each call.
	Addr string
	// ALPN is the name to negotiate.
	ALPN string
}

// PoolOptions configure a Pool. Zero values mean the defaults named.
type PoolOptions struct {
	UUID        string // this agent's
	Cluster     string
	Credentials Credentials
	// Dial opens TLS (host mTLS) to a proxy, whose host certificate it has
	// verified: host CA, name proxy.<cluster>.
	Dial func(ctx context.Context, t Target) (net.Conn, error)
	// Handle serves one dial. It runs in its own goroutine, writes the Reply
	// itself, and closes the connection before it returns. ctx ends when the
	// drain time is over.
	Handle func(ctx context.Context, in Incoming)
	// Hello introduces this agent; V and Data are filled in.
	Hello tunframe.Hello

	Keepalive   time.Duration // how often each side sends a ping; 30 s
	Misses      int           // silent keepalive periods after which a tunnel is dead; 3
	Backoff     lifecycle.Backoff
	DialTimeout time.Duration // of a connection with its handshakes; 20 s
	Drain       time.Duration // how long streams may live on after Serve was told to stop; 30 s
	Forget      time.Duration // a proxy that nobody mentioned for this long is no longer sought; 3 min
	// Last, when not nil, is called on the way down, when the streams have ended and
	// the tunnels still stand: for what this agent has yet to tell the auth service.
	Last       func()
	DataIdle   time.Duration // how long a data connection waits for its dial; 5 min
	MaxStreams int           // open dials per tunnel; 4096

	Log *slog.Logger
}

func (o *PoolOptions) defaults() {
	o.Keepalive = cmp.Or(o.Keepalive, 30*time.Second)
	o.Misses = cmp.Or(o.Misses, 3)
	o.DialTimeout = cmp.Or(o.DialTimeout, handshakeTimeout)
	o.Drain = cmp.Or(o.Drain, 30*time.Second)
	o.Forget = cmp.Or(o.Forget, 3*time.Minute)
	o.DataIdle = cmp.Or(o.DataIdle, 5*time.Minute)
	o.MaxStreams = cmp.Or(o.MaxStreams, 4096)
	o.Hello.V, o.Hello.Data = tunframe.Version, o.Credentials.Peer != nil
	if o.Log == nil {
		o.Log = telemetry.Discard()
	}
}

// Pool is the agent's side: it holds one tunnel to each known proxy. Safe for
// concurrent use.
type Pool struct {
	o     PoolOptions
	ready chan struct{}
	wake  chan struct{} // capacity 1: the manager should look again
	work  sync.WaitGroup

	mu       sync.Mutex
	known    map[string]*knownProxy // by UUID
	held     map[string]*agentEnd   // the tunnel in use to each proxy
	tunnels  map[*agentEnd]struct{} // all, the draining ones too
	changed  chan struct{}          // closed and renewed when held changes
	public   seeker
	lost     time.Time // when a tunnel was lost, or told to go
	streams  int       // open dials, of tunnels that have ended too
	stopping bool
}

// knownProxy is a proxy that was mentioned lately.
type knownProxy struct {
	addr   string
	until  time.Time
	direct seeker
}

// seeker paces the attempts at one place.
type seeker struct {
	busy     bool
	failures int
	next     time.Time
}

// errClaimed says that a connection reached a proxy that already has a tunnel.
var errClaimed = errors.New("this proxy already has a tunnel")

// NewPool makes a pool without tunnels; Serve runs it.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.UUID == "" || o.Cluster == "" || o.Dial == nil || o.Handle == nil ||
		o.Credentials.Signer == nil || o.Credentials.Verify == nil {
		return nil, fault.New(fault.Internal, "tunnel pool: UUID, cluster, credentials, dial and handle are required")
	}
	o.defaults()
	return &Pool{o: o, ready: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		known: map[string]*knownProxy{}, held: map[string]*agentEnd{}, tunnels: map[*agentEnd]struct{}{}}, nil
}

// Ready is closed when the first tunnel stands.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Proxies lists the UUIDs of the proxies that hold a tunnel of this agent.
func (p *Pool) Proxies() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]string, 0, len(p.held))
	for uuid := range p.held {
		list = append(list, uuid)
	}
	slices.Sort(list)
	return list
}

// Serve keeps the tunnels until ctx is cancelled. Then it tells the proxies
// that this agent drains, waits until no dial is open or the drain time is
// over, closes everything and returns nil.
func (p *Pool) Serve(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ping := time.NewTicker(p.o.Keepalive)
	defer ping.Stop()
	for ctx.Err() == nil {
		pause := p.seek(ctx, life)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		case <-ping.C:
			p.tend()
		}
		timer.Stop()
	}
	p.drain(ping)
	if p.o.Last != nil {
		p.o.Last()
	}
	end()
	for _, t := range p.all() {
		t.close("the agent stops")
	}
	p.work.Wait()
	return nil
}

// Redial opens fresh tunnels to all proxies, for a renewed certificate or a
// changed CA. The present ones stay in use until their successor stands, and then
// drain: the agent can be reached all the time.
func (p *Pool) Redial() {
	p.mu.Lock()
	for name, t := range p.held {
		t.outdated = true
		p.soon(name, 0)
	}
	p.mu.Unlock()
	p.look()
}

// look wakes the manager.
func (p *Pool) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// seek starts the attempts that are due and returns how long to wait for the next.
func (p *Pool) seek(ctx, life context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	wait := time.Minute
	needPublic := len(p.held) == 0
	for uuid, k := range p.known {
		t := p.held[uuid]
		if t != nil && !t.outdated {
			continue
		}
		if t == nil && now.After(k.until) && len(p.held) > 0 {
			delete(p.known, uuid)
			continue
		}
		if k.addr != "" {
			wait = min(wait, p.start(ctx, life, &k.direct, Target{Addr: k.addr, ALPN: tunframe.ALPNTunnel}, now))
		}
		if k.addr == "" || k.direct.failures > 1 {
			needPublic = true
		}
	}
	if needPublic {
		wait = min(wait, p.start(ctx, life, &p.public, Target{ALPN: tunframe.ALPNTunnel}, now))
	}
	return max(wait, 10*time.Millisecond)
}

// start begins an attempt if one is due, and returns when to look again.
func (p *Pool) start(ctx, life context.Context, s *seeker, t Target, now time.Time) time.Duration {
	if s.busy {
		return time.Minute // its end wakes the manager
	}
	if now.Before(s.next) {
		return s.next.Sub(now)
	}
	s.busy = true
	p.work.Go(func() {
		err := lifecycle.Guard(ctx, func(ctx context.Context) error { return p.attempt(ctx, life, t) })
		p.mu.Lock()
		s.busy = false
		switch {
		case err == nil:
			s.failures = 0
			s.next = time.Now().Add(10 * time.Millisecond)
		default:
			s.failures++
			s.next = time.Now().Add(p.pace().Delay(s.failures))
		}
		failures := s.failures
		p.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			level := slog.LevelWarn
			if errors.Is(err, errClaimed) || failures > 3 && failures%10 != 0 {
				level = slog.LevelDebug
			}
			p.o.Log.Log(ctx, level, "no tunnel", telemetry.KeyAddr, cmp.Or(t.Addr, "public address"),
				"attempt", failures, telemetry.KeyErr, err)
		}
		p.look()
	})
	return time.Minute
}

// While a proxy has been away for no longer than hurryFor, the pauses between attempts
// at it do not grow beyond hurryPause: whoever comes to it when it is back is made to
// wait for its agents, and not for longer than RegistryOptions.MaxWait.
const (
	hurryFor   = 10 * time.Minute
	hurryPause = 4 * time.Second
)

// pace is how attempts follow each other now. The caller holds p.mu.
func (p *Pool) pace() lifecycle.Backoff {
	b := p.o.Backoff
	if !p.lost.IsZero() && time.Since(p.lost) < hurryFor && (b.Max <= 0 || b.Max > hurryPause) {
		b.Max = hurryPause
	}
	return b
}

// learn takes in a discovery list. via is the proxy that sent it, which lives.
func (p *Pool) learn(list []tunframe.Proxy, via string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(p.o.Forget)
	if p.known[via] == nil {
		p.known[via] = &knownProxy{}
	}
	p.known[via].until = until
	fresh := false
	for _, x := range list {
		k := p.known[x.UUID]
		if k == nil {
			if len(p.known) >= 2*tunframe.MaxProxies {
				continue
			}
			k = &knownProxy{}
			p.known[x.UUID] = k
			fresh = true
		}
		k.until = until
		if k.addr != x.Addr {
			k.addr, k.direct.failures, k.direct.next = x.Addr, 0, time.Time{}
			fresh = true
		}
	}
	if fresh {
		p.public.next = time.Time{}
		p.public.failures = 0
		p.look()
	}
}

// claim reserves the proxy of a new tunnel; a proxy that has one already is
// errClaimed, as the public address may be a balancer that led back to it.
func (p *Pool) claim(t *agentEnd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return fault.New(fault.Canceled, "the agent stops")
	}
	old := p.held[t.proxy.Name]
	if old != nil && !old.outdated {
		return errClaimed
	}
	t.replaces = old
	p.held[t.proxy.Name] = t
	p.tunnels[t] = struct{}{}
	if p.known[t.proxy.Name] == nil {
		p.known[t.proxy.Name] = &knownProxy{until: time.Now().Add(p.o.Forget)}
	}
	return nil
}

// unclaim undoes claim for a tunnel that did not come up: what it should have
// replaced is in use again.
func (p *Pool) unclaim(t *agentEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tunnels, t)
	if p.held[t.name()] != t {
		return
	}
	delete(p.held, t.name())
	if old := t.replaces; old != nil {
		if _, lives := p.tunnels[old]; lives && !old.draining {
			p.held[t.name()] = old
		}
	}
	p.announce()
}

// stand marks a claimed tunnel as usable; the one that it replaces drains.
func (p *Pool) stand(t *agentEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.usable = true
	if t.replaces != nil {
		p.letGo(t.replaces)
		t.replaces = nil
	}
	if !closed(p.ready) {
		close(p.ready)
	}
	p.announce()
}

// announce wakes who waits for a tunnel. The caller holds p.mu.
func (p *Pool) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// letGo frees the slot of a tunnel that drains: a new one is sought at once,
// and the old one closes when its streams have ended. The caller holds p.mu.
func (p *Pool) letGo(t *agentEnd) {
	t.draining = true
	if p.held[t.proxy.Name] == t {
		delete(p.held, t.proxy.Name)
		p.lost = time.Now()
		p.soon(t.proxy.Name, 0)
	}
	if t.streams == 0 {
		p.work.Go(func() { t.close("it was draining and is empty") })
	}
}

// release forgets a tunnel that has ended.
func (p *Pool) release(t *agentEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tunnels, t)
	if p.held[t.proxy.Name] == t {
		delete(p.held, t.proxy.Name)
		p.lost = time.Now()
		// Not at once: a proxy that restarts loses all its agents in one moment.
		p.soon(t.proxy.Name, p.o.Backoff.Delay(1))
	}
	p.announce()
	p.look()
}

// soon plans new attempts after the loss of a tunnel. The caller holds p.mu.
func (p *Pool) soon(proxy string, after time.Duration) {
	at := time.Now().Add(after)
	if k := p.known[proxy]; k != nil && !k.direct.busy {
		k.direct.failures, k.direct.next = 0, at
	}
	if !p.public.busy {
		p.public.failures, p.public.next = 0, at
	}
}

func (p *Pool) all() []*agentEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*agentEnd, 0, len(p.tunnels))
	for t := range p.tunnels {
		list = append(list, t)
	}
	return list
}

// tend pings all tunnels and ends the silent ones.
func (p *Pool) tend() {
	for _, t := range p.all() {
		if time.Since(t.live.lastHeard()) > p.o.Keepalive*time.Duration(p.o.Misses) {
			t.close("it was silent for too long")
			continue
		}
		t.notify(tunframe.RequestPing, nil)
	}
}

// drain tells the proxies and waits for the open streams.
func (p *Pool) drain(ping *time.Ticker) {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	for _, t := range p.all() {
		t.notify(tunframe.RequestDraining, nil)
		t.stopData()
	}
	deadline := time.NewTimer(p.o.Drain)
	defer deadline.Stop()
	for {
		p.mu.Lock()
		streams, changed := p.streams, p.changed
		p.mu.Unlock()
		if streams == 0 {
			return
		}
		select {
		case <-changed:
		case <-ping.C:
			p.tend()
		case <-deadline.C:
			return
		}
	}
}

// DialAuth opens a connection for the agent's own traffic to the auth service,
// as a channel of any tunnel. It waits for a tunnel until ctx ends; then the
// error is fault.Unavailable.
func (p *Pool) DialAuth(ctx context.Context) (net.Conn, error) {
	var last error
	for {
		usable, changed := p.usable()
		for _, i := range rand.Perm(len(usable)) {
			t := usable[i]
			conn, err := openChannel(ctx, t.ctx, t.conn, tunframe.ChannelAuth, nil)
			if err == nil {
				return conn, nil
			}
			last = err
		}
		if len(usable) > 0 {
			return nil, last
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fault.Wrap(context.Cause(ctx), fault.Unavailable, "no proxy can be reached")
		}
	}
}

// usable lists the tunnels that new streams may use, and what closes when that changes.
func (p *Pool) usable() ([]*agentEnd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*agentEnd
	for _, t := range p.held {
		if t.usable {
			list = append(list, t)
		}
	}
	return list, p.changed
}
