package tlscert_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/keys"
	"teleport/types"
)

func clock() time.Time { return now }

func holder(t *testing.T, w *certtest.World, id *types.Identity) *tls.Certificate {
	t.Helper()
	key := certtest.Key(t)
	ca := caOf(id.Kind)
	der, err := tlscert.Sign(id, key.Public(), w.Certs[ca], w.TLS[ca], now)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func source(w *certtest.World, c *tls.Certificate) tlscert.Source {
	return tlscert.Source{Certificate: func() *tls.Certificate { return c }, Trust: func() *cert.Trust { return w.Trust }, Now: clock}
}

// handshake returns both ends' errors and the server's view.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error, error) {
	t.Helper()
	a, b := net.Pipe()
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(context.Background())
		if err != nil {
			a.Close()
		}
		done <- err
	}()
	cerr := c.HandshakeContext(context.Background())
	if cerr == nil {
		// A TLS 1.3 client is done before the server has looked at its certificate.
		go func() { _, _ = c.Read(make([]byte, 1)) }()
	} else {
		b.Close()
	}
	serr := <-done
	state := s.ConnectionState()
	a.Close()
	b.Close()
	return state, serr, cerr
}

func TestMutualTLS(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	other := certtest.New(t, "example.com", now)
	auth := holder(t, w, certtest.Host("example.com", now, types.RoleAuth))
	node := holder(t, w, certtest.Host("example.com", now, types.RoleNode))
	user := holder(t, w, certtest.User("alice", "example.com", now))
	toAuth := tlscert.Server{Cluster: "example.com", Role: types.RoleAuth}
	server := func(c *tls.Certificate, o tlscert.ServerOptions) *tls.Config {
		return tlscert.ServerConfig(source(w, c), o)
	}
	both := tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser, types.IdentityHost}, ShowAuthority: true}
	rows := []struct {
		name     string
		server   *tls.Config
		client   tlscert.Source
		to       tlscert.Server
		ok       bool
		identity string
	}{
		{"user to auth", server(auth, both), source(w, user), toAuth, true, "user alice@example.com"},
		{"host to auth", server(auth, both), source(w, node), toAuth, true, "host " + certtest.HostUUID + "@example.com"},
		{"by UUID", server(node, both), source(w, user), tlscert.Server{Cluster: "example.com", UUID: certtest.HostUUID}, true, "user alice@example.com"},
		{"kind not admitted", server(auth, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityHost}}), source(w, user), toAuth, false, ""},
		{"no certificate", server(auth, both), source(w, nil), toAuth, false, ""},
		{"no certificate, anonymous", server(auth, tlscert.ServerOptions{Anonymous: true}), source(w, nil), toAuth, true, ""},
		{"anonymous with a foreign one", server(auth, tlscert.ServerOptions{Anonymous: true, Kinds: both.Kinds}),
			tlscert.Source{Certificate: func() *tls.Certificate { return holder(t, other, certtest.User("eve", "example.com", now)) }, Trust: func() *cert.Trust { return w.Trust }, Now: clock}, toAuth, false, ""},
		{"server is a node", server(node, both), source(w, user), toAuth, false, ""},
		{"server is a user", server(user, both), source(w, user), toAuth, false, ""},
		{"server of another CA", tlscert.ServerConfig(source(other, holder(t, other, certtest.Host("example.com", now, types.RoleAuth))), both), source(w, user), toAuth, false, ""},
		{"server of another UUID", server(auth, both), source(w, user), tlscert.Server{Cluster: "example.com", UUID: "other"}, false, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			client, err := tlscert.ClientConfig(r.client, r.to)
			if err != nil {
				t.Fatal(err)
			}
			state, serr, cerr := handshake(t, r.server, client)
			if (serr == nil && cerr == nil) != r.ok {
				t.Fatalf("server: %v, client: %v", serr, cerr)
			}
			if !r.ok {
				return
			}
			if state.Version != tls.VersionTLS13 || state.DidResume {
				t.Errorf("version %x, resumed %v", state.Version, state.DidResume)
			}
			id, err := tlscert.Peer(state, w.Trust, now, both.Kinds...)
			if r.identity == "" {
				if err == nil {
					t.Errorf("an identity out of nothing: %v", id)
				}
			} else if err != nil || id.String() != r.identity {
				t.Errorf("peer is %v, %v", id, err)
			}
		})
	}
}

