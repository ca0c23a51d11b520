package native

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"sync"
	"time"

	"teleport/fault"
	"teleport/keys"
)

// bridges keeps bridge certificates while they are fresh, so that a client that
// connects for each statement costs auth nothing. They are the proxy's own and in
// memory only.
type bridges struct {
	o   Options
	mu  sync.Mutex
	all map[bridgeKey]*bridge
}

// bridgeKey is whose bridge it is, and from where: it may be pinned to an address.
type bridgeKey struct {
	user [sha256.Size]byte
	from netip.Addr
}

type bridge struct {
	ready chan struct{} // closed when the rest is there
	cert  *tls.Certificate
	until time.Time // half of its life: it is only to open with
	err   error
}

// mostBridges bounds the memory.
const mostBridges = 10_000

// get returns a fresh bridge. Those who come together wait for one.
func (b *bridges) get(ctx context.Context, user *x509.Certificate, client netip.AddrPort) (*tls.Certificate, error) {
	k := bridgeKey{sha256.Sum256(user.Raw), client.Addr()}
	b.mu.Lock()
	x := b.all[k]
	if x == nil || x.stale(b.o.Now()) {
		x = &bridge{ready: make(chan struct{})}
		b.sweep()
		b.all[k] = x
		b.mu.Unlock()
		// Not ctx: others wait for it too.
		x.make(context.WithoutCancel(ctx), b.o, user, client)
	} else {
		b.mu.Unlock()
	}
	select {
	case <-x.ready:
		return x.cert, x.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (x *bridge) stale(now time.Time) bool {
	select {
	case <-x.ready:
		return x.err != nil || !now.Before(x.until)
	default:
		return false
	}
}

// sweep makes room. b.mu is held.
func (b *bridges) sweep() {
	if len(b.all) < mostBridges {
		return
	}
	for k, x := range b.all {
		if x.stale(b.o.Now()) {
			delete(b.all, k)
		}
	}
	if len(b.all) >= mostBridges {
		clear(b.all)
	}
}

const bridgeTimeout = 20 * time.Second

func (x *bridge) make(ctx context.Context, o Options, user *x509.Certificate, client netip.AddrPort) {
	defer close(x.ready)
	ctx, cancel := context.WithTimeout(ctx, bridgeTimeout)
	defer cancel()
	alg, err := keys.AlgorithmFor(keys.DefaultSuite, keys.UserTLS)
	if err != nil {
		x.err = err
		return
	}
	key, err := keys.Generate(alg)
	if err != nil {
		x.err = err
		return
	}
	text, err := o.Bridge(ctx, user, client, key.Public())
	if err != nil {
		x.err = err
		return
	}
	block, _ := pem.Decode(text)
	if block == nil {
		x.err = fault.New(fault.Internal, "the auth service sent no certificate")
		return
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !keys.Equal(leaf.PublicKey, key.Public()) {
		x.err = fault.New(fault.Untrusted, "the auth service sent a certificate for another key")
		return
	}
	now := o.Now()
	x.cert, x.until = &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}, now.Add(leaf.NotAfter.Sub(now)/2)
}
