package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestTheAuditLog finds a session in the log, exports it, and verifies the
// export where nothing but public keys is known.
func TestTheAuditLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.ssh("echo a-command-to-look-for; exit 3").Exit(t, 3)
	end := w.Events(t, 1, "session.end", "alice")[0]
	sid, _ := end["sid"].(string)
	exec := w.Events(t, 1, "exec", "alice")[0]
	if exec["sid"] != sid || exec["login"] != w.os.Name || exec["server_id"] != w.node.UUID(t) || !strings.Contains(exec["command"].(string), "a-command-to-look-for") {
		t.Errorf("%v", exec)
	}
	contains(t, w.Tctl("audit", "ls", "--session="+sid).OK(t), "session.start", "session.end", "exec", "alice")
	contains(t, w.Tctl("audit", "search", "a-command-to-look-for").OK(t), "exec")
	if out := w.Tctl("audit", "search", "nobody-typed-this", "--format=json").OK(t); strings.TrimSpace(out) != "[]" {
		t.Errorf("%s", out)
	}
	for _, e := range []string{"user.create", "user.login", "cert.create", "instance.join", "session.start"} {
		w.Events(t, 1, e, "")
	}

	export, keys := filepath.Join(w.Dir, "audit.jsonl"), filepath.Join(w.Dir, "keys.pem")
	w.Tctl("audit", "export", "-o", export).OK(t)
	write(t, keys, w.Tctl("audit", "keys").OK(t))
	offline := func(file string) cluster.Result {
		return cluster.Run(cluster.Command{Path: filepath.Join(w.Bin(), "tctl"), Args: []string{"audit", "verify", "--export=" + file, "--keys=" + keys},
			Env: []string{"HOME=/nonexistent", "PATH=/nonexistent"}, Dir: w.Dir})
	}
	contains(t, offline(export).OK(t), "verifies")
	b, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	lines := strings.SplitAfter(text, "\n")
	at := 0
	for i, l := range lines {
		if strings.Contains(l, `"exec"`) && strings.Contains(l, sid) {
			at = i
		}
	}
	if at == 0 {
		t.Fatal("the export has no exec event")
	}
	for what, forged := range map[string]string{
		"changed":  strings.Replace(text, w.os.Name, strings.Repeat("x", len(w.os.Name)), 1),
		"removed":  strings.Join(append(append([]string{}, lines[:at]...), lines[at+1:]...), ""),
		"repeated": strings.Join(append(append([]string{}, lines[:at+1]...), lines[at:]...), ""),
	} {
		r := offline(write(t, filepath.Join(w.Dir, what), forged))
		if r.Code == 0 || strings.Contains(r.Stdout, "The log verifies") {
			t.Errorf("an export with an event %s verifies: %s", what, r)
		}
	}

	// A saved checkpoint shows later that the log only grew.
	point := filepath.Join(w.Dir, "checkpoint")
	w.Tctl("audit", "verify", "--checkpoint="+point).OK(t)
	w.ssh("true").OK(t)
	w.Events(t, 2, "session.end", "alice")
	w.Tctl("audit", "verify", "--checkpoint="+point).OK(t)
}

// TestWhatGoesWrongAtTheDoor looks at refused log-ins.
func TestWhatGoesWrongAtTheDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	bob := w.User(t, "bob", []string{"access"}, nil) // who has codes of his own that are good
	login := func(p *cluster.Person, password, code string) cluster.Result {
		return p.TshIn(password+"\n"+code+"\n", "login", "--proxy="+w.ProxyAddr(), "--user="+p.Name, "--insecure", "--force")
	}
	used := w.alice.OTP(t)
	login(w.alice, w.alice.Password, used).OK(t)
	for what, r := range map[string]cluster.Result{
		"used code":      login(w.alice, w.alice.Password, used), // at once, while it is not too old
		"wrong password": login(bob, "not the password", bob.OTP(t)),
		"no such user":   w.alice.TshIn("x\n000000\n", "login", "--proxy="+w.ProxyAddr(), "--user=nobody", "--insecure"),
	} {
		if r.Code == 0 || strings.Count(strings.TrimSpace(r.Stderr), "ERROR") != 1 {
			t.Errorf("%s: %s", what, r)
		}
	}
	cluster.Until(t, within, "three failed log-ins in the log", func() bool {
		failed := 0
		for _, e := range w.Events(t, 3, "user.login", "") {
			if e["success"] != true {
				failed++
			}
		}
		return failed >= 3
	})
}
