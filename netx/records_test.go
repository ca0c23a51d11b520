package netx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"teleport/netx"
)

// tlsPair runs TLS over the given connections.
func tlsPair(t *testing.T, a, b net.Conn) (client, server *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server = tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client = tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestUnderTLSKeepsEveryByte(t *testing.T) {
	a, b := tcpPair(t)
	client, server := tlsPair(t, netx.UnderTLS(a), netx.UnderTLS(b))
	for _, w := range []net.Conn{client, netx.ForSSH(client)} {
		sent := make([]byte, 3<<20)
		mrand.NewChaCha8([32]byte{1}).Read(sent)
		go func() {
			r := mrand.New(mrand.NewPCG(1, 2))
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), []int{1, 4096, 5, 16 << 10, 16<<10 + 1, 100_000, 33_000}[r.IntN(7)])
				if _, err := w.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
		}()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes differ: %v", len(got), err)
		}
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

func TestSpliceOfTLSKeepsEveryByte(t *testing.T) {
	a, b := tcpPair(t)
	c, d := tcpPair(t)
	left, in := tlsPair(t, netx.UnderTLS(a), netx.UnderTLS(b))
	out, right := tlsPair(t, netx.UnderTLS(c), netx.UnderTLS(d))
	done := make(chan error, 1)
	go func() { done <- netx.Splice(t.Context(), in, out, netx.SpliceOptions{}) }()
	sent := make([]byte, 5<<20)
	mrand.NewChaCha8([32]byte{2}).Read(sent)
	for _, way := range [][2]*tls.Conn{{left, right}, {right, left}} {
		go func() {
			way[0].Write(sent)
			way[0].CloseWrite()
		}()
		got, err := io.ReadAll(way[1])
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A packet whose last piece is just as large as the buffer must not wait for
// another one.
func TestForSSHDoesNotKeepTheLastPiece(t *testing.T) {
	a, b := tcpPair(t)
	client, server := tlsPair(t, netx.UnderTLS(a), netx.UnderTLS(b))
	w := netx.ForSSH(client)
	if err := server.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnderTLSHasDeadlinesAndEnds(t *testing.T) {
	a, b := tcpPair(t)
	u := netx.UnderTLS(b)
	if u == b {
		t.Fatal("TCP is not wrapped")
	}
	if err := u.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := u.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
	if err := u.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if n, err := u.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the other side ended: %d, %v", n, err)
	}
	u.Close()
	if _, err := u.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What a router has read before it knew that TLS begins comes first.
func TestUnderTLSTakesWhatWasReadBefore(t *testing.T) {
	a, b := tcpPair(t)
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}
	u := netx.UnderTLS(netx.WithPrefix(netx.WithPrefix(netx.WithRemoteAddr(b, remote), []byte("cd")), []byte("ab")))
	if u.RemoteAddr().String() != remote.String() {
		t.Errorf("address %v", u.RemoteAddr())
	}
	io.WriteString(a, "efgh")
	got := make([]byte, 8)
	if _, err := io.ReadFull(u, got); err != nil || string(got) != "abcdefgh" {
		t.Errorf("%q, %v", got, err)
	}
	p, _ := net.Pipe()
	defer p.Close()
	if netx.UnderTLS(p) != p || netx.ForSSH(p) != p {
		t.Error("a pipe is wrapped")
	}
}

// What a proxy accepts is wrapped in its turn: its place in a limit, the address
// that a balancer tells, what a router has read. TCP is found under all of it, and
// the place is given back as ever.
func TestUnderTLSFindsTCPInAnAcceptedConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := netx.LimitPerClient(ln, 1, nil)
	defer limited.Close()
	for range 2 {
		a, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(a, "cd")
		u := netx.UnderTLS(netx.WithPrefix(netx.WithRemoteAddr(b, a.LocalAddr()), []byte("ab")))
		if _, ok := u.(*netx.Records); !ok {
			t.Fatalf("%T stands under TLS", u)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(u, got); err != nil || string(got) != "abcd" {
			t.Errorf("%q, %v", got, err)
		}
		u.Close()
	}
}
