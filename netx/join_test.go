package netx

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
)

// pieces notes the sizes of writes.
type pieces struct {
	net.Conn
	sizes []int
	data  bytes.Buffer
	fail  error
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.fail != nil {
		return 0, p.fail
	}
	p.sizes = append(p.sizes, len(b))
	return p.data.Write(b)
}

func TestRecordsLeaveTogether(t *testing.T) {
	below := &pieces{}
	j := Join(below)
	record := bytes.Repeat([]byte("r"), 16406)
	var sent int
	write := func(n int) {
		for range n {
			k, err := j.Write(record)
			if err != nil {
				t.Fatal(err)
			}
			sent += k
		}
	}
	write(1)
	if _, err := j.Together(func() (int, error) { write(4); return 0, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Together(func() (int, error) { write(5); return 0, nil }); err != nil {
		t.Fatal(err)
	}
	write(1)
	for i, want := range []int{1, 4, 4, 1, 1} {
		if i >= len(below.sizes) || below.sizes[i] != want*len(record) {
			t.Fatalf("pieces of %v", below.sizes)
		}
	}
	if below.data.Len() != sent {
		t.Errorf("%d bytes of %d", below.data.Len(), sent)
	}
	below.fail = io.ErrClosedPipe
	if _, err := j.Together(func() (int, error) { return j.Write(record) }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a piece that does not leave: %v", err)
	}
}

func TestTLSOverAJoint(t *testing.T) {
	a, b := net.Pipe()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	near := Join(a)
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{cert}})
	want := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	go func() {
		if err := client.Handshake(); err != nil { // whose messages wait for answers
			t.Error(err)
		}
		_, err := near.Together(func() (int, error) { return client.Write(want) })
		if err != nil {
			t.Error(err)
		}
		client.Close()
	}()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}
