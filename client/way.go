package client

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"sync"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/fault"
	"teleport/keys"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Way reaches one database or app as narrowly as a route says. Its certificate is
// made at the first connection, kept in memory, and made anew at half its life.
// Connections share what carries them to the agent, where that can take several.
// Safe for concurrent use.
type Way struct {
	c     *Client
	to    passage
	route *types.Route

	minting sync.Mutex
	key     crypto.Signer // of all certificates; nil before the first
	cert    *tls.Certificate
	renew   time.Time

	mu       sync.Mutex
	carriers []*carrier // the newest last
	dialling *attempt   // nil while nobody dials
	alone    bool       // each connection has a carrier of its own: nobody waits for another's
	closed   bool
}

// passage is how resources of a kind are reached.
type passage struct {
	kind, usage string
	what        string   // for people
	alpn        []string // within the dial, the best first
	together    bool     // connections may be about one another: all go to one agent
}

var (
	toDatabase = passage{types.KindDatabase, "db", "database", []string{tunframe.ALPNStreams}, true}
	toApp      = passage{types.KindApp, "app", "app", []string{tunframe.ALPNStreams, "http/1.1"}, false}
	toHTTP2App = passage{types.KindApp, "app", "app", []string{"h2"}, false}
	toTCPApp   = passage{types.KindApp, "app", "app", []string{tunframe.ALPNStreams, tunframe.ALPNTCP}, false}
)

// Database returns the way to a database. Nothing is dialled.
func (c *Client) Database(name string, route types.DatabaseRoute) *Way {
	return &Way{c: c, to: toDatabase, route: route.Route(name)}
}

// App returns the way to an app. Nothing is dialled.
func (c *Client) App(name string, route types.AppRoute) *Way {
	return &Way{c: c, to: toApp, route: route.Route(name)}
}

// HTTP2App returns the way to an app for a client that speaks HTTP/2. Nothing is
// dialled.
func (c *Client) HTTP2App(name string, route types.AppRoute) *Way {
	return &Way{c: c, to: toHTTP2App, route: route.Route(name)}
}

// TCPApp returns the way to a tcp app, within which its bytes pass. Nothing is dialled.
func (c *Client) TCPApp(name string, route types.AppRoute) *Way {
	return &Way{c: c, to: toTCPApp, route: route.Route(name)}
}

// NewRouteKey makes a key for certificates of routes.
func NewRouteKey() (crypto.Signer, error) { return newKey(string(keys.DefaultSuite), keys.UserTLS) }

// WithKey makes key that of all certificates of this way, instead of one of its own.
// It is called before the first connection.
func (d *Way) WithKey(key crypto.Signer) *Way {
	d.key = key
	return d
}

// signer makes the key when it is first wanted. The caller holds d.minting.
func (d *Way) signer() (crypto.Signer, error) {
	if d.key != nil {
		return d.key, nil
	}
	key, err := NewRouteKey()
	if err != nil {
		return nil, err
	}
	d.key = key
	return key, nil
}

// Check is fault.Unauthenticated when the log-in that leads there has ended.
func (d *Way) Check() error { return d.c.cfg.Credential.Check(time.Now()) }

// certificate returns one that names this resource alone. Where a next one cannot
// be had at the moment, the present one does for the rest of its life.
func (d *Way) certificate(ctx context.Context) (*tls.Certificate, error) {
	d.minting.Lock()
	defer d.minting.Unlock()
	now := time.Now()
	if d.cert != nil && now.Before(d.renew) {
		return d.cert, nil
	}
	err := d.mint(ctx)
	if err != nil && (d.cert == nil || !now.Before(d.cert.Leaf.NotAfter) || !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Timeout)) {
		return nil, err
	}
	return d.cert, nil
}

// mint makes the certificate. The caller holds d.minting.
func (d *Way) mint(ctx context.Context) error {
	if err := d.Check(); err != nil {
		return err
	}
	now := time.Now()
	key, err := d.signer()
	if err != nil {
		return err
	}
	made, err := d.c.routeCertificate(ctx, key, d.to.usage, d.route)
	if err != nil {
		return err
	}
	d.cert, d.renew = made, now.Add(made.Leaf.NotAfter.Sub(now)/2)
	return nil
}

// DatabaseCertificate makes a certificate that is good for one database, and as
// narrow as the route is. It ends with the log-in. Its key is a crypto.Signer.
func (c *Client) DatabaseCertificate(ctx context.Context, name string, r types.DatabaseRoute) (*tls.Certificate, error) {
	key, err := NewRouteKey()
	if err != nil {
		return nil, err
	}
	return c.routeCertificate(ctx, key, toDatabase.usage, r.Route(name))
}

// AppCertificate makes a certificate that is good for one app, as that for a database
// is.
func (c *Client) AppCertificate(ctx context.Context, name string, r types.AppRoute) (*tls.Certificate, error) {
	key, err := NewRouteKey()
	if err != nil {
		return nil, err
	}
	return c.routeCertificate(ctx, key, toApp.usage, r.Route(name))
}

// routeCertificate has a key certified for one route.
func (c *Client) routeCertificate(ctx context.Context, key crypto.Signer, usage string, r *types.Route) (*tls.Certificate, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	route, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	resp, err := api.Reissue(ctx, &issuev1.ReissueRequest{Keys: &issuev1.PublicKeys{TlsPublic: pub}, Usage: []string{usage}, Route: route})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(resp.TlsCert)
	if block == nil {
		return nil, fault.New(fault.Internal, "the auth service sent no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !keys.Equal(leaf.PublicKey, key.Public()) {
		return nil, fault.New(fault.Untrusted, "the auth service sent a certificate for another key")
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}, nil
}
