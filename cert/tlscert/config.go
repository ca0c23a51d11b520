package tlscert

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync/atomic"
	"time"

	"teleport/cert"
	"teleport/fault"
	"teleport/types"
)

// Source gives what a TLS end uses, asked anew for each handshake, so that a
// renewed certificate or a changed authority counts at once. All functions may be
// called concurrently.
type Source struct {
	// Certificate returns this end's own certificate, nil when it has none yet.
	Certificate func() *tls.Certificate
	// Trust returns the authorities that peers are checked against.
	Trust func() *cert.Trust
	// Now is the clock.
	Now func() time.Time
}

// ServerOptions says whom a server admits.
type ServerOptions struct {
	// Kinds are the kinds of identity that clients may present.
	Kinds []types.IdentityKind
	// Anonymous also admits clients without a certificate: a process that joins,
	// a person who logs in. Handlers must then expect that Peer finds nobody.
	Anonymous bool
	// ShowAuthority sends the CA certificate behind the leaf, so that a client
	// that knows only a CA pin can verify this server.
	ShowAuthority bool
	// ALPN lists the protocols offered, in order of preference.
	ALPN []string
}

// ServerConfig builds the configuration of a listener with mutual TLS: TLS 1.3
// only (its suites are not for us to choose: Go prefers AES-GCM where the machine
// has it in hardware, as ours do), no session tickets, since a resumed session
// would carry the trust of an earlier day. Clients are checked by Verify and by
// nothing else.
func ServerConfig(src Source, opts ServerOptions) *tls.Config {
	var cached atomic.Pointer[trustConfig]
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             opts.ALPN,
		Time:                   src.Now,
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		trust := src.Trust()
		if c := cached.Load(); c != nil && c.trust == trust {
			return c.config, nil
		}
		c := &trustConfig{trust: trust, config: serverFor(src, opts, trust)}
		cached.Store(c)
		return c.config, nil
	}
	return base
}

// trustConfig is a configuration made for one state of trust.
type trustConfig struct {
	trust  *cert.Trust
	config *tls.Config
}

func serverFor(src Source, opts ServerOptions, trust *cert.Trust) *tls.Config {
	auth := tls.RequireAnyClientCert // checked below, by Verify alone
	if opts.Anonymous {
		auth = tls.RequestClientCert
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             opts.ALPN,
		Time:                   src.Now,
		ClientAuth:             auth,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own := src.Certificate()
			if own == nil {
				return nil, fault.New(fault.Unavailable, "this process has no certificate yet")
			}
			if opts.ShowAuthority {
				return withAuthority(own, trust)
			}
			return own, nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if opts.Anonymous && len(cs.PeerCertificates) == 0 {
				return nil
			}
			_, err := Verify(cs.PeerCertificates, trust, src.Now(), opts.Kinds...)
			return err
		},
	}
}

// withAuthority appends the host CA certificate that signed the leaf.
func withAuthority(own *tls.Certificate, trust *cert.Trust) (*tls.Certificate, error) {
	if len(own.Certificate) == 0 {
		return nil, fault.New(fault.Internal, "this process's certificate is empty")
	}
	leaf := own.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(own.Certificate[0]); err != nil {
			return nil, fault.New(fault.Internal, "this process's certificate does not parse")
		}
	}
	for _, ca := range trust.Certificates(types.CAHost) {
		if leaf.CheckSignatureFrom(ca) == nil {
			c := *own
			c.Certificate = [][]byte{own.Certificate[0], ca.Raw}
			return &c, nil
		}
	}
	return own, nil
}

// Peer returns the identity of a connection's other end after the handshake: what
// Verify says of its certificate. Without a certificate it is
// fault.Unauthenticated.
func Peer(cs tls.ConnectionState, trust *cert.Trust, now time.Time, kinds ...types.IdentityKind) (*types.Identity, error) {
	if !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return nil, fault.New(fault.Unauthenticated, "the client presented no certificate").WithHint("log in first")
	}
	return Verify(leafOnly(cs.PeerCertificates), trust, now, kinds...)
}

// Server names the process that a client means to reach: by system role, where
// any process of that role will do, or by host UUID. Exactly one is set.
type Server struct {
	Cluster string
	Role    types.SystemRole // RoleAuth or RoleProxy
	UUID    string
}

// Name returns the DNS name that goes into SNI and that the certificate must have.
func (s Server) Name() (string, error) {
	switch {
	case s.Cluster == "" || (s.Role == "") == (s.UUID == ""):
		return "", fault.New(fault.Internal, "a server is named by its cluster and by either a role or a UUID")
	case s.UUID != "":
		return s.UUID + "." + s.Cluster, nil
	}
	name, ok := cert.ServerName(s.Role, s.Cluster)
	if !ok {
		return "", fault.New(fault.Internal, "servers of role %s are named by UUID", s.Role)
	}
	return name, nil
}

// ClientConfig builds the configuration of a dialer towards a process of the
// cluster. The server must present a host certificate of that cluster with the
// role or UUID asked for: the name alone is not believed. src.Certificate may
// return nil, for a client that has nothing to show yet. InsecureSkipVerify is set
// only because Verify takes the place of the standard verification.
func ClientConfig(src Source, server Server, alpn ...string) (*tls.Config, error) {
	name, err := server.Name()
	if err != nil {
		return nil, err
	}
	c := clientBase(src, name, alpn)
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		return checkServer(cs, src.Trust(), server, name, src.Now())
	}
	return c, nil
}

func clientBase(src Source, name string, alpn []string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ServerName:             name,
		NextProtos:             alpn,
		Time:                   src.Now,
		InsecureSkipVerify:     true, // VerifyConnection is always set by the callers
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if own := src.Certificate; own != nil {
				if c := own(); c != nil {
					return c, nil
				}
			}
			return new(tls.Certificate), nil
		},
	}
}

func checkServer(cs tls.ConnectionState, trust *cert.Trust, want Server, name string, now time.Time) error {
	chain := leafOnly(cs.PeerCertificates)
	id, err := Verify(chain, trust, now, types.IdentityHost)
	if err != nil {
		return err
	}
	switch {
	case id.Cluster != want.Cluster:
		return fault.New(fault.Untrusted, "the server belongs to cluster %q, not %q", id.Cluster, want.Cluster)
	case want.UUID != "" && id.Name != want.UUID:
		return fault.New(fault.Untrusted, "the server is host %s, not %s", id.Name, want.UUID)
	case want.Role != "" && !id.HasSystemRole(want.Role):
		return fault.New(fault.Untrusted, "the server is no %s service of cluster %q", want.Role, want.Cluster)
	}
	if err := chain[0].VerifyHostname(name); err != nil {
		return fault.Wrap(err, fault.Untrusted, "the server's certificate is not for the name %s", name)
	}
	return nil
}

// leafOnly drops the CA certificate that a server with ShowAuthority sends along.
// It was only for pins: trust never comes from what a peer sends. Any other second
// certificate stays and makes Verify refuse the chain.
func leafOnly(chain []*x509.Certificate) []*x509.Certificate {
	if len(chain) == 2 && chain[1].IsCA && len(chain[1].Raw) <= maxLeaf {
		return chain[:1]
	}
	return slices.Clip(chain)
}
