package mysql_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/dbaccess"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/mysql"
	"teleport/fault"
	"teleport/types"
)

// A check ends in a login that is denied, which no server holds against the host.
func TestACheckIsALoginThatIsDenied(t *testing.T) {
	w, _ := world(t)
	denied := func() string { return shared.server.SQL(t, "show global status like 'Access_denied_errors'") }
	before := denied()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if after := denied(); after == before {
		t.Errorf("the server denied nobody: %s", after)
	}
}

func TestChecksOfWhatIsNoServer(t *testing.T) {
	for name, c := range map[string]struct{ says, want string }{
		"another protocol":     {"HTTP/1.1 400 Bad Request\r\n\r\n", "not how a login of MySQL goes"},
		"an old version":       {"\x02\x00\x00\x00\x09\x00", "version 9"},
		"too many connections": {"\x17\x00\x00\x00\xff\x10\x04Too many connections", "the server says: Too many connections"},
		"the end":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := fronting(t, answering(t, func(conn net.Conn) { _, _ = conn.Write([]byte(c.says)) }))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := w.Check(ctx); err == nil || !strings.Contains(fault.Message(err), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		w := fronting(t, answering(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := w.Check(ctx); fault.KindOf(err) != fault.Timeout {
			t.Errorf("%v", err)
		}
	})
}

// fronting is an agent before a server at an address.
func fronting(t *testing.T, addr string) *dbtest.World {
	t.Helper()
	return dbtest.New(t, mysql.Engine{}, types.DatabaseSpec{Protocol: "mysql", URI: addr}, func(*certtest.World) dbaccess.Credentials { return byPassword{} })
}

// answering serves connections by a function, until the test ends.
func answering(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { ln.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return ln.Addr().String()
}
