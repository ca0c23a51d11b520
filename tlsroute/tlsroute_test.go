package tlsroute

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/alpndial"
	"teleport/netx/memnet"
	"teleport/netx/proxyproto"
)

// issue makes a self-signed certificate for a name, and a pool that trusts it.
func issue(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// port is a router with the routes of a proxy. Each route answers a connection
// with its name, the negotiated protocol and the client's address.
type port struct {
	*Router
	t                 *testing.T
	net               *memnet.Network
	hostPool, webPool *x509.CertPool
	hostCert          tls.Certificate
	stop              func()
}

func newPort(t *testing.T, o Options) *port {
	t.Helper()
	p := &port{t: t, net: new(memnet.Network)}
	var webCert tls.Certificate
	p.hostCert, p.hostPool = issue(t, "proxy.test")
	webCert, p.webPool = issue(t, "127.0.0.1")
	r, err := New(o)
	check(t, err)
	p.Router = r
	host := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{p.hostCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.hostPool}, nil
	}
	web := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{webCert}}, nil
	}
	routes := map[string]net.Listener{
		"tunnel": r.ALPN(host, "teleport-reversetunnel"),
		"auth":   r.ALPN(web, "teleport-auth@"),
		"kube":   r.SNI(func(n string) bool { return strings.HasPrefix(n, "kube.") }, web, "h2", "http/1.1"),
		"web":    r.Web(web),
		"ssh":    r.Preamble(SSH),
	}
	for name, ln := range routes {
		go answer(name, ln)
	}
	ln, err := p.net.Listen(t.Context(), "tcp", "proxy:443")
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, ln) }()
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	return p
}

func answer(name string, ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		proto := ""
		if t, ok := c.(*tls.Conn); ok {
			proto = t.ConnectionState().NegotiatedProtocol
		}
		io.WriteString(c, name+" "+proto+" "+c.RemoteAddr().String())
		c.Close()
	}
}

func (p *port) dial() net.Conn {
	p.t.Helper()
	c, err := p.net.From("laptop").DialContext(p.t.Context(), "tcp", "proxy:443")
	check(p.t, err)
	return c
}

func (p *port) ask(config *tls.Config) (string, error) {
	c := tls.Client(p.dial(), config)
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{})
		defer p.stop()
		client := p.hostCert
		for _, c := range []struct {
			want   string
			config *tls.Config
		}{
			{"tunnel teleport-reversetunnel", &tls.Config{RootCAs: p.hostPool, ServerName: "proxy.test", NextProtos: []string{"teleport-reversetunnel"}, Certificates: []tls.Certificate{client}}},
			{"tunnel teleport-reversetunnel", &tls.Config{RootCAs: p.hostPool, ServerName: "proxy.test", NextProtos: []string{"unknown", "teleport-reversetunnel", "h2"}, Certificates: []tls.Certificate{client}}},
			{"auth teleport-auth@example.com", &tls.Config{RootCAs: p.webPool, ServerName: "127.0.0.1", NextProtos: []string{"teleport-auth@example.com"}}},
			{"web h2", &tls.Config{RootCAs: p.webPool, ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}}},
			{"web ", &tls.Config{RootCAs: p.webPool, ServerName: "127.0.0.1"}},
			{"kube http/1.1", &tls.Config{InsecureSkipVerify: true, ServerName: "kube.example.com", NextProtos: []string{"http/1.1"}}},
		} {
			got, err := p.ask(c.config)
			if err != nil || !strings.HasPrefix(got, c.want+" ") {
				t.Errorf("%q, %v; want %s", got, err, c.want)
			}
			if !strings.Contains(got, p.net.Addr("laptop").String()) {
				t.Errorf("%q does not know the client's address", got)
			}
		}
		asked := false
		browser := &tls.Config{RootCAs: p.webPool, ServerName: "127.0.0.1", NextProtos: []string{"h2"},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { asked = true; return &client, nil }}
		if _, err := p.ask(browser); err != nil || asked {
			t.Errorf("a browser is asked for a client certificate: %v, %v", asked, err)
		}
		for name, config := range map[string]*tls.Config{
			"no client certificate": {RootCAs: p.hostPool, ServerName: "proxy.test", NextProtos: []string{"teleport-reversetunnel"}},
			"unknown name":          {InsecureSkipVerify: true, NextProtos: []string{"teleport-nothing"}},
			"prefix alone":          {InsecureSkipVerify: true, NextProtos: []string{"teleport-auth@"}},
		} {
			if got, err := p.ask(config); err == nil {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

func TestPreambles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{})
		defer p.stop()
		for sent, want := range map[string]string{
			"SSH-2.0-OpenSSH_9.2\r\n": "ssh ",
			"GET / HTTP/1.1\r\n\r\n":  "",
			sslRequest:                "", // no service registered
			"SSH-1.5-old\r\n":         "",
		} {
			c := p.dial()
			io.WriteString(c, sent)
			b, _ := io.ReadAll(c)
			if want == "" && len(b) > 0 || !strings.HasPrefix(string(b), want) {
				t.Errorf("%q is answered %q", sent, b)
			}
			c.Close()
		}
	})
}

func TestASilentClientIsGreeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{Silence: time.Second, ProxyProtocol: proxyproto.Off})
		defer p.stop()
		c, begun := p.dial(), time.Now()
		b := make([]byte, 3)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "ssh" || time.Since(begun) != time.Second {
			t.Errorf("%q after %v, %v", b, time.Since(begun), err)
		}
		c.Close()
		c = p.dial()
		io.WriteString(c, "S")
		time.Sleep(5 * time.Second) // which began, may be slow
		io.WriteString(c, "SH-2.0-x\r\n")
		if all, _ := io.ReadAll(c); !strings.HasPrefix(string(all), "ssh") {
			t.Errorf("answered %q", all)
		}
		c.Close()
	})
}

func TestProxyProtocolOnThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{ProxyProtocol: proxyproto.On, Balancers: netx.Networks{netip.MustParsePrefix("10.0.0.0/8")}})
		defer p.stop()
		h := proxyproto.Header{Source: netip.MustParseAddrPort("192.0.2.55:1000"), Destination: netip.MustParseAddrPort("192.0.2.1:443")}
		c := p.dial()
		c.Write(append(h.AppendV2(nil), "SSH-2.0-x\r\n"...))
		if b, _ := io.ReadAll(c); string(b) != "ssh  192.0.2.55:1000" {
			t.Errorf("%q", b)
		}
		c.Close()
		c = p.dial()
		io.WriteString(c, "SSH-2.0-x\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("without a header: %q", b)
		}
		c.Close()
	})
}

func TestOnlyABalancersHeaderIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{ProxyProtocol: proxyproto.On, Balancers: netx.Networks{netip.MustParsePrefix("192.0.2.0/24")}})
		defer p.stop()
		begun := time.Now()
		c := p.dial()
		defer c.Close()
		if b, _ := io.ReadAll(c); len(b) > 0 || time.Since(begun) > 0 {
			t.Errorf("somebody who is not the balancer is answered %q after %v", b, time.Since(begun))
		}
	})
}

func TestSlowClientsHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t, Options{PreAuth: 20, PerIP: 10, Timeout: 10 * time.Second})
		defer p.stop()
		begun := time.Now()
		var slow []net.Conn
		for range 30 { // one address: only its share is admitted
			c := p.dial()
			c.Write([]byte{tlsRecord})
			slow = append(slow, c)
		}
		synctest.Wait()
		p.mu.Lock()
		if p.count != 10 {
			t.Errorf("%d connections of one address were admitted", p.count)
		}
		p.mu.Unlock()
		other, err := p.net.From("phone").DialContext(t.Context(), "tcp", "proxy:443")
		check(t, err)
		io.WriteString(other, "SSH-2.0-x\r\n")
		if b, _ := io.ReadAll(other); !strings.HasPrefix(string(b), "ssh ") || time.Since(begun) > 0 {
			t.Errorf("another client waited %v for %q", time.Since(begun), b)
		}
		other.Close()
		for _, c := range slow {
			io.Copy(io.Discard, c) // each ends with its deadline at the latest
			c.Close()
		}
		if d := time.Since(begun); d != 10*time.Second {
			t.Errorf("slow clients were cut after %v", d)
		}
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.count != 0 || len(p.perIP) != 0 {
			t.Errorf("%d connections are still counted", p.count)
		}
	})
}

// balancer ends TLS and speaks HTTP/1.1 only, and passes upgrades to the port.
func balancer(t *testing.T, p *port) (addr string, pool *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != alpndial.UpgradePath {
			http.NotFound(w, r)
			return
		}
		a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr)
		if err == nil {
			err = p.Upgrade(w, r, a, time.Second)
		}
		if err != nil {
			t.Logf("upgrade: %v", err)
		}
	}))
	s.StartTLS()
	t.Cleanup(s.Close)
	pool = x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.Listener.Addr().String(), pool
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

