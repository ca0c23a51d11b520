package assembly

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"teleport/config"
	"teleport/fault"
	"teleport/wholefile"
)

// webCerts are the certificates that browsers see: the configured pairs, picked
// by SNI and read again when their files change, or a self-signed pair made on
// the first start.
type webCerts struct {
	pairs   []config.Keypair
	log     *slog.Logger
	current atomic.Pointer[[]tls.Certificate]
}

// selfSignedLife is long: nobody renews by hand what they did not make.
const selfSignedLife = 10 * 365 * 24 * time.Hour

func newWebCerts(dataDir string, p *config.Proxy, names []string, log *slog.Logger) (*webCerts, error) {
	w := &webCerts{pairs: p.Keypairs, log: log}
	if len(w.pairs) == 0 {
		pair := config.Keypair{KeyFile: filepath.Join(dataDir, "webproxy_key.pem"), CertFile: filepath.Join(dataDir, "webproxy_cert.pem")}
		if err := ensureSelfSigned(pair, names); err != nil {
			return nil, err
		}
		w.pairs = []config.Keypair{pair}
	}
	return w, w.reload()
}

// reload reads all pairs or keeps all.
func (w *webCerts) reload() error {
	list := make([]tls.Certificate, 0, len(w.pairs))
	for _, p := range w.pairs {
		c, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "cannot use the web certificate %s with the key %s: %v", p.CertFile, p.KeyFile, err)
		}
		list = append(list, c)
	}
	w.current.Store(&list)
	return nil
}

// get picks a certificate for a client; it is a tls.Config.GetCertificate.
func (w *webCerts) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list := *w.current.Load()
	for i := range list {
		if hello.SupportsCertificate(&list[i]) == nil {
			return &list[i], nil
		}
	}
	return &list[0], nil
}

func ensureSelfSigned(pair config.Keypair, names []string) error {
	_, certErr := os.Stat(pair.CertFile)
	_, keyErr := os.Stat(pair.KeyFile)
	if certErr == nil && keyErr == nil {
		return nil
	}
	if !errors.Is(certErr, os.ErrNotExist) && certErr != nil {
		return fault.Wrap(certErr, fault.Unavailable, "cannot read %s", pair.CertFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0], Organization: []string{"self-signed by teleport"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	for _, n := range slices.Concat(names, []string{"localhost", "127.0.0.1", "::1"}) {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := wholefile.Write(pair.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return fault.Unwritable(err, pair.KeyFile)
	}
	return fault.Unwritable(wholefile.Write(pair.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644), pair.CertFile)
}
