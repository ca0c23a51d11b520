// Package native serves clients of databases that come straight to the proxy's
// port, without tsh. The TLS in which they show a user's certificate, which names
// one database, ends here; the way goes on to the database's agent within TLS of
// a bridge certificate, which auth makes of the user's for some minutes. What
// they may do there is the agent's to decide.
package native

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/cert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/proxy/proxyd"
	"teleport/types"
)

// Options are what a Server is built from. Fields without a remark are required.
type Options struct {
	// Certificate is what the port shows: this proxy's own, of the cluster's host
	// authority, which clients of databases know from their log-in.
	Certificate func() *tls.Certificate
	// Peer verifies a user's certificate.
	Peer func(tls.ConnectionState) (*types.Identity, error)
	// Dial opens a stream to a resource for a caller; it decides whether they may.
	Dial func(ctx context.Context, c proxyd.Caller, t dial.Target) (net.Conn, dial.Reply, error)
	// Bridge returns a certificate for key, by which this proxy speaks for the user
	// whose certificate is shown.
	Bridge func(ctx context.Context, user *x509.Certificate, client netip.AddrPort, key crypto.PublicKey) ([]byte, error)
	// Agent returns the configuration of TLS to an agent.
	Agent func(uuid string, own *tls.Certificate) (*tls.Config, error)
	// Protocol is what a database speaks, as far as that is known.
	Protocol func(database string) string
	// MySQLVersion is what clients of MySQL are told of a server's version; empty is
	// DefaultMySQLVersion.
	MySQLVersion string
	Now          func() time.Time
}

// Server serves native clients. Safe for concurrent use.
type Server struct {
	o       Options
	bridges bridges
	cancels cancels
}

// New makes a server. It starts nothing.
func New(o Options) *Server {
	return &Server{o: o, bridges: bridges{o: o, all: map[bridgeKey]*bridge{}}, cancels: cancels{all: map[cancelKey]visit{}}}
}

// startTimeout bounds what comes before the client is known.
const startTimeout = 10 * time.Second

// visit is a client that was let in, and where.
type visit struct {
	caller proxyd.Caller
	user   *x509.Certificate
	target dial.Target
}

// known ends the client's TLS and returns who it is.
func (s *Server) known(ctx context.Context, c net.Conn) (*tls.Conn, visit, error) {
	conn := tls.Server(netx.UnderTLS(c), &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.o.Certificate(), nil }})
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, visit{}, fault.Wrap(err, fault.Unauthenticated, "the TLS of a client without tsh failed")
	}
	state := conn.ConnectionState()
	id, err := s.o.Peer(state)
	if err != nil { // of the certificate: it lets nobody in
		return conn, visit{}, fault.Wrap(err, fault.Unauthenticated, "%s", fault.Message(err))
	}
	route := id.Authority.Route
	if route == nil || route.Kind != types.KindDatabase {
		return conn, visit{}, fault.New(fault.Denied, "the certificate is not for one database").WithHint("tsh db login gets one that is")
	}
	leaf := state.PeerCertificates[0]
	hash := sha256.Sum256(leaf.Raw)
	return conn, visit{user: leaf, target: dial.Target{Kind: types.KindDatabase, Name: route.Name},
		caller: proxyd.Caller{Identity: id, CertSHA256: hex.EncodeToString(hash[:]), Addr: netx.AddrPort(c.RemoteAddr())}}, nil
}

// open goes on to the agent of a database that speaks one of the protocols, and
// returns who that is.
func (s *Server) open(ctx context.Context, x visit, protocols ...string) (*tls.Conn, string, error) {
	own, err := s.bridges.get(ctx, x.user, x.caller.Addr)
	if err != nil {
		return nil, "", err
	}
	raw, reply, err := s.o.Dial(ctx, x.caller, x.target)
	if err != nil {
		return nil, "", err
	}
	if p := s.o.Protocol(x.target.Name); p != "" && !slices.Contains(protocols, p) {
		return nil, "", errors.Join(fault.New(fault.Unimplemented, "the database %s speaks %s, and here is a way for %s", x.target.Name, p, strings.Join(protocols, " and ")), raw.Close())
	}
	config, err := s.o.Agent(reply.AgentUUID, own)
	if err != nil {
		return nil, "", errors.Join(err, raw.Close())
	}
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, dial.Timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, "", s.untaken(x, err)
	}
	return conn, reply.AgentUUID, nil
}

// untaken tells why there is no TLS with an agent. Its half of the handshake ends
// after ours (RFC 8446, section 2), so it may say no to what is read first; and a
// user's certificate that was good here can be over when the agent looks at it.
func (s *Server) untaken(x visit, why error) error {
	if err := cert.CheckTime(x.user.NotBefore, x.user.NotAfter, s.o.Now()); err != nil {
		return errors.Join(err, why)
	}
	return fault.Wrap(why, fault.Untrusted, "the agent of %s could not be verified, or did not take the bridge certificate", x.target.Name)
}

// alerted reports whether the other side of TLS has ended it for a reason.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
