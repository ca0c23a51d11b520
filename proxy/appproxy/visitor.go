package appproxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/netip"
	"sync"
	"time"

	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/lifecycle"
	"teleport/netx/http1"
	"teleport/types"
)

// visitor is a session in use here: the bridge certificate by which this proxy
// speaks for its user, and the connections to agents that are kept for it. They are
// never shared with another session.
type visitor struct {
	o         Options
	all       *visitors
	user, app string
	// fetch gets a bridge certificate for a key.
	fetch func(ctx context.Context, client netip.AddrPort, key *bridgeKey) ([]byte, error)
	// over is why the session has ended elsewhere; nil: it has not.
	over    func() error
	ctx     context.Context // of the session here; its cause says why it ended
	end     context.CancelCauseFunc
	agents  *http1.Client
	minting lifecycle.Shared[*bridge]
	// carriers dials the next one.
	carriers lifecycle.Shared[struct{}]

	mu       sync.Mutex
	agent    string // that was dialled last
	carrier  *carrier
	alone    *bridge    // by which an agent was dialled that takes one connection in each dial
	retired  []*carrier // whose streams go on
	bridge   *bridge
	renewing bool
	using    int                 // requests that are open
	visits   map[*visit]struct{} // of them, those that end with the session
	weight   int64               // bytes of a request's bodies, on the average of late
	heavy    bool                // each request has a connection of its own
	last     time.Time
}

// bridge is a certificate by which the proxy speaks for a user.
type bridge struct {
	cert  *tls.Certificate
	id    *types.Identity
	hash  string
	renew time.Time // half of its life
}

// What is kept for a session.
const (
	keptConns    = 128 // connections to agents that nobody uses at the moment
	keptFor      = 90 * time.Second
	forgetAfter  = 10 * time.Minute
	sweepEvery   = time.Minute
	drainEvery   = 100 * time.Millisecond
	fetchTimeout = 15 * time.Second
	maxAnswer    = 256 << 10 // bytes of an answer's head
)

// errEnded is why requests of a session that has ended are cut.
func errEnded() error {
	return fault.New(fault.Unauthenticated, "the session with this app has ended").WithHint("sign in again")
}

func errStopping() error { return fault.New(fault.Unavailable, "this proxy is stopping") }

// clientKey is where a request's context has the address that it comes from.
type clientKey struct{}

func (v *visitor) init(parent context.Context) {
	v.ctx, v.end = context.WithCancelCause(parent)
	v.visits = map[*visit]struct{}{}
	context.AfterFunc(v.ctx, v.cut)
	v.agents = &http1.Client{Dial: v.dial, MaxIdle: keptConns, IdleTimeout: keptFor, MaxHead: maxAnswer}
}

// fresh returns a bridge that opens connections: the present one, or another when
// half of its life is over. While auth is away, the present one does to its end.
func (v *visitor) fresh(ctx context.Context, client netip.AddrPort) (*bridge, error) {
	b := v.present()
	if v.good(b) {
		return b, nil
	}
	next, err := v.mint(ctx, client)
	return v.orPresent(next, b, err)
}

func (v *visitor) present() *bridge {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bridge
}

func (v *visitor) good(b *bridge) bool { return b != nil && v.o.Now().Before(b.renew) }

// mint gets a bridge, one for all requests that need it at the moment.
func (v *visitor) mint(ctx context.Context, client netip.AddrPort) (*bridge, error) {
	return v.minting.Do(ctx, "", fetchTimeout, func(ctx context.Context) (*bridge, error) {
		if b := v.present(); v.good(b) { // by a call that has just ended
			return b, nil
		}
		if !v.all.begin() {
			return nil, errStopping()
		}
		defer v.all.work.Done()
		return v.get(ctx, client)
	})
}

// orPresent is the next bridge, or the present one while auth is away.
func (v *visitor) orPresent(next, present *bridge, err error) (*bridge, error) {
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, fault.Unauthenticated):
		v.end(err)
	case present != nil && errors.Is(err, fault.Unavailable) && v.o.Now().Before(present.cert.Leaf.NotAfter):
		return present, nil
	}
	return nil, err
}

// renew gets the next bridge beside the requests, once the present one is half
// spent: so auth hears that the session is in use, and says when it has ended.
func (v *visitor) renew(client netip.AddrPort) {
	v.mu.Lock()
	due := v.bridge != nil && !v.renewing && !v.o.Now().Before(v.bridge.renew)
	v.renewing = v.renewing || due
	v.mu.Unlock()
	if !due || !v.all.begin() {
		return
	}
	go func() { // ends within fetchTimeout, or with the session
		defer v.all.work.Done()
		_, err := v.mint(v.ctx, client)
		if errors.Is(err, fault.Unauthenticated) || errors.Is(err, fault.Denied) {
			v.end(err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.renewing = false
	}()
}

// bridgeKey is a key that was made here and stays here.
type bridgeKey struct {
	tls.Certificate
	public []byte // PKIX
}

func newBridgeKey() (*bridgeKey, error) {
	alg, err := keys.AlgorithmFor(keys.DefaultSuite, keys.UserTLS)
	if err != nil {
		return nil, err
	}
	key, err := keys.Generate(alg)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return &bridgeKey{Certificate: tls.Certificate{PrivateKey: key}, public: der}, err
}

func (v *visitor) get(ctx context.Context, client netip.AddrPort) (*bridge, error) {
	key, err := newBridgeKey()
	if err != nil {
		return nil, err
	}
	text, err := v.fetch(ctx, client, key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fault.New(fault.Internal, "the auth service sent no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the auth service sent a certificate that cannot be read")
	}
	now := v.o.Now()
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, v.o.Trust(), now, types.IdentityBridge)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(leaf.Raw)
	b := &bridge{cert: &key.Certificate, id: id, hash: hex.EncodeToString(hash[:]), renew: now.Add(leaf.NotAfter.Sub(now) / 2)}
	b.cert.Certificate, b.cert.Leaf = [][]byte{leaf.Raw}, leaf
	v.mu.Lock()
	before := v.bridge
	v.bridge = b
	v.mu.Unlock()
	if before != nil {
		v.agents.Renew() // what lives by the one before ends with it
	}
	return b, nil
}

// join has a request end with the session.
func (v *visitor) join(x *visit) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ctx.Err() != nil { // its requests have been cut, or are about to be
		return context.Cause(v.ctx)
	}
	x.who, v.visits[x] = v, struct{}{}
	return nil
}