func TestUpgradeThroughABalancer(t *testing.T) {
	p := newPort(t, Options{})
	defer p.stop()
	addr, pool := balancer(t, p)
	d := &alpndial.Dialer{ProxyAddr: addr, RootCAs: pool, HTTPProxy: noProxy}
	way, err := d.Probe(t.Context())
	if err != nil || way != alpndial.UpgradeYes {
		t.Errorf("probe of a balancer: %q, %v", way, err)
	}
	inner := &tls.Config{RootCAs: p.hostPool, ServerName: "proxy.test", Certificates: []tls.Certificate{p.hostCert}}
	for _, way := range []alpndial.Upgrade{alpndial.UpgradeYes, alpndial.UpgradeAuto} {
		d.Upgrade = way
		c, err := d.Dial(t.Context(), "teleport-reversetunnel", inner)
		if err != nil {
			t.Errorf("upgrade %q: %v", way, err)
			continue
		}
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "tunnel teleport-reversetunnel 127.0.0.1:") {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
	}
	d.Upgrade = alpndial.UpgradeYes
	c, err := d.Dial(t.Context(), "teleport-auth@test", nil) // joining: the host CA is not known yet
	check(t, err)
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "auth teleport-auth@test") {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	stranger := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "proxy.test", Certificates: []tls.Certificate{p.hostCert}}
	if _, err := d.Dial(t.Context(), "teleport-reversetunnel", stranger); !errors.Is(err, fault.Untrusted) {
		t.Errorf("inside the upgrade nothing is verified: %v", err)
	}
	d.RootCAs = x509.NewCertPool()
	if _, err := d.Dial(t.Context(), "teleport-reversetunnel", inner); err == nil {
		t.Error("the balancer is not verified")
	}
}

// A stream that came inside of a WebSocket shows it by its local address, also
// under the TLS that runs in it, so that nobody believes its headers.
func TestAnUpgradedStreamIsMarked(t *testing.T) {
	r, err := New(Options{})
	check(t, err)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := r.Upgrade(w, req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7}, time.Second); err != nil {
			t.Logf("upgrade: %v", err)
		}
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	cert, inner := issue(t, "proxy.test")
	inside := r.ALPN(func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
	}, "teleport-test")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	d := &alpndial.Dialer{ProxyAddr: s.Listener.Addr().String(), RootCAs: pool, HTTPProxy: noProxy, Upgrade: alpndial.UpgradeYes}
	c, err := d.Dial(t.Context(), "teleport-test", &tls.Config{RootCAs: inner, ServerName: "proxy.test"})
	check(t, err)
	got, err := inside.Accept()
	check(t, err)
	if _, ok := got.LocalAddr().(UpgradedAddr); !ok {
		t.Errorf("local address %T", got.LocalAddr())
	}
	if got.RemoteAddr().String() != "192.0.2.7:7" {
		t.Errorf("remote address %v", got.RemoteAddr())
	}
	var ends sync.WaitGroup // a WebSocket is closed by both
	ends.Go(func() { c.Close() })
	got.Close()
	ends.Wait()
	stop()
	check(t, <-done)
}

func TestPlainDialThroughHTTPProxy(t *testing.T) {
	p := newPort(t, Options{})
	defer p.stop()
	var asked atomic.Int32
	connect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "proxy:443" || r.Header.Get("Proxy-Authorization") != "Basic dTpw" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		asked.Add(1)
		up := p.dial()
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		netx.Splice(context.Background(), c, up, netx.SpliceOptions{})
	}))
	defer connect.Close()
	via, err := url.Parse(connect.URL)
	check(t, err)
	via.User = url.UserPassword("u", "p")
	d := &alpndial.Dialer{ProxyAddr: "proxy:443", RootCAs: p.webPool, HTTPProxy: func(*http.Request) (*url.URL, error) { return via, nil }}
	if way, err := d.Probe(t.Context()); err != nil || way != alpndial.UpgradeNo {
		t.Errorf("probe of a proxy: %q, %v", way, err)
	}
	inner := &tls.Config{RootCAs: p.hostPool, ServerName: "proxy.test", Certificates: []tls.Certificate{p.hostCert}}
	c, err := d.Dial(t.Context(), "teleport-reversetunnel", inner)
	check(t, err)
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "tunnel ") || asked.Load() != 2 {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	via.User = nil
	if _, err := d.Dial(t.Context(), "teleport-reversetunnel", inner); !errors.Is(err, fault.Unavailable) {
		t.Errorf("refused by the HTTP proxy: %v", err)
	}
}

func TestDialFailuresSayWhy(t *testing.T) {
	p := newPort(t, Options{})
	defer p.stop()
	d := &alpndial.Dialer{ProxyAddr: "proxy:443", RootCAs: x509.NewCertPool(), Net: p.net, HTTPProxy: noProxy}
	if _, err := d.Dial(t.Context(), "h2", nil); !errors.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
		t.Errorf("an unknown authority: %v", err)
	}
	d.ProxyAddr = "nowhere:1"
	if _, err := d.Dial(t.Context(), "h2", nil); !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "nowhere:1") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := alpndial.ParseUpgrade("maybe"); !errors.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
