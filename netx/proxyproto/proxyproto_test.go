package proxyproto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
)

func header(src, dst string) Header {
	return Header{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst)}
}

func TestRoundTrip(t *testing.T) {
	for _, h := range []Header{header("192.0.2.1:1234", "192.0.2.2:443"), header("[2001:db8::1]:1", "[2001:db8::2]:65535"), {}} {
		for version, b := range map[int][]byte{1: h.AppendV1(nil), 2: h.AppendV2(nil)} {
			if found, _ := Sniff(b); !found {
				t.Errorf("version %d is not recognised", version)
			}
			r := bytes.NewReader(append(b, "rest"...))
			got, err := Read(r)
			if err != nil || got != h {
				t.Errorf("version %d: %+v, %v; want %+v", version, got, err, h)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "rest" {
				t.Errorf("version %d: %q is left", version, rest)
			}
		}
	}
	mixed := header("[2001:db8::1]:1", "192.0.2.2:443")
	if got, err := Read(bytes.NewReader(mixed.AppendV2(nil))); err != nil || got != mixed {
		t.Errorf("mixed families: %+v, %v", got, err)
	}
}

func TestStrict(t *testing.T) {
	v2 := header("192.0.2.1:1234", "192.0.2.2:443").AppendV2(nil)
	change := func(i int, b byte) string { c := bytes.Clone(v2); c[i] = b; return string(c) }
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY\r\n",
		"PROXY UNKNOWN" + strings.Repeat(" ", 200) + "\r\n", "GET / HTTP/1.1\r\n", "PRI",
		change(12, 0x11), change(12, 0x22), change(13, 0x12), change(13, 0x31), change(15, 11), change(14, 0xff), change(3, 'x'), string(v2[:20]),
	} {
		if h, err := Read(strings.NewReader(s)); err == nil {
			t.Errorf("%q is accepted: %+v", s, h)
		}
	}
}

func TestModes(t *testing.T) {
	h := header("192.0.2.1:1234", "192.0.2.2:443")
	one := string(h.AppendV2(nil))
	here, elsewhere := netx.Networks{netip.MustParsePrefix("127.0.0.0/8")}, netx.Networks{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		mode Mode
		sent string
		from string // "" is refused
		who  netx.Networks
	}{
		{On, one + "hello", "192.0.2.1:1234", here},
		{On, string(h.AppendV1(nil)) + "hello", "192.0.2.1:1234", here},
		{On, one + "hello", "192.0.2.1:1234", append(elsewhere, here...)},
		{On, "hello", "", here},
		{Off, one + "hello", "", here},
		{Off, "hello", "127.0.0.1:1", here},
		{Unset, one + "hello", "192.0.2.1:0", here},
		{Unset, "hello", "127.0.0.1:1", here},
		{Unset, "PROhello", "127.0.0.1:1", here},
		{On, one + one + "hello", "", here},
		{Unset, one + string(h.AppendV1(nil)) + "hello", "", here},
		// Somebody who is not the balancer.
		{On, one + "hello", "", elsewhere},
		{On, string(h.AppendV1(nil)) + "hello", "", elsewhere},
		{On, one + "hello", "", nil},
		{On, "hello", "", elsewhere},
		{Off, one + "hello", "", elsewhere},
		{Unset, one + "hello", "", elsewhere},
		{Unset, "hello", "127.0.0.1:1", elsewhere},
	} {
		a, b := memnet.Pipe()
		io.WriteString(a, c.sent)
		a.(interface{ CloseWrite() error }).CloseWrite()
		opened, err := Open(b, c.mode, c.who, time.Minute)
		if (err == nil) != (c.from != "") {
			t.Errorf("mode %q, %q: %v", c.mode, c.sent, err)
		}
		if err != nil {
			continue
		}
		got, _ := io.ReadAll(opened)
		if opened.RemoteAddr().String() != c.from || !strings.HasSuffix(string(got), "hello") {
			t.Errorf("mode %q: %s sent %q, want %s", c.mode, opened.RemoteAddr(), got, c.from)
		}
	}
}

func TestListenerNeverWaitsInAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n memnet.Network
		ln, err := n.Listen(t.Context(), "tcp", "lb:1")
		if err != nil {
			t.Fatal(err)
		}
		ln = Listen(ln, On, netx.Networks{netip.MustParsePrefix("127.0.0.1/32")}, 10*time.Second)
		defer ln.Close()
		slow, err := n.DialContext(t.Context(), "tcp", "lb:1")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := c.Read(make([]byte, 1)); fault.KindOf(err) != fault.Timeout || time.Since(begun) != 10*time.Second {
			t.Errorf("a client that says nothing: %v after %v", err, time.Since(begun))
		}
		slow.Close()
		quick, err := n.DialContext(t.Context(), "tcp", "lb:1")
		if err != nil {
			t.Fatal(err)
		}
		quick.Write(header("192.0.2.1:1234", "192.0.2.2:443").AppendV2([]byte(nil)))
		quick.Write([]byte("x"))
		if c, err = ln.Accept(); err != nil || c.RemoteAddr().String() != "192.0.2.1:1234" {
			t.Errorf("%v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		quick.Close()
		c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, h := range []Header{header("192.0.2.1:1234", "192.0.2.2:443"), header("[2001:db8::1]:1", "[2001:db8::2]:65535"), {}} {
		f.Add(h.AppendV1(nil))
		f.Add(h.AppendV2(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if found, _ := Sniff(b); !found {
			t.Fatal("read and not recognised")
		}
		for _, again := range [][]byte{h.AppendV1(nil), h.AppendV2(nil)} {
			if back, err := Read(bytes.NewReader(again)); err != nil || back != h {
				t.Fatalf("%+v comes back as %+v, %v", h, back, err)
			}
		}
	})
}
