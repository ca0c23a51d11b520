package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// null is the null relay: what Go and the kernel need for a path of three hops.
type null struct {
	program, pair, addr string
	relay, host         *server
}

// startNull starts the relay and its host.
func startNull(ctx context.Context, program, dir string) (*null, error) {
	n := &null{program: program, pair: filepath.Join(dir, "null.pem")}
	if err := writePair(n.pair, "null"); err != nil {
		return nil, err
	}
	host, err := freePort()
	if err != nil {
		return nil, err
	}
	if n.addr, err = freePort(); err != nil {
		return nil, err
	}
	if n.host, err = serve(dir, "nullhost", nil, program, "host", n.pair, host); err != nil {
		return nil, err
	}
	if n.relay, err = serve(dir, "nullrelay", nil, program, "relay", n.pair, n.addr, host); err != nil {
		return n, err
	}
	return n, errors.Join(n.host.await(ctx, 10*time.Second, func() bool { return answers(host) }),
		n.relay.await(ctx, 10*time.Second, func() bool { return answers(n.addr) }))
}

func (n *null) run(line string) *exec.Cmd {
	return exec.Command(n.program, "client", n.pair, n.addr, line)
}

func (n *null) stop() {
	if n != nil {
		n.relay.stop()
		n.host.stop()
	}
}

// writePair writes a self-signed certificate with its key, for both ends of a hop
// and for a database user of that name.
func writePair(path, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"null"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return os.WriteFile(path, out, 0o600)
}
