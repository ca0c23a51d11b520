package tunnel

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport/fault"
	"teleport/netx"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// RegistryOptions configure a Registry. Zero values mean the defaults named.
type RegistryOptions struct {
	UUID        string // this proxy's
	Cluster     string
	Release     string
	Credentials Credentials
	// Auth serves a channel that an agent opened for its own traffic to the auth
	// service: it dials there for agent and copies until either side ends. The
	// connection's RemoteAddr is the agent's. Nil refuses such channels.
	Auth func(ctx context.Context, agent *types.Identity, conn net.Conn) error
	// Refuse, when not nil, may turn an agent away after its certificate was
	// verified: a lock on its UUID, for example.
	Refuse func(agent *types.Identity) error

	Keepalive  time.Duration // how often each side sends a ping; 30 s
	Misses     int           // silent keepalive periods after which a tunnel is dead; 3
	Handshakes int           // handshakes at once; 256
	MaxTunnels int           // 20,000
	Drain      time.Duration // how long streams may live on after Serve was told to stop; 30 s
	Leaves     int           // agents that are told to go in a second, when Serve was; 2500

	Warm     int           // data connections kept ready per agent after its first dial; 1; negative: none
	WarmIdle time.Duration // without a dial for this long they are closed; 1 min
	MaxWarm  int           // of all agents together; 1024
	DataWait time.Duration // how long a dial waits for a data connection before it takes a channel; 1 s

	// Settle is how long after the start a dial may wait for an agent that has no
	// tunnel yet, at most MaxWait: agents come back within seconds when a proxy
	// restarts, and their users shall not notice. 15 s;
	// negative: never.
	Settle  time.Duration
	MaxWait time.Duration // 5 s

	Log     *slog.Logger
	Metrics prometheus.Registerer // may be nil
}

func (o *RegistryOptions) defaults() {
	o.Keepalive = cmp.Or(o.Keepalive, 30*time.Second)
	o.Misses = cmp.Or(o.Misses, 3)
	o.Handshakes = cmp.Or(o.Handshakes, 256)
	o.MaxTunnels = cmp.Or(o.MaxTunnels, 20_000)
	o.Drain = cmp.Or(o.Drain, 30*time.Second)
	o.Leaves = cmp.Or(o.Leaves, 2500)
	o.Warm = max(0, cmp.Or(o.Warm, 1))
	o.WarmIdle = cmp.Or(o.WarmIdle, time.Minute)
	o.MaxWarm = cmp.Or(o.MaxWarm, 1024)
	o.DataWait = cmp.Or(o.DataWait, time.Second)
	o.Settle = cmp.Or(o.Settle, 15*time.Second)
	o.MaxWait = cmp.Or(o.MaxWait, 5*time.Second)
	if o.Log == nil {
		o.Log = telemetry.Discard()
	}
}

// Registry is the proxy's side of all tunnels. Safe for concurrent use. An
// agent's mutex may be taken inside the registry's, never the other way round.
type Registry struct {
	o     RegistryOptions
	dials *prometheus.CounterVec

	mu       sync.Mutex
	agents   map[string][]*agent
	tunnels  int
	departed map[string]time.Time // last seen of agents that have no tunnel now; bounded
	pending  map[tunframe.DataID]*pendingData
	open     map[*stream]string // live streams, with the agent's UUID; they may outlive their tunnel
	dialing  int                // dials under way and live streams
	idle     chan struct{}      // closed when dialing is zero; nil while nobody waits
	proxies  []tunframe.Proxy
	draining bool
	begun    time.Time     // of Serve
	arrived  chan struct{} // closed and renewed when a tunnel is filed

	warmTotal  atomic.Int64
	handshakes chan struct{}
	work       sync.WaitGroup // everything that Serve waits for
}

// maxDeparted bounds the memory of agents that went away.
const maxDeparted = 20_000

// NewRegistry makes an empty registry; Serve runs it.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	if o.UUID == "" || o.Cluster == "" || o.Credentials.Signer == nil || o.Credentials.Verify == nil {
		return nil, fault.New(fault.Internal, "tunnel registry: UUID, cluster and credentials are required")
	}
	o.defaults()
	r := &Registry{o: o, agents: map[string][]*agent{}, departed: map[string]time.Time{},
		pending: map[tunframe.DataID]*pendingData{}, open: map[*stream]string{}, arrived: make(chan struct{}), handshakes: make(chan struct{}, o.Handshakes)}
	r.proxies = []tunframe.Proxy{{UUID: o.UUID}}
	return r, r.measure()
}

