package authclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"teleport/fault"
)

func TestNewNeedsAWayAndATLSConfig(t *testing.T) {
	for _, c := range []Config{{}, {TLS: &tls.Config{}}, {Dial: func(context.Context) (net.Conn, error) { return nil, nil }}} {
		if _, err := New(c); !errors.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	}
}

func client(t *testing.T, dial DialFunc) *Client {
	t.Helper()
	c, err := New(Config{Dial: dial, TLS: &tls.Config{ServerName: "auth.example", RootCAs: x509.NewCertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestUnreachable(t *testing.T) {
	c := client(t, func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") })
	if _, err := c.Ping(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("ping: %v", err)
	}
	if _, err := c.Watch(t.Context(), []string{"role"}, 0); !errors.Is(err, fault.Unavailable) {
		t.Errorf("watch: %v", err)
	}
	stream, err := c.Control(t.Context())
	if err == nil {
		_, err = stream.Receive()
	}
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("control: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ping(ctx); !errors.Is(err, fault.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A server with another authority's certificate is untrusted, not unavailable.
func TestUntrustedServer(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"auth.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // the client refuses it
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	c := client(t, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
	})
	if _, err := c.Ping(t.Context()); !errors.Is(err, fault.Untrusted) {
		t.Errorf("%v", err)
	}
}
