package cloudtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Outside is the network beyond an agent's own, as it finds it by HTTPS_PROXY: hosts
// of clouds are played there under their own names, and there are no others. So an
// agent is tested with nothing of its configuration changed. Safe for concurrent use.
type Outside struct {
	inner, proxy *httptest.Server
	bundle       string
	mu           sync.Mutex
	hosts        map[string]http.Handler
	asked        []string
}

// NewOutside starts one that ends with the test. Hosts are played by the handlers; a
// name may begin with "*.".
func NewOutside(t testing.TB, hosts map[string]http.Handler) *Outside {
	t.Helper()
	o := &Outside{hosts: hosts}
	o.inner = httptest.NewUnstartedServer(http.HandlerFunc(o.serve))
	cert := newCertificate(t, slices.Sorted(maps.Keys(hosts)))
	o.inner.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	o.inner.StartTLS()
	t.Cleanup(o.inner.Close)
	o.proxy = httptest.NewServer(http.HandlerFunc(o.connect))
	t.Cleanup(o.proxy.Close)
	o.bundle = filepath.Join(t.TempDir(), "outside.pem")
	if err := os.WriteFile(o.bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// Environment is by which a process comes there and trusts what is there, as no other
// does.
func (o *Outside) Environment() []string {
	return []string{"HTTPS_PROXY=" + o.proxy.URL, "SSL_CERT_FILE=" + o.bundle, "SSL_CERT_DIR=" + filepath.Dir(o.bundle)}
}

// Asked returns the addresses that somebody wanted to come to.
func (o *Outside) Asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func (o *Outside) find(host string) http.Handler {
	_, domain, _ := strings.Cut(host, ".")
	for _, name := range []string{host, "*." + domain} {
		if h := o.hosts[name]; h != nil {
			return h
		}
	}
	return nil
}

func (o *Outside) serve(w http.ResponseWriter, r *http.Request) {
	h := o.find(r.Host)
	if h == nil {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	h.ServeHTTP(w, r)
}

func (o *Outside) connect(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r.Host)
	o.mu.Unlock()
	host, port, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || port != "443" || o.find(host) == nil {
		http.Error(w, "there is no such host", http.StatusBadGateway)
		return
	}
	up, err := net.Dial("tcp", o.inner.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		return
	}
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err == nil {
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	}
	if err != nil {
		up.Close()
		c.Close()
		return
	}
	go pour(up, io.MultiReader(bytes.NewReader(slices.Clone(early)), c), c)
	go pour(c, up, up)
}

// pour carries one direction; its end is that of both, as both are TLS.
func pour(to io.WriteCloser, from io.Reader, source io.Closer) {
	_, _ = io.Copy(to, from) // how it ends is between the two
	to.Close()
	source.Close()
}

// newCertificate is of names, and signed by itself.
func newCertificate(t testing.TB, names []string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "played clouds"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
