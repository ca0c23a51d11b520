package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

// onStock is a world with a stock server that has joined, which people use by
// their own OpenSSH.
func onStock(t *testing.T) *openssh {
	t.Helper()
	w := newWorld(t, cluster.Opts{})
	server := w.stockSSHD(t, "127.0.0.6")
	w.joinSSHD(t, server, filepath.Join(t.TempDir(), "teleport"), "--nodename=stock-1", "--address="+server.addr).OK(t)
	w.to = w.os.Name + "@stock-1"
	cluster.Until(t, within, "stock-1 to answer", func() bool { return w.alice.Tsh("ssh", w.to, "true").Code == 0 })
	s := &openssh{world: w, host: "stock-1." + w.Name}
	s.config = write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	return s
}

// told waits until the log has an event of a type that a test looks for, and wants
// that all of the type are of the stock server.
func (s *openssh) told(t *testing.T, typ, what string, is func(map[string]any) bool) {
	t.Helper()
	cluster.Until(t, within, typ+", "+what, func() bool {
		found := false
		for _, e := range s.Events(t, 0, typ, "alice") {
			if e["server_sub_kind"] != "openssh" || e["server_hostname"] != "stock-1" || e["login"] != s.os.Name {
				t.Errorf("%v", e)
			}
			found = found || is(e)
		}
		return found
	})
}

// TestForwardsOnAStockServer uses -L and -R of both clients, and the key agent
// of whoever forwards it, on a server without an agent; the log tells of each.
func TestForwardsOnAStockServer(t *testing.T) {
	t.Parallel()
	s := onStock(t)
	curl := cluster.Need(t, "curl", "curl")
	target := listen(t, func(c net.Conn) {
		b := make([]byte, 4096)
		if _, err := c.Read(b); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n") // curl judges
		}
	})
	ssh := cluster.Need(t, "ssh", "openssh-client")
	for _, flag := range []string{"-L", "-R"} {
		for name, start := range map[string]func(spec string) *cluster.Live{
			"tsh": func(spec string) *cluster.Live { return s.alice.StartTsh(t, "ssh", "-N", flag, spec, s.to) },
			"ssh": func(spec string) *cluster.Live {
				return s.alice.Go(t, ssh, "-F", s.config, "-N", "-o", "ExitOnForwardFailure=yes", flag, spec, s.host)
			},
		} {
			here := "127.0.0.1:" + cluster.FreePort(t)
			live := start(here + ":" + target)
			cluster.Until(t, within, name+" "+flag, func() bool {
				if live.Ended() { // a busy machine was too slow for its handshake
					live = start(here + ":" + target)
				}
				return s.alice.Run(cluster.Command{Path: curl, Args: []string{"-sS", "-m", "10", "http://" + here + "/"}}).Stdout == "hello\n"
			})
			if err := live.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			live.Wait(t)
			direction, addr := "local", target
			if flag == "-R" {
				direction, addr = "remote", here
			}
			for _, code := range []string{"T3003I", "T3003S"} {
				s.told(t, "port", flag+" of "+name, func(e map[string]any) bool {
					return e["code"] == code && e["direction"] == direction && e["addr"] == addr
				})
			}
		}
	}
	s.agentOnStock(t)
}

// agentOnStock uses a key of this person's agent on the server.
func (s *openssh) agentOnStock(t *testing.T) {
	t.Helper()
	sock, key := filepath.Join(s.alice.Home, "agent"), filepath.Join(s.alice.Home, "key")
	agent := s.alice.Go(t, cluster.Need(t, "ssh-agent", "openssh-client"), "-D", "-a", sock)
	s.alice.Run(cluster.Command{Path: "/usr/bin/ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-C", "carried-along", "-f", key}}).OK(t)
	env := []string{"SSH_AUTH_SOCK=" + sock}
	cluster.Until(t, within, "the agent", func() bool {
		return s.alice.Run(cluster.Command{Path: "/usr/bin/ssh-add", Args: []string{"-q", key}, Env: env}).Code == 0
	})
	for name, args := range map[string][]string{"/usr/bin/ssh": {"-F", s.config, s.host}, filepath.Join(s.Bin(), "tsh"): {"ssh", s.to}} {
		n := len(args) - 1
		with := slices.Insert(slices.Clone(args), n, "-A")
		cluster.Until(t, within, name+" with the agent", func() bool {
			return strings.Contains(s.alice.Run(cluster.Command{Path: name, Args: append(with, "ssh-add -l"), Env: env}).Stdout, "carried-along")
		})
		cluster.Until(t, within, name+" without it", func() bool {
			r := s.alice.Run(cluster.Command{Path: name, Args: append(slices.Clone(args), "echo agent=$SSH_AUTH_SOCK"), Env: env})
			if r.Code == 0 && r.Stdout != "agent=\n" {
				t.Errorf("%s: without -A there is %q", name, r.Stdout)
			}
			return r.Code == 0
		})
	}
	if agent.Ended() {
		t.Error("the agent ended")
	}
	s.told(t, "agent.forward", "of alice", func(e map[string]any) bool { return e["success"] == true })
}

