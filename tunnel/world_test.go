package tunnel

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/lifecycle"
	"teleport/netx"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// authority is a host CA of a test: identities are in the certificates' key id
// and common name, as "uuid role".
type authority struct {
	signer  ssh.Signer
	private ed25519.PrivateKey
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	signer, err := ssh.NewSignerFromKey(priv)
	check(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "host CA"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour * 24 * 365 * 50), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{signer: signer, private: priv, key: key, cert: cert}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// host is one member's credentials.
type host struct {
	ca     *authority
	signer ssh.Signer
	tls    tls.Certificate
}

func (a *authority) host(t testing.TB, uuid string, role types.SystemRole) *host {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	sshPub, err := ssh.NewPublicKey(pub)
	check(t, err)
	c := &ssh.Certificate{Key: sshPub, CertType: ssh.HostCert, KeyId: uuid + " " + string(role),
		ValidPrincipals: []string{uuid}, ValidBefore: ssh.CertTimeInfinity}
	check(t, c.SignCert(rand.Reader, a.signer))
	inner, err := ssh.NewSignerFromKey(priv)
	check(t, err)
	signer, err := ssh.NewCertSigner(c, inner)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: c.KeyId},
		NotAfter: time.Now().Add(time.Hour * 24 * 365 * 40), DNSNames: []string{"proxy.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	return &host{ca: a, signer: signer, tls: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv, Leaf: leaf}}
}

func (h *host) credentials() Credentials {
	return Credentials{
		Signer: func() (ssh.Signer, error) { return h.signer, nil },
		Verify: h.ca.verifySSH,
		Peer: func(s tls.ConnectionState) (*types.Identity, error) {
			return identity(s.PeerCertificates[0].Subject.CommonName)
		},
	}
}

func (a *authority) verifySSH(c *ssh.Certificate) (*types.Identity, error) {
	checker := ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool {
		return string(k.Marshal()) == string(a.signer.PublicKey().Marshal())
	}}
	if !checker.IsHostAuthority(c.SignatureKey, "") {
		return nil, errors.New("unknown authority")
	}
	if err := checker.CheckCert(c.ValidPrincipals[0], c); err != nil {
		return nil, err
	}
	return identity(c.KeyId)
}

func identity(s string) (*types.Identity, error) {
	uuid, role, ok := strings.Cut(s, " ")
	if !ok {
		return nil, errors.New("no identity")
	}
	return &types.Identity{Kind: types.IdentityHost, Cluster: "test", Name: uuid,
		Authority: types.Authority{SystemRoles: []types.SystemRole{types.SystemRole(role)}}}, nil
}

func (h *host) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(h.ca.cert)
	return p
}

func (h *host) server(alpn string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{h.tls}, ClientCAs: h.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{alpn}, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS13}
}

func (h *host) client(alpn string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{h.tls}, RootCAs: h.pool(), ServerName: "proxy.test",
		NextProtos: []string{alpn}, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS13}
}

// world is a network with an authority.
type world struct {
	t   testing.TB
	net netx.Network
	ca  *authority
	log *slog.Logger
}

func newWorld(t testing.TB, n netx.Network) *world {
	w := &world{t: t, net: n, ca: newAuthority(t), log: slog.New(slog.DiscardHandler)}
	if os.Getenv("TUNNEL_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return w
}

// service runs f until the test's end or stop is called.
func (w *world) service(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("service: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// proxy is a proxy of a test: two TLS listeners and a registry.
type proxy struct {
	*Registry
	tunnelAddr, dataAddr string
	stop                 func()
}

func (w *world) proxy(uuid string, o RegistryOptions) *proxy {
	w.t.Helper()
	h := w.ca.host(w.t, uuid, types.RoleProxy)
	o.UUID, o.Cluster, o.Log = uuid, "test", w.log
	o.Credentials = h.credentials()
	r, err := NewRegistry(o)
	check(w.t, err)
	tl := w.listen(uuid+":0", h.server(tunframe.ALPNTunnel))
	dl := w.listen(uuid+":0", h.server(tunframe.ALPNData))
	p := &proxy{Registry: r, tunnelAddr: tl.Addr().String(), dataAddr: dl.Addr().String()}
	p.stop = w.service(func(ctx context.Context) error { return r.Serve(ctx, tl, dl) })
	return p
}

func (w *world) listen(addr string, config *tls.Config) net.Listener {
	w.t.Helper()
	if _, ok := w.net.(*netx.System); ok {
		addr = "127.0.0.1:0"
	}
	ln, err := w.net.Listen(context.Background(), "tcp", addr)
	check(w.t, err)
	return tls.NewListener(ln, config)
}

// route chooses the proxy that a target leads to.
type route func(t Target) *proxy

func to(p *proxy) route { return func(Target) *proxy { return p } }

func (w *world) options(uuid string, role types.SystemRole, r route) PoolOptions {
	h := w.ca.host(w.t, uuid, role)
	return PoolOptions{UUID: uuid, Cluster: "test", Credentials: h.credentials(), Log: w.log,
		Hello:   tunframe.Hello{Generation: 1, Services: []string{"ssh"}},
		Handle:  echo,
		Backoff: lifecycle.Backoff{Min: 100 * time.Millisecond, Max: time.Second},
		Dial: func(ctx context.Context, t Target) (net.Conn, error) {
			p := r(t)
			if p == nil {
				return nil, errors.New("no route")
			}
			addr := p.tunnelAddr
			if t.ALPN == tunframe.ALPNData {
				addr = p.dataAddr
			}
			c, err := w.net.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			tc := tls.Client(c, h.client(t.ALPN))
			if err := tc.HandshakeContext(ctx); err != nil {
				c.Close()
				return nil, err
			}
			return tc, nil
		}}
}

func (w *world) agent(o PoolOptions) (*Pool, func()) {
	w.t.Helper()
	p, err := NewPool(o)
	check(w.t, err)
	stop := w.service(p.Serve)
	<-p.Ready()
	return p, stop
}

// echo accepts a dial and sends back what it reads.
func echo(_ context.Context, in Incoming) {
	if tunframe.Write(in.Conn, &tunframe.Reply{V: tunframe.Version, AgentUUID: in.Header.AgentUUID, Carrier: in.Carrier}) != nil {
		return
	}
	io.Copy(in.Conn, in.Conn)
	if cw, ok := in.Conn.(netx.CloseWriter); ok {
		cw.CloseWrite()
	}
}

func header(c tunframe.Carrier) tunframe.Header {
	return tunframe.Header{V: tunframe.Version, Verb: tunframe.Open, Kind: "node", Name: "web", Carrier: c,
		Client: netip.MustParseAddrPort("192.0.2.7:4321")}
}

// talk sends s and expects it back, with the end of the stream after it.
func talk(t testing.TB, c net.Conn, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	check(t, err)
	check(t, c.(netx.CloseWriter).CloseWrite())
	got, err := io.ReadAll(c)
	check(t, err)
	if string(got) != s {
		t.Errorf("read %q, want %q", got, s)
	}
	c.Close()
}

func (w *world) dial(p *proxy, uuid string, c tunframe.Carrier) (net.Conn, tunframe.Reply) {
	w.t.Helper()
	conn, reply, err := p.Dial(context.Background(), uuid, header(c))
	check(w.t, err)
	return conn, reply
}