func (r *Registry) measure() error {
	r.dials = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teleport_tunnel_dials_total", Help: "Dials to agents, by carrier and result."}, []string{"carrier", "result"})
	if r.o.Metrics == nil {
		return nil
	}
	tunnels := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "teleport_tunnels", Help: "Live reverse tunnels."}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(r.tunnels)
	})
	for _, c := range []prometheus.Collector{r.dials, tunnels} {
		if err := r.o.Metrics.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Serve accepts tunnels and data connections (both already inside TLS) and
// keeps them alive. When ctx is cancelled it closes the listeners, tells the
// agents that it drains, waits until no stream is open or the drain time is
// over, closes everything and returns. A listener that somebody else closes
// only takes no more: the tunnels live until ctx ends. data may be nil.
func (r *Registry) Serve(ctx context.Context, tunnels, data net.Listener) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r.mu.Lock()
	r.begun = time.Now()
	r.mu.Unlock()
	r.work.Go(func() { r.sweep(life) })
	r.work.Go(func() { r.accept(life, tunnels, r.serveTunnel) })
	if data != nil {
		r.work.Go(func() { r.accept(life, data, r.serveData) })
	}
	<-ctx.Done()
	tunnels.Close()
	r.drain()
	if data != nil {
		data.Close()
	}
	end()
	r.closeAll()
	r.work.Wait()
	return nil
}

// accept hands each connection of ln to serve in its own goroutine, until
// somebody closes ln or life ends. It never waits for one.
func (r *Registry) accept(life context.Context, ln net.Listener, serve func(context.Context, net.Conn)) {
	_ = netx.Accept(life, ln, r.o.Log, func(c net.Conn) { // an error says that ln was closed, as a drain begins
		select {
		case r.handshakes <- struct{}{}:
			r.work.Go(func() { serve(life, c) })
		default:
			c.Close() // the agent backs off and comes again
		}
	})
}

// drain tells all agents and waits for their streams.
func (r *Registry) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), r.o.Drain)
	defer cancel()
	r.sendAway(ctx)
	select {
	case <-r.quiet():
	case <-ctx.Done():
	}
}

// sendAway tells all agents that this proxy stops, one after the other: each goes to
// the next process, or to another proxy, at once.
func (r *Registry) sendAway(ctx context.Context) {
	step := time.NewTicker(time.Second / awaySteps)
	defer step.Stop()
	for i, a := range r.all() {
		if i > 0 && i%max(1, r.o.Leaves/awaySteps) == 0 {
			select {
			case <-step.C:
			case <-ctx.Done():
				return
			}
		}
		a.notify(tunframe.RequestDraining, nil)
	}
}

// awaySteps are in a second, of those in which agents are told to go.
const awaySteps = 50

// quiet returns a channel that is closed when no stream is open.
func (r *Registry) quiet() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	c := r.idle
	if r.dialing == 0 {
		close(c)
		r.idle = nil
	}
	return c
}

// begin counts a dial, end its failure or the end of its stream.
func (r *Registry) begin(a *agent) {
	r.mu.Lock()
	r.dialing++
	r.mu.Unlock()
	a.begin()
}

func (r *Registry) end(a *agent, s *stream) {
	a.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, s)
	r.dialing--
	if r.dialing == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

func (r *Registry) closeAll() {
	for _, a := range r.all() {
		a.close("the proxy stops")
	}
	r.mu.Lock()
	streams := slices.Collect(maps.Keys(r.open))
	for id, p := range r.pending {
		delete(r.pending, id)
		p.fail()
	}
	r.mu.Unlock()
	for _, s := range streams {
		s.Close()
	}
}

func (r *Registry) all() []*agent {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*agent, 0, r.tunnels)
	for _, as := range r.agents {
		list = append(list, as...)
	}
	return list
}

// Agents lists the live tunnels, by UUID, then newest first.
func (r *Registry) Agents() []AgentInfo {
	list := r.all()
	infos := make([]AgentInfo, 0, len(list))
	for _, a := range list {
		infos = append(infos, a.info())
	}
	slices.SortFunc(infos, func(x, y AgentInfo) int {
		return cmp.Or(cmp.Compare(x.UUID, y.UUID), cmp.Compare(y.Generation, x.Generation), y.Since.Compare(x.Since))
	})
	return infos
}

