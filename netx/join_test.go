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
	"slices"
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

// tlsPair makes the two ends of TLS, of which the near one runs on a connection of ours.
func tlsPair(t *testing.T, under, far net.Conn) (client, server *tls.Conn) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return tls.Client(under, &tls.Config{InsecureSkipVerify: true}), tls.Server(far, &tls.Config{Certificates: []tls.Certificate{cert}})
}

func TestTLSOverAJoint(t *testing.T) {
	a, b := net.Pipe()
	near := Join(a)
	client, server := tlsPair(t, near, b)
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

// What several records of TLS within TLS bring leaves by one call of the system: the
// records of both are gathered.
func TestTLSWithinTLS(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	under, ok := UnderTLS(dialled).(*Records)
	if !ok {
		t.Fatal("no TCP")
	}
	outer, far := tlsPair(t, under, accepted)
	near := Join(outer)
	inner, server := tlsPair(t, near, far)
	client := near.Over(inner)
	if recordsOf(client) != under || recordsOf(near) != under {
		t.Fatal("what is under both is not found")
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	go func() {
		if err := inner.Handshake(); err != nil { // and the outer one's before
			t.Error(err)
		}
		for p := range slices.Chunk(want, 60<<10) {
			if n, err := WriteTogether(client, p); n != len(p) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		client.Close()
	}()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}
