package netx_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
)

// spliced returns the outer ends of two connections that are spliced, and what
// Splice returned.
func spliced(ctx context.Context, o netx.SpliceOptions) (left, right net.Conn, done chan error) {
	left, a := memnet.Pipe()
	right, b := memnet.Pipe()
	done = make(chan error, 1)
	go func() { done <- netx.Splice(ctx, a, b, o) }()
	return left, right, done
}

func TestSpliceHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n netx.Counters
		left, right, done := spliced(t.Context(), netx.SpliceOptions{Counters: &n})
		go func() {
			io.WriteString(left, "question")
			left.(netx.CloseWriter).CloseWrite()
		}()
		if q, err := io.ReadAll(right); err != nil || string(q) != "question" {
			t.Errorf("%q, %v", q, err)
		}
		go func() {
			io.WriteString(right, "a longer answer")
			right.Close()
		}()
		if a, err := io.ReadAll(left); err != nil || string(a) != "a longer answer" {
			t.Errorf("%q, %v", a, err)
		}
		if err := <-done; err != nil {
			t.Errorf("Splice: %v", err)
		}
		if n.AToB.Load() != 8 || n.BToA.Load() != 15 {
			t.Errorf("counted %d and %d", n.AToB.Load(), n.BToA.Load())
		}
	})
}

func TestSpliceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right, done := spliced(t.Context(), netx.SpliceOptions{Idle: time.Minute})
		begun := time.Now()
		for range 10 {
			time.Sleep(50 * time.Second)
			io.WriteString(left, "x")
			right.Read(make([]byte, 1))
		}
		if err := <-done; !errors.Is(err, netx.ErrIdle) {
			t.Errorf("idle: %v", err)
		}
		if d := time.Since(begun) - 500*time.Second; d < time.Minute || d > 75*time.Second {
			t.Errorf("cut after %v without a byte", d)
		}
		_, _, done = spliced(t.Context(), netx.SpliceOptions{Deadline: time.Now().Add(time.Hour)})
		if err := <-done; !errors.Is(err, netx.ErrDeadline) || fault.KindOf(err) != fault.Timeout {
			t.Errorf("deadline: %v", err)
		}
		ctx, cut := context.WithCancelCause(t.Context())
		left, _, done = spliced(ctx, netx.SpliceOptions{})
		locked := fault.New(fault.Denied, "locked")
		cut(locked)
		if err := <-done; !errors.Is(err, locked) {
			t.Errorf("cut: %v", err)
		}
		if _, err := left.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the other end after a cut: %v", err)
		}
	})
}

// tcpPair returns both ends of a loopback connection.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestSpliceBulkOfEachKind(t *testing.T) {
	for name, pair := range map[string]func() (net.Conn, net.Conn){
		"kernel": func() (net.Conn, net.Conn) { return tcpPair(t) },
		"memory": memnet.Pipe,
	} {
		t.Run(name, func(t *testing.T) {
			left, a := pair()
			right, b := pair()
			done := make(chan error, 1)
			var n netx.Counters
			go func() {
				done <- netx.Splice(context.Background(), a, b, netx.SpliceOptions{Idle: time.Minute, Counters: &n})
			}()
			src := rand.NewChaCha8([32]byte{7})
			const size = 9 << 20
			sum := sha256.New()
			go func() {
				io.CopyN(io.MultiWriter(left, sum), src, size)
				left.(netx.CloseWriter).CloseWrite()
			}()
			got := sha256.New()
			if k, err := io.Copy(got, right); err != nil || k != size {
				t.Fatalf("%d bytes, %v", k, err)
			}
			right.Close()
			if err := <-done; err != nil {
				t.Errorf("Splice: %v", err)
			}
			left.Close()
			if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) || n.AToB.Load() != size {
				t.Errorf("what arrived differs; counted %d", n.AToB.Load())
			}
		})
	}
}

func TestAddrPort(t *testing.T) {
	mapped := &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 5}
	if got := netx.AddrPort(mapped).String(); got != "192.0.2.1:5" {
		t.Error(got)
	}
	if netx.AddrPort(&net.UnixAddr{Name: "@x"}).IsValid() || netx.AddrPort(nil).IsValid() {
		t.Error("what is no IP address has one")
	}
}

func TestWrappers(t *testing.T) {
	a, b := memnet.Pipe()
	defer b.Close()
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}
	c := netx.WithPrefix(netx.WithRemoteAddr(a, addr), []byte("before "))
	io.WriteString(b, "after")
	b.(netx.CloseWriter).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "before after" {
		t.Errorf("%q, %v", got, err)
	}
	if c.RemoteAddr() != addr {
		t.Error(c.RemoteAddr())
	}
	if err := c.(netx.CloseWriter).CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

func BenchmarkSplice(b *testing.B) {
	for name, pair := range map[string]func() (net.Conn, net.Conn){
		"kernel": func() (net.Conn, net.Conn) { return tcpPair(b) },
		"memory": memnet.Pipe,
	} {
		b.Run(name, func(b *testing.B) {
			left, x := pair()
			right, y := pair()
			go netx.Splice(context.Background(), x, y, netx.SpliceOptions{})
			go io.Copy(io.Discard, struct{ io.Reader }{right})
			block := make([]byte, 64<<10)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				left.Write(block)
			}
			left.Close()
		})
	}
}

// Whoever watches for idleness outside sees bytes move, on either path.
func TestSpliceTouches(t *testing.T) {
	for name, pair := range map[string]func(t *testing.T) (net.Conn, net.Conn){
		"memory": func(*testing.T) (net.Conn, net.Conn) { return memnet.Pipe() },
		"tcp":    func(t *testing.T) (net.Conn, net.Conn) { return tcpPair(t) },
	} {
		t.Run(name, func(t *testing.T) {
			left, a := pair(t)
			right, b := pair(t)
			defer left.Close()
			defer right.Close()
			touched := make(chan struct{}, 100)
			done := make(chan error, 1)
			go func() {
				done <- netx.Splice(t.Context(), a, b, netx.SpliceOptions{Touch: func() { touched <- struct{}{} }})
			}()
			for _, c := range [][2]net.Conn{{left, right}, {right, left}} {
				if len(touched) != 0 {
					t.Error("touched though nothing moved")
				}
				if _, err := io.WriteString(c[0], "x"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c[1], make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				<-touched
			}
			left.Close()
			right.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// parting is a connection that takes its time to say goodbye.
type parting struct {
	net.Conn
	said bool
}

func (p *parting) Close() error {
	err := p.Conn.Close()
	time.Sleep(time.Second)
	p.said = true
	return err
}

// A splice that is cut has closed both ends when it returns: its process may end
// with it.
func TestSpliceReturnsWhenBothEndsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c, d := net.Pipe()
		defer a.Close()
		defer d.Close()
		slow := &parting{Conn: c}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := netx.Splice(ctx, b, slow, netx.SpliceOptions{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if !slow.said {
			t.Error("it returned in the middle of a goodbye")
		}
	})
}