// Agent returns the tunnel that a dial to uuid would use.
func (r *Registry) Agent(uuid string) (AgentInfo, error) {
	a, err := r.pick(uuid, 0)
	if err != nil {
		return AgentInfo{}, err
	}
	return a.info(), nil
}

// LastSeen tells when an agent without a tunnel was last heard of by this
// process; the zero time when it never was.
func (r *Registry) LastSeen(uuid string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.departed[uuid]
}

// Close ends all tunnels of an agent at once, its streams included; a lock on
// its UUID does this. reason goes into the log.
func (r *Registry) Close(uuid, reason string) {
	r.mu.Lock()
	list := slices.Clone(r.agents[uuid])
	var streams []*stream
	for s, of := range r.open {
		if of == uuid {
			streams = append(streams, s)
		}
	}
	r.mu.Unlock()
	for _, a := range list {
		a.close(reason)
	}
	for _, s := range streams {
		s.Close()
	}
}

// SetProxies publishes the live proxies of the cluster, this one included, to
// all agents: now, and again with the keepalives, as agents forget a proxy that
// nobody has mentioned for a while.
func (r *Registry) SetProxies(list []tunframe.Proxy) error {
	p := &tunframe.Proxies{V: tunframe.Version, Proxies: slices.Clone(list)}
	body, err := tunframe.Marshal(p)
	if err != nil {
		return err
	}
	r.mu.Lock()
	changed := !slices.Equal(r.proxies, p.Proxies)
	r.proxies = p.Proxies
	r.mu.Unlock()
	if changed {
		for _, a := range r.all() {
			a.notify(tunframe.RequestProxies, body)
		}
	}
	return nil
}

// file enters a tunnel and returns those of the same agent that it replaces.
func (r *Registry) file(a *agent) (replaced []*agent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return nil, fault.New(fault.Unavailable, "the proxy is stopping")
	case r.tunnels >= r.o.MaxTunnels:
		return nil, fault.New(fault.Limit, "the proxy holds %d tunnels, its limit", r.tunnels)
	}
	for _, old := range r.agents[a.uuid] {
		if old.generation == a.generation {
			replaced = append(replaced, old)
		}
	}
	if all := r.agents[a.uuid]; len(all) >= maxPerAgent {
		replaced = append(replaced, all[0])
	}
	r.agents[a.uuid] = append(r.agents[a.uuid], a)
	r.tunnels++
	delete(r.departed, a.uuid)
	close(r.arrived)
	r.arrived = make(chan struct{})
	return replaced, nil
}

// maxPerAgent bounds the tunnels of one UUID: generations that drain, and
// connections whose end was not noticed yet.
const maxPerAgent = 8

func (r *Registry) remove(a *agent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.agents[a.uuid]
	i := slices.Index(list, a)
	if i < 0 {
		return
	}
	r.tunnels--
	list = slices.Delete(list, i, i+1)
	if len(list) > 0 {
		r.agents[a.uuid] = list
		return
	}
	delete(r.agents, a.uuid)
	if len(r.departed) >= maxDeparted {
		for uuid := range r.departed {
			delete(r.departed, uuid) // any one: the memory serves a message only
			break
		}
	}
	r.departed[a.uuid] = a.live.lastHeard()
}

// ErrDraining is within the error of a dial to an agent that takes nothing new.
var ErrDraining = errors.New("the agent drains")

// pick chooses the tunnel for a dial: the generation asked for, else one that
// does not drain, the highest generation, the newest connection. An agent that
// only drains takes nothing new.
func (r *Registry) pick(uuid string, generation uint64) (*agent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var best *agent
	for _, a := range r.agents[uuid] {
		if generation != 0 && a.generation != generation || a.expired(now) {
			continue
		}
		if best == nil || a.better(best) {
			best = a
		}
	}
	if best == nil {
		return nil, fault.New(fault.Unavailable, "agent %s has no tunnel to this proxy", uuid)
	}
	if generation == 0 && best.isDraining() {
		return nil, fault.Wrap(ErrDraining, fault.Unavailable, "agent %s is stopping and takes no new connections", uuid)
	}
	return best, nil
}
