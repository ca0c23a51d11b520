package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"sync"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// Database reaches one database as the user and with the names of a route. Its
// certificate is made at the first connection, kept in memory, and made anew at
// half its life. Safe for concurrent use.
type Database struct {
	c     *Client
	name  string
	route types.DatabaseRoute

	mu    sync.Mutex
	cert  *tls.Certificate
	renew time.Time
	agent string // that holds the connections that are open
	open  int
}

// Database returns the way to a database. Nothing is dialled.
func (c *Client) Database(name string, route types.DatabaseRoute) *Database {
	return &Database{c: c, name: name, route: route}
}

// Check is fault.Unauthenticated when the log-in that leads there has ended.
func (d *Database) Check() error { return d.c.cfg.Credential.Check(time.Now()) }

// Dial opens a connection to the database's agent: within it the client speaks
// the database's own protocol, in plain text. The agent is verified by the UUID
// that answered. Where the agent offers it, the connection outlives the proxy and
// the network. As long as one is open, further ones go to its agent: they may be
// about it, as a request to cancel its statement is.
func (d *Database) Dial(ctx context.Context) (net.Conn, error) {
	own, err := d.certificate(ctx)
	if err != nil {
		return nil, err
	}
	conn, reply, err := d.c.dialLasting(ctx, dial.Target{Kind: types.KindDatabase, Name: d.name, Agent: d.held()},
		func(agent string) string { return types.ServerName(d.name, agent) })
	if err != nil {
		return nil, err
	}
	config, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own },
		Trust: func() *cert.Trust { return d.c.trust }, Now: time.Now}, tlscert.Server{Cluster: d.c.cfg.Cluster, UUID: reply.AgentUUID})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	inner := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(ctx, dial.Timeout)
	defer cancel()
	if err := inner.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fault.Wrap(err, fault.Untrusted, "the agent of the database %s could not be verified, or did not take the certificate", d.name)
	}
	return d.hold(inner, reply.AgentUUID), nil
}

// held returns the agent that holds open connections; "" where there are none.
func (d *Database) held() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == 0 {
		return ""
	}
	return d.agent
}

func (d *Database) hold(c *tls.Conn, agent string) net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agent = agent
	d.open++
	return &heldConn{Conn: c, done: sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open--
	})}
}

// heldConn counts as open until it is closed.
type heldConn struct {
	*tls.Conn
	done func()
}

// Close implements net.Conn.
func (h *heldConn) Close() error {
	h.done()
	return h.Conn.Close()
}

// certificate returns one that names this database alone. Where a next one cannot
// be had at the moment, the present one does for the rest of its life.
func (d *Database) certificate(ctx context.Context) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
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

// mint makes the certificate. The caller holds d.mu.
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
