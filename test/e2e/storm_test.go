package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/test/cluster"
)

// TestOneLockEndsEverything: somebody has every kind of stream open at once, in
// three places, one of them without a connection, and one lock ends them all,
// and nobody else's.
func TestOneLockEndsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Agents: 2})
	w.startSSHD(t, "plain-1")
	w.TctlIn("kind: role\nversion: v7\nmetadata: {name: watcher}\nspec:\n  allow:\n    join_sessions: [{name: all, roles: ['*'], kinds: [ssh], modes: [observer]}]\n",
		"create", "-f").OK(t)
	bob := w.User(t, "bob", []string{"access"}, []string{w.os.Name})
	eve := w.User(t, "eve", []string{"access", "watcher"}, []string{w.os.Name})
	bob.Login(t)
	eve.Login(t)
	plain := w.os.Name + "@plain-1"
	cluster.Until(t, within, "plain-1 to answer", func() bool { return eve.Tsh("ssh", plain, "true").Code == 0 })
	const stay = "echo in; exec sleep 600"

	his := bob.StartTsh(t, "ssh", w.to, stay)
	his.WaitFor(t, "in\n")
	sid := fmt.Sprint(w.Events(t, 1, "session.start", "bob")[0]["sid"])
	cluster.Until(t, within, "bob's session among the live ones", func() bool { return strings.Contains(eve.Tsh("sessions", "ls", "--format=json").Stdout, sid) })
	target := listen(t, func(c net.Conn) { io.Copy(c, c) })
	port := cluster.FreePort(t)
	config := write(t, filepath.Join(eve.Home, "ssh_config"), eve.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	hers := map[string]*cluster.Live{
		"a command":                  eve.StartTsh(t, "ssh", w.to, stay),
		"a shell":                    eve.StartTsh(t, "ssh", "-t", w.to, stay),
		"one without an agent":       eve.StartTsh(t, "ssh", plain, stay),
		"a forward":                  eve.StartTsh(t, "ssh", "-N", "-L", port+":"+target, w.to),
		"files":                      eve.Go(t, cluster.Need(t, "sftp", "openssh-client"), "-F", config, w.node.Name+"."+w.Name),
		"a seat in bob's session":    eve.StartTsh(t, "join", sid),
		"one that is lost, and kept": eve.StartTsh(t, "ssh", w.os.Name+"@"+w.Agents[1].Name, stay),
	}
	for name, l := range hers {
		switch name {
		case "a forward":
			cluster.Until(t, within, "the forward", func() bool { c, err := net.Dial("tcp", "127.0.0.1:"+port); return err == nil && c.Close() == nil })
		case "files":
			io.WriteString(l.In, "pwd\n")
			l.WaitFor(t, "Remote working directory")
		case "a seat in bob's session":
			l.WaitFor(t, "eve joined as observer")
		default:
			l.WaitFor(t, "in")
		}
	}
	through, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	io.WriteString(through, "ping")
	if _, err := io.ReadFull(through, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := hers["one that is lost, and kept"].Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hers["one that is lost, and kept"].Wait(t)
	delete(hers, "one that is lost, and kept")
	w.Events(t, 1, "session.detach", "eve")

	w.Tctl("lock", "--user=eve", "--message=laptop stolen").OK(t)
	for name, l := range hers {
		if name == "files" { // sftp hears of it, and waits for its next command
			cluster.Until(t, within, "sftp to hear of it", func() bool { return strings.Contains(l.Errs.String(), "laptop stolen") })
			l.In.Close()
			l.Wait(t)
			continue
		}
		if code := l.Wait(t); code == 0 {
			t.Errorf("%s ended as if all were well: %s", name, l.Errs)
		}
		if name == "one without an agent" { // in which nobody can say it later
			contains(t, l.Errs.String(), "laptop stolen")
		}
	}
	if n, err := through.Read(make([]byte, 1)); err == nil {
		t.Errorf("the forward still carries %d bytes", n)
	}
	w.endedByTheLock(t, "eve")
	if his.Ended() {
		t.Errorf("bob's session ended with it: %s", his.Errs)
	}
	w.Events(t, 1, "session.leave", "eve")
	for _, to := range []string{w.to, plain} {
		contains(t, eve.Tsh("ssh", to, "true").Exit(t, 255).Stderr, "laptop stolen")
	}
}

// endedByTheLock holds the log to its order: the lock, and then the end of
// everything that had begun, and nothing that begins.
func (w *world) endedByTheLock(t *testing.T, user string) {
	t.Helper()
	locked := w.Events(t, 1, "lock.created", "")
	at := when(t, locked[len(locked)-1])
	var begun, cut []map[string]any
	open := map[any]bool{}
	if !cluster.Poll(within, func() bool { // agents and proxies ship in their own time
		clear(open)
		begun, cut = w.Events(t, 5, "session.start", user), nil
		for _, e := range begun {
			open[e["sid"]] = true
		}
		for _, e := range w.Events(t, 5, "session.end", user) {
			if delete(open, e["sid"]); !when(t, e).Before(at) { // the others were over before
				cut = append(cut, e)
			}
		}
		return len(cut) >= 5 && len(open) == 0
	}) {
		t.Errorf("the lock ended %d sessions; still open are %v", len(cut), open)
	}
	for _, e := range begun {
		if when(t, e).After(at) {
			t.Errorf("begun after the lock: %v", e)
		}
	}
	for _, e := range cut {
		if e["reason"] != "lock" {
			t.Errorf("ended for another reason: %v", e)
		}
	}
	for _, e := range w.Events(t, 4, "client.disconnect", user) {
		if !strings.Contains(fmt.Sprint(e["reason"]), "lock") {
			t.Errorf("disconnected for another reason: %v", e)
		}
	}
}

// when is the time of an event. As text it has no zeros at its end, and no order.
func when(t *testing.T, e map[string]any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(e["time"]))
	if err != nil {
		t.Fatal(err)
	}
	return at
}
