package client

import (
	"context"
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
	"teleport/types"
)

// Database reaches one database as the user and with the names of a route. Its
// certificate is made at the first connection, kept in memory, and made anew at
// half its life. Connections share what carries them to the agent, where that can
// take several. Safe for concurrent use.
type Database struct {
	c     *Client
	name  string
	route types.DatabaseRoute

	minting sync.Mutex
	cert    *tls.Certificate
	renew   time.Time

	mu       sync.Mutex
	carriers []*carrier // the newest last
	dialling *attempt   // nil while nobody dials
	alone    bool       // each connection has a carrier of its own: nobody waits for another's
	closed   bool
}

// Database returns the way to a database. Nothing is dialled.
func (c *Client) Database(name string, route types.DatabaseRoute) *Database {
	return &Database{c: c, name: name, route: route}
}

// Check is fault.Unauthenticated when the log-in that leads there has ended.
func (d *Database) Check() error { return d.c.cfg.Credential.Check(time.Now()) }

// certificate returns one that names this database alone. Where a next one cannot
// be had at the moment, the present one does for the rest of its life.
func (d *Database) certificate(ctx context.Context) (*tls.Certificate, error) {
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
func (d *Database) mint(ctx context.Context) error {
	if err := d.Check(); err != nil {
		return err
	}
	now := time.Now()
	made, err := d.c.DatabaseCertificate(ctx, d.name, d.route)
	if err != nil {
		return err
	}
	d.cert, d.renew = made, now.Add(made.Leaf.NotAfter.Sub(now)/2)
	return nil
}

// DatabaseCertificate makes a certificate that is good for one database, and as
// narrow as the route is. It ends with the log-in. Its key is a crypto.Signer.
func (c *Client) DatabaseCertificate(ctx context.Context, name string, r types.DatabaseRoute) (*tls.Certificate, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	key, err := newKey(string(keys.DefaultSuite), keys.UserTLS)
	if err != nil {
		return nil, err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	route, err := json.Marshal(r.Route(name))
	if err != nil {
		return nil, err
	}
	resp, err := api.Reissue(ctx, &issuev1.ReissueRequest{Keys: &issuev1.PublicKeys{TlsPublic: pub}, Usage: []string{"db"}, Route: route})
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