// cut ends the requests of a session that has ended.
func (v *visitor) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for x := range v.visits {
		x.cut(context.Cause(v.ctx))
	}
}

// leave says that a request is over, and how many bytes were in its bodies.
func (v *visitor) leave(x *visit) {
	v.mu.Lock()
	v.using--
	delete(v.visits, x)
	v.last = v.o.Now()
	v.weight += (x.moved - v.weight) / weighOver
	turned := !v.heavy && v.weight > heavyFrom || v.heavy && v.weight < heavyTo
	v.heavy = v.heavy != turned
	v.mu.Unlock()
	if turned {
		v.agents.Renew()
	}
}

// visitors are the sessions in use here.
type visitors struct {
	o    Options
	work sync.WaitGroup // renewals and dials under way

	mu     sync.Mutex
	all    map[string]*visitor
	closed bool
}

// mostVisitors bounds the memory.
const mostVisitors = 50_000

// enter returns the visitor of a key for one request, which leaves it. It is made
// by fill when there is none.
func (x *visitors) enter(key string, fill func() *visitor) (*visitor, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.all[key]
	if v == nil {
		if x.closed || len(x.all) >= mostVisitors {
			return nil, fault.New(fault.Unavailable, "this proxy takes no more sessions now").WithHint("try again in a moment")
		}
		v = fill()
		v.o, v.all = x.o, x
		v.init(context.Background())
		x.all[key] = v
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ctx.Err() != nil {
		return nil, context.Cause(v.ctx)
	}
	v.using++
	return v, nil
}

// begin counts work that serve waits for; false: it waits already.
func (x *visitors) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed {
		x.work.Add(1)
	}
	return !x.closed
}

// drop ends a session here.
func (x *visitors) drop(key string, why error) {
	x.mu.Lock()
	v := x.all[key]
	delete(x.all, key)
	x.mu.Unlock()
	if v != nil {
		v.close(why)
	}
}

// close ends a session that nobody can find any more.
func (v *visitor) close(why error) {
	v.end(why)
	v.agents.Close()
	v.hangUp()
}

// serve drops sessions that have ended, and those that nobody has used for a while;
// and leads others away from an agent whose app is ill.
func (x *visitors) serve(ctx context.Context) error {
	changes, stop := x.o.Sessions.Subscribe()
	defer stop()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-changes:
		case <-tick.C:
		case <-ctx.Done():
			x.drain(changes)
			x.work.Wait()
			return nil
		}
		x.sweep(x.o.Now().Add(-forgetAfter))
	}
}

// drain lets what is open go on to its end: whoever stops the process in haste cuts
// the dials beneath. Browsers come back through another proxy.
func (x *visitors) drain(changes <-chan struct{}) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for x.sweep(x.o.Now().Add(time.Hour)) > 0 || !x.shut() {
		select {
		case <-changes:
		case <-tick.C:
		}
	}
}

// shut takes no more sessions, where none is left.
func (x *visitors) shut() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = len(x.all) == 0
	return x.closed
}

// sweep drops what is over, and what nobody has used since, and leads away from where
// it is ill what goes on; it returns how many are left. What is dropped nobody finds
// from the same moment on: whoever comes back then gets a new one.
func (x *visitors) sweep(since time.Time) int {
	over := map[*visitor]error{}
	var idle []*carrier
	var moved []*visitor
	x.mu.Lock()
	for key, v := range x.all {
		v.mu.Lock()
		if v.agent != "" && x.o.Hosts.ailing(v.app, v.agent) {
			v.agent, moved = "", append(moved, v)
		}
		idle = append(idle, v.finished()...)
		switch {
		case v.ctx.Err() != nil:
			over[v] = context.Cause(v.ctx)
		case v.over() != nil:
			over[v] = v.over()
		case v.using == 0 && v.last.Before(since):
			over[v] = errEnded()
		}
		if over[v] != nil {
			delete(x.all, key)
		}
		v.mu.Unlock()
	}
	left := len(x.all)
	x.mu.Unlock()
	for v, why := range over {
		v.close(why)
	}
	for _, v := range moved { // to an agent that reaches the app
		v.agents.Renew()
	}
	for _, c := range idle {
		c.streams.Close()
	}
	return left
}
