package dbaccess

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"teleport/types"
)

// refusing is TLS with a server that has refused our certificate, and has gone with a
// reset, when it is returned.
func refusing(t *testing.T) *tls.Conn {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	gone := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			gone <- err
			return
		}
		if tls.Server(c, &tls.Config{Certificates: web.TLS.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}).Handshake() == nil {
			err = errors.New("a certificate of nobody was taken")
		}
		gone <- errors.Join(err, c.(*net.TCPConn).SetLinger(0), c.Close())
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	config := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.Certificates = "example.com", web.TLS.Certificates
	c := tls.Client(raw, config)
	if err := errors.Join(c.Handshake(), <-gone); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWhyAServerHasGone: a database that does not take our certificate says so before it
// goes, and that is found, whether or not something was written meanwhile.
func TestWhyAServerHasGone(t *testing.T) {
	c := &secured{Conn: refusing(t)}
	for range 3 {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal("the reason is still to be read: ", err)
		}
	}
	if _, err := c.Conn.Write([]byte("hello")); err == nil {
		t.Error("the server is there: this test shows nothing")
	}
	_, err := c.Read(make([]byte, 1))
	s := &Session{database: &types.Database{Header: types.Header{Metadata: types.Metadata{Name: "orders"}}}}
	if why := s.LoginFault(err); !strings.HasPrefix(why.Error(), "the database orders does not take the agent's certificate") {
		t.Errorf("%v", why)
	}
	c = &secured{Conn: refusing(t)}
	if err := c.SetDeadline(time.Unix(1, 0)); err != nil { // as who gives a login up does
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a login that was given up goes on: %v", err)
	}
	c = &secured{Conn: refusing(t)}
	c.spoke.Store(true)
	err = nil
	for range 3 {
		_, werr := c.Write([]byte("hello"))
		err = errors.Join(err, werr)
	}
	if err == nil {
		t.Error("what cannot be written in the middle of a session is no error")
	}
}