func TestOlderTLSRefused(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	auth := holder(t, w, certtest.Host("example.com", now, types.RoleAuth))
	server := tlscert.ServerConfig(source(w, auth), tlscert.ServerOptions{Anonymous: true})
	client, err := tlscert.ClientConfig(source(w, nil), tlscert.Server{Cluster: "example.com", Role: types.RoleAuth})
	if err != nil {
		t.Fatal(err)
	}
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, serr, cerr := handshake(t, server, client); serr == nil || cerr == nil {
		t.Errorf("TLS 1.2 went through: %v, %v", serr, cerr)
	}
}

// A changed authority counts at the next handshake, with the same configuration.
func TestTrustChangeIsSeen(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	next := certtest.New(t, "example.com", now)
	var trust atomic.Pointer[cert.Trust]
	trust.Store(w.Trust)
	auth := holder(t, w, certtest.Host("example.com", now, types.RoleAuth))
	server := tlscert.ServerConfig(tlscert.Source{
		Certificate: func() *tls.Certificate { return auth }, Trust: trust.Load, Now: clock,
	}, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser}})
	client, err := tlscert.ClientConfig(source(w, holder(t, w, certtest.User("alice", "example.com", now))), tlscert.Server{Cluster: "example.com", Role: types.RoleAuth})
	if err != nil {
		t.Fatal(err)
	}
	if _, serr, cerr := handshake(t, server, client); serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	trust.Store(next.Trust)
	if _, serr, _ := handshake(t, server, client); serr == nil {
		t.Error("a certificate of the old authority is still accepted")
	}
}

func TestPins(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	other := certtest.New(t, "example.com", now)
	pin := keys.Pin(w.Certs[types.CAHost])
	auth := holder(t, w, certtest.Host("example.com", now, types.RoleAuth))
	node := holder(t, w, certtest.Host("example.com", now, types.RoleNode))
	show := tlscert.ServerOptions{Anonymous: true, ShowAuthority: true}
	forged := holder(t, other, certtest.Host("example.com", now, types.RoleAuth))
	forged.Certificate = append(forged.Certificate, w.Certs[types.CAHost].Raw)
	rows := []struct {
		name   string
		server *tls.Config
		pins   []string
		ok     bool
	}{
		{"right", tlscert.ServerConfig(source(w, auth), show), []string{pin}, true},
		{"one of two", tlscert.ServerConfig(source(w, auth), show), []string{keys.Pin(other.Certs[types.CAHost]), pin}, true},
		{"upper case", tlscert.ServerConfig(source(w, auth), show), []string{"sha256:" + strings.ToUpper(pin[7:])}, true},
		{"wrong", tlscert.ServerConfig(source(w, auth), show), []string{keys.Pin(other.Certs[types.CAHost])}, false},
		{"of the user authority", tlscert.ServerConfig(source(w, auth), show), []string{keys.Pin(w.Certs[types.CAUser])}, false},
		{"authority not shown", tlscert.ServerConfig(source(w, auth), tlscert.ServerOptions{Anonymous: true}), []string{pin}, false},
		{"not an auth service", tlscert.ServerConfig(source(w, node), show), []string{pin}, false},
		{"another's leaf before the pinned CA", tlscert.ServerConfig(source(other, forged), tlscert.ServerOptions{Anonymous: true}), []string{pin}, false},
	}
	for _, r := range rows {
		client, err := tlscert.PinnedConfig(source(w, nil), r.pins, types.RoleAuth)
		if err != nil {
			t.Fatal(err)
		}
		_, serr, cerr := handshake(t, r.server, client)
		if (cerr == nil) != r.ok {
			t.Errorf("%s: server %v, client %v", r.name, serr, cerr)
		}
	}
	for _, bad := range [][]string{nil, {""}, {"sha256:abc"}, {"md5:" + pin[7:]}} {
		if _, err := tlscert.PinnedConfig(source(w, nil), bad, types.RoleAuth); err == nil {
			t.Errorf("%q passes as pins", bad)
		}
	}
}

func TestServerNames(t *testing.T) {
	for _, bad := range []tlscert.Server{{}, {Cluster: "c"}, {Cluster: "c", Role: types.RoleNode}, {Cluster: "c", Role: types.RoleAuth, UUID: "u"}, {UUID: "u"}} {
		if _, err := tlscert.ClientConfig(tlscert.Source{}, bad); err == nil {
			t.Errorf("%+v names a server", bad)
		}
	}
}