// TestFilesOnAStockServer: each file that is copied is in the log, by SFTP and by
// the old protocol.
func TestFilesOnAStockServer(t *testing.T) {
	t.Parallel()
	s := onStock(t)
	tree := filepath.Join(s.alice.Home, "tree")
	for _, name := range []string{"one", "two words", "sub/three"} {
		write(t, filepath.Join(tree, name), "the file "+name)
	}
	for flag, dir := range map[string]string{"-s": "by-sftp", "-O": "by-scp"} {
		s.run(t, "scp", "openssh-client", "-q", "-r", flag, tree, s.host+":"+dir).OK(t)
		back := filepath.Join(s.alice.Home, "back"+flag)
		s.run(t, "scp", "openssh-client", "-q", "-r", flag, s.host+":"+dir, back).OK(t)
		for _, name := range []string{"one", "two words", "sub/three"} {
			if b, err := os.ReadFile(filepath.Join(back, name)); err != nil || string(b) != "the file "+name {
				t.Errorf("%s: %q, %v", flag, b, err)
			}
			if flag == "-s" {
				for _, write := range []bool{true, false} {
					s.told(t, "sftp", name, func(e map[string]any) bool {
						flags, _ := e["flags"].(float64)
						return e["code"] == "TS001I" && strings.HasSuffix(fmt.Sprint(e["path"]), dir+"/"+name) && (int(flags)&2 != 0) == write
					})
				}
			}
		}
		s.run(t, "scp", "openssh-client", "-q", flag, s.host+":no-such-file", back).Exit(t, 1)
	}
	batch := write(t, filepath.Join(s.alice.Home, "batch"), "put "+filepath.Join(tree, "one")+" no-such-directory/one\n")
	s.run(t, "sftp", "openssh-client", "-b", batch, s.host).Exit(t, 1)
	s.told(t, "sftp", "what fails", func(e map[string]any) bool {
		return strings.HasSuffix(fmt.Sprint(e["path"]), "no-such-directory/one") && e["code"] == "TS001E"
	})
	for code, path := range map[string]string{"T3005I": "by-scp", "T3004I": "by-scp", "T3004E": "no-such-file"} {
		s.told(t, "scp", code, func(e map[string]any) bool { return e["code"] == code && e["path"] == path })
	}
	local := write(t, filepath.Join(s.alice.Home, "file"), "by tsh")
	s.alice.Tsh("scp", local, s.to+":by-tsh").OK(t)
	s.told(t, "sftp", "of tsh", func(e map[string]any) bool { return e["code"] == "TS016I" && e["target_path"] == "by-tsh" }) // written beside, then renamed
	s.told(t, "sftp_summary", "of tsh", func(e map[string]any) bool {
		text, err := json.Marshal(e["file_transfer_stats"])
		return err == nil && strings.Contains(string(text), "by-tsh") && strings.Contains(string(text), `"bytes_written":6`)
	})
}

// TestALiveSessionOnAStockServer is listed, says what it is, and is joined by
// nobody: the server knows nothing of parties. Who tries is told so.
func TestALiveSessionOnAStockServer(t *testing.T) {
	t.Parallel()
	s := onStock(t)
	live := s.alice.StartTsh(t, "ssh", "-t", s.to, "echo started; exec sleep 600")
	live.WaitFor(t, "started")
	id := session(t, s.alice, "running")
	var list []struct {
		Spec struct {
			SubKind  string `json:"server_sub_kind"`
			Hostname string
			Login    string
		}
	}
	out := s.alice.Tsh("sessions", "ls", "--format=json").OK(t)
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Spec.SubKind != "openssh" || list[0].Spec.Hostname != "stock-1" || list[0].Spec.Login != s.os.Name {
		t.Errorf("%v: %s", err, out)
	}
	contains(t, s.alice.Tsh("sessions", "ls").OK(t), id, s.to)
	for _, mode := range []string{"observer", "peer", "moderator"} {
		r := s.alice.Tsh("join", "--mode="+mode, id)
		if r.Code == 0 || !strings.Contains(r.Stderr, "sessions on a server without an agent cannot be joined") || strings.Count(r.Stderr, "ERROR") != 1 {
			t.Errorf("%s: %s", mode, r)
		}
	}
	if live.Ended() {
		t.Errorf("the session ended: %s%s", live.Out, live.Errs)
	}
	s.Tctl("lock", "--session="+id, "--message=enough").OK(t)
	if code := live.Wait(t); code == 0 || !strings.Contains(live.Out.String()+live.Errs.String(), "enough") {
		t.Errorf("ended with %d: %s%s", code, live.Out, live.Errs)
	}
	cluster.Until(t, within, "the list to be empty", func() bool { return strings.TrimSpace(s.alice.Tsh("sessions", "ls", "--format=json").OK(t)) == "[]" })
}
