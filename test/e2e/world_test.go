package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
)

// within bounds what a test waits for; it measures nothing.
const within = time.Minute

// browserLimit bounds a walk through pages in Chromium.
const browserLimit = 10 * time.Minute

// retryAfter is after how long a try that may come too early is repeated.
const retryAfter = 3 * time.Second

// world is a cluster of auth, proxy and one agent, with a person who is logged in
// and may become an ordinary account of this machine.
type world struct {
	*cluster.Cluster
	alice *cluster.Person
	os    *cluster.OSUser
	node  *cluster.Process
	to    string // login@node
}

func newWorld(t *testing.T, o cluster.Opts) *world {
	t.Helper()
	o.Agents = max(1, o.Agents)
	c := cluster.New(t, o)
	w := &world{Cluster: c, node: c.Agents[0], os: c.OSUser(t, "/bin/sh")}
	w.to = w.os.Name + "@" + w.node.Name
	w.alice = c.User(t, "alice", []string{"access", "editor", "auditor"}, []string{w.os.Name})
	w.alice.Login(t)
	for _, node := range c.Agents {
		found(t, w.alice, node.Name)
	}
	return w
}

// found waits until the proxy of a person's log-in leads to nodes: what auth knows, the
// proxies hear of in their own time. It begins no session.
func found(t *testing.T, p *cluster.Person, nodes ...string) {
	t.Helper()
	for _, name := range nodes {
		cluster.Until(t, within, "the way to "+name, func() bool { return p.Tsh("proxy", "ssh", name).Code == 0 })
	}
}

// reached is found for databases, whose agents know by then what the person may: they
// refuse a user whom no role has.
func reached(t *testing.T, p *cluster.Person, databases ...string) {
	t.Helper()
	for _, name := range databases {
		cluster.Until(t, within, "the way to "+name, func() bool {
			r := p.TshIn("PING\n", "db", "connect", name, "--db-user=stranger", "--db-name=orders")
			return strings.Contains(r.Stdout+r.Stderr, "has stranger in db_users")
		})
	}
}

// ssh runs a command on the node as the ordinary account.
func (w *world) ssh(args ...string) cluster.Result {
	return w.alice.Tsh(append([]string{"ssh", w.to}, args...)...)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}

// listen takes a free port of this machine and answers each connection by f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); f(conn) }()
		}
	}()
	return ln.Addr().String()
}

// answers waits until a program of this machine listens on a port.
func answers(t *testing.T, what, port string) {
	t.Helper()
	cluster.Until(t, patience, what+" to listen", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil && conn.Close() == nil
	})
}

// aMinuteLater is the second part of a story, for when what was good for a minute has
// ended. It is a test of its own, so that others take the place of this one meanwhile.
func aMinuteLater(t *testing.T, f func(*testing.T)) {
	t.Helper()
	ends := time.Now().Add(time.Minute)
	t.Run("a minute later", func(t *testing.T) {
		t.Parallel()
		cluster.Rest(t, ends)
		f(t)
	})
}
