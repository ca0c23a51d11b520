package dbaccess

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"

	"teleport/fault"
	"teleport/types"
)

// ServerTLS is the configuration towards the database: what verifies it, and the
// certificate that shows who logs in.
func (s *Session) ServerTLS(ctx context.Context) (*tls.Config, error) {
	c, err := s.svc.roots.serverTLS(s.database, s.svc.cfg.Credentials.Authorities())
	if err != nil {
		return nil, err
	}
	own, err := s.svc.cfg.Credentials.Certificate(ctx, s.login())
	if err != nil {
		return nil, err
	}
	if own != nil {
		// It is shown whatever authorities the database names, so that one that does
		// not know ours says so.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return c, nil
}

// roots keeps the authorities that databases are verified by: they are parsed once,
// and not for each connection. Safe for concurrent use.
type roots struct {
	mu    sync.Mutex
	pools map[rootsKey]*x509.CertPool
}

// mostRoots are kept; with one more it begins anew.
const mostRoots = 64

type rootsKey struct {
	system bool   // the system's authorities too
	pem    string // further ones
}

// pool is nil for authorities that hold no certificate.
func (r *roots) pool(k rootsKey) (*x509.CertPool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.pools[k]; ok {
		return p, nil
	}
	p := x509.NewCertPool()
	if k.system {
		var err error
		if p, err = x509.SystemCertPool(); err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the system's authorities cannot be read")
		}
	}
	if !p.AppendCertsFromPEM([]byte(k.pem)) && !k.system {
		p = nil
	}
	if r.pools == nil || len(r.pools) == mostRoots {
		r.pools = map[rootsKey]*x509.CertPool{}
	}
	r.pools[k] = p
	return p, nil
}

// serverTLS verifies a database as its document says.
func (r *roots) serverTLS(db *types.Database, authorities []byte) (*tls.Config, error) {
	t := db.Spec.TLS
	addr, err := db.Spec.Address()
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(addr)
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: firstOf(t.ServerName, host)}
	if t.Mode == types.TLSInsecure {
		c.InsecureSkipVerify = true
		return c, nil
	}
	k := rootsKey{system: t.TrustSystemCertPool || t.CACert == "" && db.Spec.InCloud(), pem: string(authorities)}
	if t.CACert != "" || db.Spec.InCloud() {
		k.pem = t.CACert
	}
	if c.RootCAs, err = r.pool(k); err != nil {
		return nil, err
	}
	if c.RootCAs == nil {
		return nil, fault.New(fault.Invalid, "there is no authority to verify the database %s with", db.Metadata.Name).WithHint("set tls.ca_cert_file, or a tls.mode")
	}
	if t.Mode == types.TLSVerifyCA {
		c.InsecureSkipVerify = true // the name alone is not checked
		c.VerifyConnection = chainOf(c.RootCAs)
	}
	return c, nil
}

// chainOf verifies the chain of a server's certificate, and not its name.
func chainOf(pool *x509.CertPool) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
		for _, i := range cs.PeerCertificates[1:] {
			o.Intermediates.AddCert(i)
		}
		if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
		}
		return nil
	}
}
