package shaper

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"teleport/netx"
	"teleport/netx/memnet"
)

// world is an echo server behind a shaper, in virtual time.
func world(t *testing.T, shape Shape, f func(t *testing.T, s *Shaper, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		var n memnet.Network
		ln, err := n.Listen(t.Context(), "tcp", "echo:1")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(c, struct{ io.Reader }{c})
					c.Close()
				}()
			}
		}()
		s := New(shape)
		d := s.Dialer(&n)
		f(t, s, func() net.Conn {
			c, err := d.DialContext(t.Context(), "tcp", "echo:1")
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
		s.Close()
		ln.Close()
	})
}

func TestDelayAndRate(t *testing.T) {
	world(t, Shape{Delay: 100 * time.Millisecond, Rate: 10_000}, func(t *testing.T, _ *Shaper, dial func() net.Conn) {
		c := dial()
		begun := time.Now()
		c.Write(make([]byte, 10_000))
		c.(netx.CloseWriter).CloseWrite()
		if b, err := io.ReadAll(c); len(b) != 10_000 || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if d := time.Since(begun); d < 2200*time.Millisecond || d > 2300*time.Millisecond {
			t.Errorf("there and back took %v", d)
		}
		c.Close()
	})
}

func TestCutAfter(t *testing.T) {
	world(t, Shape{CutAfter: 1000}, func(t *testing.T, _ *Shaper, dial func() net.Conn) {
		c := dial()
		c.Write(make([]byte, 1500))
		if b, _ := io.ReadAll(c); len(b) > 1000 {
			t.Errorf("%d bytes came back", len(b))
		}
		c.Close()
	})
}

func TestPartitionHoldsAndReleases(t *testing.T) {
	world(t, Shape{}, func(t *testing.T, s *Shaper, dial func() net.Conn) {
		c := dial()
		s.Partition(true)
		io.WriteString(c, "held")
		c.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("bytes cross a partition")
		}
		c.SetReadDeadline(time.Time{})
		s.Partition(false)
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, []byte("held")) {
			t.Errorf("%q, %v", b, err)
		}
		s.CutAll()
		if _, err := c.Read(b); err == nil {
			t.Error("a cut connection lives")
		}
		c.Close()
	})
}

func TestHalfOpenTellsNobody(t *testing.T) {
	world(t, Shape{HalfOpen: true}, func(t *testing.T, _ *Shaper, dial func() net.Conn) {
		c := dial()
		c.(netx.CloseWriter).CloseWrite()
		c.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF {
			t.Error("the server learnt of the end")
		}
		c.Close()
	})
}

func TestForwarder(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() {
		if c, err := target.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- New(Shape{}).Forward(ctx, ln, &net.Dialer{}, target.Addr().String()) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "through")
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "through" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
