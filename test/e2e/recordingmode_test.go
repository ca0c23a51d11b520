package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// stored is one line of tsh recordings ls.
type stored struct {
	ID    string `json:"session_id"`
	State string `json:"state"`
	User  string `json:"user"`
	Login string `json:"login"`
}

func (w *world) recordings(t *testing.T) map[string]stored {
	t.Helper()
	var list []stored
	if err := json.Unmarshal([]byte(w.alice.Tsh("recordings", "ls", "--format=json").OK(t)), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]stored{}
	for _, r := range list {
		if _, twice := out[r.ID]; twice {
			t.Errorf("%s is there twice", r.ID)
		}
		out[r.ID] = r
	}
	return out
}

// recordAt sets the cluster's recording mode and waits until sessions go by it.
func (w *world) recordAt(t *testing.T, mode string) {
	t.Helper()
	doc := write(t, filepath.Join(w.Dir, "mode.yaml"), "kind: session_recording_config\nversion: v2\nmetadata: {name: session-recording-config}\nspec: {mode: "+mode+"}\n")
	w.Tctl("create", "-f", doc).OK(t)
	n := 0
	if !cluster.Poll(within, func() bool {
		n++
		marker := fmt.Sprintf("true %s %d", mode, n)
		if w.alice.Tsh("ssh", w.to, marker).Code != 0 {
			return false
		}
		var last string
		cluster.Poll(within, func() bool {
			for _, e := range w.Events(t, 0, "session.start", "alice") {
				if e["initial_command"] == marker {
					last = fmt.Sprint(e["session_recording"])
				}
			}
			return last != ""
		})
		return last == mode
	}) {
		t.Fatalf("the mode never became %s", mode)
	}
}

// startOf returns the session.start of a command.
func (w *world) startOf(t *testing.T, command string) map[string]any {
	t.Helper()
	var found map[string]any
	if !cluster.Poll(within, func() bool {
		for _, e := range w.Events(t, 0, "session.start", "alice") {
			if e["initial_command"] == command {
				found = e
			}
		}
		return found != nil
	}) {
		t.Fatalf("no session.start of %q", command)
	}
	return found
}

// TestEachModeRecordsOnce: in every mode a session is recorded once, where the mode
// says, or never, and plays back; files, forwards and exit codes work in all.
func TestEachModeRecordsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Proxies: 1})
	proxy := w.Proxies[0]
	for _, mode := range []string{"off", "node", "node-sync", "proxy", "proxy-sync"} {
		w.recordAt(t, mode)
		command := "tty; echo terminal in " + mode
		contains(t, w.alice.Tsh("ssh", "-t", w.to, command).OK(t), "/dev/pts", "terminal in "+mode)
		r := w.alice.Tsh("ssh", w.to, "echo out; echo err >&2; exit 7 # "+mode).Exit(t, 7)
		if r.Stdout != "out\n" || !strings.Contains(r.Stderr, "err\n") {
			t.Errorf("%s: %s", mode, r)
		}
		e := w.startOf(t, command)
		if e["session_recording"] != mode || e["login"] != w.os.Name || e["server_id"] != w.node.UUID(t) {
			t.Errorf("%s: %v", mode, e)
		}
		id := fmt.Sprint(e["sid"])
		if mode == "off" {
			continue
		}
		cluster.Until(t, within, "the recording in mode "+mode, func() bool { return w.recordings(t)[id].State == "stored" })
		if got := w.recordings(t)[id]; got.User != "alice" || got.Login != w.os.Name {
			t.Errorf("%s: %+v", mode, got)
		}
		contains(t, w.alice.Tsh("play", id, "--format=text").OK(t), "/dev/pts", "terminal in "+mode)
		where := w.node.UUID(t)
		if strings.HasPrefix(mode, "proxy") {
			where = proxy.UUID(t)
		}
		cluster.Until(t, within, "the upload in mode "+mode, func() bool {
			n := 0
			for _, up := range w.Events(t, 0, "session.upload", "") {
				if up["sid"] == id {
					n++
					if up["server_id"] != where {
						t.Errorf("%s: recorded by %v", mode, up["server_id"])
					}
				}
			}
			return n == 1
		})
	}
	// Each session that should be is there, and no other.
	cluster.Until(t, within, "all recordings", func() bool {
		want := 0
		list := w.recordings(t)
		for _, e := range w.Events(t, 0, "session.start", "alice") {
			if e["session_recording"] == "off" {
				continue
			}
			want++
			if list[fmt.Sprint(e["sid"])].State != "stored" {
				return false
			}
		}
		return len(list) == want
	})
	if gaps := w.Events(t, 0, "session.recording.gap", ""); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}

