package resume

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"teleport/netx"
	"teleport/test/ledger"
)

// pair returns both ends of TLS over loopback.
func pair(b testing.TB) (client, server net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	s := <-accepted
	cert := selfSigned(b)
	tc := tls.Client(netx.UnderTLS(c), &tls.Config{InsecureSkipVerify: true})
	ts := tls.Server(netx.UnderTLS(s), &tls.Config{Certificates: []tls.Certificate{cert}})
	go ts.Handshake()
	if err := tc.Handshake(); err != nil {
		b.Fatal(err)
	}
	return tc, ts
}

func selfSigned(b testing.TB) tls.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pump writes like SSH does: packets of 32 KiB in two pieces.
func pump(b *testing.B, w io.Writer, r io.Reader) {
	const packet = 32<<10 + 28
	buf := make([]byte, packet)
	ledger.Fill(buf, 1, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		in := make([]byte, 64<<10)
		for left := int64(b.N) * packet; left > 0; {
			n, err := r.Read(in)
			if err != nil {
				b.Error(err)
				return
			}
			left -= int64(n)
		}
	}()
	b.SetBytes(packet)
	b.ResetTimer()
	for range b.N {
		w.Write(buf[:firstPiece])
		if _, err := w.Write(buf[firstPiece:]); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	b.StopTimer()
}

func BenchmarkPlain(b *testing.B) {
	c, s := pair(b)
	defer c.Close()
	defer s.Close()
	pump(b, netx.ForSSH(s), c)
}

func BenchmarkResumable(b *testing.B) {
	w := newWorld(b)
	nc, sc := pair(b)
	go w.agent(sc, false, w.party)
	c, err := NewClient(nc, w.options(certificate(b, "alice")))
	if err != nil {
		b.Fatal(err)
	}
	s := <-w.served
	go io.Copy(io.Discard, struct{ io.Reader }{s})
	defer w.close()
	defer c.Close()
	pump(b, s, c)
}

// pingPong has a short question and its answer go over both ends in turns, as
// statements of a database and their results do.
func pingPong(b *testing.B, near, far net.Conn) {
	question, answer := make([]byte, 80), make([]byte, 120)
	go func() {
		in := make([]byte, len(question))
		for {
			if _, err := io.ReadFull(far, in); err != nil {
				return
			}
			if _, err := far.Write(answer); err != nil {
				return
			}
		}
	}()
	in := make([]byte, len(answer))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := near.Write(question); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(near, in); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
}

func BenchmarkPingPong(b *testing.B) {
	b.Run("tls", func(b *testing.B) {
		c, s := pair(b)
		defer c.Close()
		defer s.Close()
		pingPong(b, c, s)
	})
	for _, inner := range []bool{false, true} {
		name := "resumable"
		if inner {
			name = "tls in resumable"
		}
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			nc, sc := pair(b)
			go w.agent(sc, false, w.party)
			c, err := NewClient(nc, w.options(certificate(b, "alice")))
			if err != nil {
				b.Fatal(err)
			}
			s := <-w.served
			defer w.close()
			defer c.Close()
			if !inner {
				pingPong(b, c, s)
				return
			}
			near := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			far := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{selfSigned(b)}})
			go far.Handshake()
			if err := near.Handshake(); err != nil {
				b.Fatal(err)
			}
			pingPong(b, near, far)
		})
	}
}
