package e2e

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestMaxConnections: a person may have two connections in the whole cluster,
// whichever way they take: a tunnel, a host's own port, a server without an agent.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Proxies: 1})
	addr := "127.0.0.4:" + cluster.FreePort(t)
	own := w.AddAgent(t, "db-1", direct(w.Cluster, addr))
	w.startSSHD(t, "plain-1")
	w.TctlIn("kind: role\nversion: v7\nmetadata: {name: two}\nspec:\n  options: {max_connections: 2}\n"+
		"  allow: {logins: ['"+w.os.Name+"'], node_labels: {'*': '*'}}\n", "create", "-f").OK(t)
	w.TctlIn("kind: cluster_networking_config\nversion: v2\nmetadata: {name: cluster-networking-config}\nspec: {session_control_timeout: 30s}\n", "create", "-f").OK(t)
	bob := w.User(t, "bob", []string{"two"}, nil)
	bob.Login(t)
	config := write(t, filepath.Join(bob.Home, "ssh_config"), bob.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	_, port, _ := strings.Cut(addr, ":")
	const stay = "echo in; read line"
	ways := []struct {
		name string
		once func(command string) cluster.Result
		stay func() *cluster.Live
	}{
		{"tunnel", func(c string) cluster.Result { return bob.Tsh("ssh", w.to, c) }, func() *cluster.Live { return bob.StartTsh(t, "ssh", w.to, stay) }},
		{"direct", func(c string) cluster.Result {
			return bob.Run(cluster.Command{Path: "/usr/bin/ssh", Args: []string{"-F", config, "-p", port, "db-1", c}})
		}, func() *cluster.Live { return bob.Go(t, "/usr/bin/ssh", "-F", config, "-p", port, "db-1", stay) }},
		{"openssh", func(c string) cluster.Result { return bob.Tsh("ssh", w.os.Name+"@plain-1", c) }, func() *cluster.Live { return bob.StartTsh(t, "ssh", w.os.Name+"@plain-1", stay) }},
	}
	for _, way := range ways {
		cluster.Until(t, within, way.name+" to answer", func() bool { return way.once("true").Code == 0 })
	}
	const full = "2 connections of yours are open, as many as your roles allow (max_connections)"
	for i, refused := range ways {
		var open []*cluster.Live
		for j, way := range ways {
			if i != j {
				open = append(open, admitted(t, way.name, way.stay))
			}
		}
		r := refused.once("echo in").Exit(t, 255)
		contains(t, r.Stderr, full)
		if strings.Contains(r.Stdout, "in") {
			t.Errorf("%s: %s", refused.name, r)
		}
		leave(t, open[0])
		cluster.Until(t, within, "room for "+refused.name, func() bool { return refused.once("true").Code == 0 })
		leave(t, open[1])
	}
	cluster.Until(t, within, "the log to have a refusal of each way", func() bool {
		seen := map[any]bool{}
		for _, e := range w.Events(t, len(ways), "session.rejected", "bob") {
			if e["reason"] != full || e["max"] != 2.0 {
				t.Errorf("%v", e)
			}
			seen[e["server_hostname"]] = true
		}
		return len(seen) == len(ways)
	})
	w.slotsOfTheDead(t, bob, own, ways[1].stay, ways[0].once)
}

// admitted opens a connection that stays. The one before it may count a little longer
// than its client is there.
func admitted(t *testing.T, name string, stay func() *cluster.Live) *cluster.Live {
	t.Helper()
	live := stay()
	cluster.Until(t, within, "room for "+name, func() bool {
		if live.Ended() && strings.Contains(live.Errs.String(), "max_connections") {
			live = stay()
		}
		return strings.Contains(live.Out.String(), "in")
	})
	return live
}

// leave ends a command that waits for a line. A client that is killed would leave
// a session that it may come back to, and that counts.
func leave(t *testing.T, l *cluster.Live) {
	t.Helper()
	if _, err := io.WriteString(l.In, "\n"); err != nil {
		t.Fatal(err)
	}
	l.Wait(t)
}

// slotsOfTheDead kills the host of two connections, and then the auth service.
func (w *world) slotsOfTheDead(t *testing.T, bob *cluster.Person, host *cluster.Process, stay func() *cluster.Live, once func(string) cluster.Result) {
	t.Helper()
	for range 2 {
		admitted(t, "the host's own port", stay)
	}
	once("true").Exit(t, 255)
	host.Kill9(t)
	cluster.Until(t, within, "the slots of the dead host to run out", func() bool { return once("true").Code == 0 })
	host.Start(t)
	live := admitted(t, "the host's own port, started anew", stay)
	w.Auth.Kill9(t)
	contains(t, once("true").Exit(t, 255).Stderr, "max_connections")
	if out := w.ssh("echo without a limit").OK(t); out != "without a limit\n" {
		t.Errorf("%q", out)
	}
	if live.Ended() {
		t.Errorf("it ended with the auth service: %s", live.Errs)
	}
	w.Auth.Start(t)
	cluster.Until(t, within, "the auth service to count again", func() bool { return once("true").Code == 0 })
}
