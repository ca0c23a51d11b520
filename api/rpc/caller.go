package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/types"
)

// Caller is who made a request, as this process verified it. Nothing in a
// request's headers or body adds to it.
type Caller struct {
	// Identity is nil for a caller without a certificate.
	Identity *types.Identity
	// Certificate is the leaf that Identity was read from, nil without one.
	Certificate *x509.Certificate
	// Addr is the client's true address: that of the socket, or the one that a
	// verified proxy named when it passed the connection on.
	Addr netip.AddrPort
	// ForwardedBy is the UUID of the proxy that passed the connection on.
	ForwardedBy string
}

// Anonymous reports whether the caller showed no certificate.
func (c Caller) Anonymous() bool { return c.Identity == nil }

// Name is what messages and events call the caller.
func (c Caller) Name() string {
	if c.Identity == nil {
		return ""
	}
	return c.Identity.Name
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller of the request that ctx belongs to; an
// anonymous one where there is none.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Verifier turns a peer's chain into an identity, or says why not. The
// generation changes whenever an earlier answer may no longer hold (the trusted
// authorities changed).
type Verifier interface {
	Verify(chain []*x509.Certificate) (*types.Identity, error)
	Generation() string
}

// Forwarded is implemented by connections that a proxy passed on; RemoteAddr of
// such a connection already is the client's.
type Forwarded interface {
	// ForwardedBy is the proxy's UUID.
	ForwardedBy() string
}

// connState remembers what was verified on one connection, so that a busy
// connection does not check one signature per call.
type connState struct {
	forwardedBy string

	mu         sync.Mutex
	id         *types.Identity
	leaf       *x509.Certificate
	generation string
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext: it gives every connection the
// place where its verified identity is kept.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	st := &connState{}
	for c := range netx.Layers(conn) {
		if f, ok := c.(Forwarded); ok {
			st.forwardedBy = f.ForwardedBy()
			break
		}
	}
	return context.WithValue(ctx, connKey{}, st)
}

// Identify verifies the peer of a request. A request without a client
// certificate is anonymous; one whose certificate does not verify, or has
// expired since the handshake, is an error, never anonymous.
func Identify(r *http.Request, v Verifier, now time.Time) (Caller, error) {
	var c Caller
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil {
		c.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	st, _ := r.Context().Value(connKey{}).(*connState)
	if st != nil {
		c.ForwardedBy = st.forwardedBy
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return c, nil
	}
	c.Certificate = r.TLS.PeerCertificates[0]
	c.Identity, err = st.identity(r.TLS, v)
	if err != nil {
		return Caller{}, fault.Wrap(err, fault.Unauthenticated, "the certificate is not valid here: %s", fault.Message(err))
	}
	if !now.Before(c.Identity.Authority.Expires) {
		return Caller{}, fault.New(fault.Unauthenticated, "the certificate of %s has expired", c.Identity).
			WithHint("log in again, or let the process renew its certificate")
	}
	return c, nil
}

// identity verifies the chain once per connection and generation of trust.
func (st *connState) identity(state *tls.ConnectionState, v Verifier) (*types.Identity, error) {
	if st == nil {
		return v.Verify(state.PeerCertificates)
	}
	generation := v.Generation()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.id != nil && st.generation == generation && st.leaf == state.PeerCertificates[0] {
		return st.id, nil
	}
	id, err := v.Verify(state.PeerCertificates)
	if err != nil {
		return nil, err
	}
	st.id, st.leaf, st.generation = id, state.PeerCertificates[0], generation
	return id, nil
}