// TestWhereProxiesRecord tries what people do where the proxy is the SSH server:
// their own tools, files, forwards, sharing; and that no way leads past it.
func TestWhereProxiesRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.recordAt(t, "proxy")
	addr := "127.0.0.2:" + cluster.FreePort(t)
	w.AddAgent(t, "db-1", direct(w.Cluster, addr))
	cluster.Until(t, within, "db-1 to answer", func() bool { return w.alice.Tsh("ssh", w.os.Name+"@db-1", "true").Code == 0 })
	config := write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	ssh := func(args ...string) cluster.Result {
		return w.alice.Run(cluster.Command{Path: cluster.Need(t, "ssh", "openssh-client"), Args: append([]string{"-F", config}, args...)})
	}
	for name, args := range map[string][]string{"ProxyCommand": {w.node.Name + "." + w.Name}, "-J": {"-J", w.ProxyAddr(), w.node.Name + "." + w.Name},
		"direct mode": {"db-1." + w.Name}} {
		if out := ssh(append(args, "echo out; exit 3")...).Exit(t, 3).Stdout; out != "out\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
	// Past the proxy, with everything that OpenSSH needs.
	host, port, _ := strings.Cut(addr, ":")
	past := ssh("-p", port, "-o", "ProxyCommand=none", "-o", "HostKeyAlias=db-1."+w.Name, "-o", "HostName="+host, "x."+w.Name, "true").Exit(t, 255)
	contains(t, past.Stderr, "sessions of this cluster are recorded at its proxies")

	local := write(t, filepath.Join(w.alice.Home, "file"), strings.Repeat("0123456789", 100_000))
	w.alice.Tsh("scp", local, w.to+":copied").OK(t)
	if b, err := os.ReadFile(filepath.Join(w.os.Home, "copied")); err != nil || len(b) != 1_000_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	echo := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "through the forward") })
	if out := ssh("-W", echo, w.node.Name+"."+w.Name).OK(t); out != "through the forward" {
		t.Errorf("-W: %q", out)
	}

	w.TctlIn(watcherRole, "create").OK(t)
	bob := w.User(t, "bob", []string{"watcher"}, nil)
	bob.Login(t)
	mine, his := newTmux(t, w), newTmux(t, w.as(bob))
	mine.start(t, [2]string{"90", "30"}, "ssh", "--invite=bob", w.to)
	mine.see(t, "$")
	id := session(t, bob, "running")
	found(t, bob, w.node.UUID(t))
	his.start(t, [2]string{"90", "30"}, "join", "--mode=peer", id)
	mine.see(t, "bob joined as peer")
	his.see(t, "you type too")
	his.keys(t, "echo by-$((40+2))", "Enter")
	mine.see(t, "by-42")
	his.see(t, "by-42")
	mine.keys(t, "exit", "Enter")
	mine.see(t, "ended with 0")
	his.see(t, "ended with")

	// Its recording says who was there, though the host has told it and the proxy recorded.
	cluster.Until(t, within, "the recording", func() bool { return w.recordings(t)[id].State == "stored" })
	contains(t, w.alice.Tsh("play", id, "--format=text").OK(t), "by-42")
	contains(t, w.alice.Tsh("play", id, "--format=json").OK(t), "session.join", "bob")

	live := w.alice.StartTsh(t, "ssh", w.to, "echo started; exec sleep 600")
	cluster.Until(t, within, "the session", func() bool { return strings.Contains(live.Out.String(), "started") })
	w.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
	if code := live.Wait(t); code == 0 {
		t.Error("it ended as if all were well")
	}
}
