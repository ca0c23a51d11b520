package native_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"teleport/session"
	"teleport/types"
)

// A client of Redis begins with TLS, and hears why it is refused when it has said
// something.
func TestRedis(t *testing.T) {
	w := newWorld(t)
	ask := func(own *tls.Certificate, say, want string) (got string) {
		t.Helper()
		c, err := tls.Dial("tcp", w.redis, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
		for r := bufio.NewReader(c); !strings.Contains(got, want); {
			b, err := r.ReadByte()
			if err != nil {
				break
			}
			got += string(b)
		}
		return got
	}
	const ping = "*1\r\n$4\r\nPING\r\n"
	for name, c := range map[string]struct {
		own       *tls.Certificate
		say, want string
	}{
		"through to the agent": {w.shop(), "\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00", "server_version"}, // which speaks PostgreSQL here
		"another database":     {w.certificate(types.DatabaseRoute{User: "alice"}.Route("other")), ping, "-NOPERM access denied\r\n"},
		"for everything":       {w.certificate(nil), ping, "-NOPERM the certificate is not for one database"},
		"a way for another":    {w.shop(), ping, "-ERR the database shop speaks postgres, and here is a way for redis"},
	} {
		w.speaks = map[bool]string{true: "postgres"}[name == "a way for another"]
		if got := ask(c.own, c.say, c.want); !strings.Contains(got, c.want) {
			w.mu.Lock()
			t.Errorf("%s: %q, want %q: %v", name, got, c.want, w.errs)
			w.mu.Unlock()
		}
	}
	if _, err := tls.Dial("tcp", w.redis, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("nobody was let in")
	}
}

// A client of Redis that is cut between two answers hears why.
func TestACutOfRedisSaysWhy(t *testing.T) {
	w := newWorld(t)
	own := w.shop()
	for _, c := range []struct{ said, want string }{{"+OK\r\n", "-NOPERM the session was ended by the moderator eve\r\n"}, {"$100\r\nhalf of it", ""}} {
		w.agent.raw = c.said
		conn, err := tls.Dial("tcp", w.redis, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, len(c.said))); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		x := w.streams[len(w.streams)-1]
		w.mu.Unlock()
		x.cut(session.EndedByModerator("eve"))
		if got, _ := io.ReadAll(conn); string(got) != c.want {
			t.Errorf("after %q: %q", c.said, got)
		}
		conn.Close()
	}
}
