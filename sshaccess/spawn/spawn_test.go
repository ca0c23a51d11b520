package spawn_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/fault"
	"teleport/sshaccess/spawn"
)

// host is a made-up /etc.
func host(t *testing.T, files map[string]string) *spawn.Accounts {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &spawn.Accounts{Root: root}
}

// run runs a command as an account and returns what it wrote.
func run(t *testing.T, spec spawn.Spec) (string, spawn.Status) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	spec.Stdin, spec.Stdout, spec.Stderr = null, w, w
	p, err := spawn.Start(spec)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	st, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a reaped process was signalled: %v", err)
	}
	return string(out), st
}

func nobody() spawn.Account {
	return spawn.Account{Name: "nobody", UID: 65534, GID: 65534, Groups: []uint32{65534, 60, 5}, Home: "/", Shell: "/bin/sh"}
}

func TestStart(t *testing.T) {
	out, st := run(t, spawn.Spec{Account: nobody(), Umask: 0o027, Env: []string{"A=b"}, Command: "id -u; id -g; id -G; umask; env; exit 5"})
	if st.Code != 5 || !strings.HasPrefix(out, "65534\n65534\n65534 5 60\n0027\n") && !strings.HasPrefix(out, "65534\n65534\n65534 60 5\n0027\n") {
		t.Errorf("%q %+v", out, st)
	}
	if strings.Contains(out, "GOPATH") || !strings.Contains(out, "A=b\n") {
		t.Errorf("environment: %q", out)
	}
	out, st = run(t, spawn.Spec{Account: nobody(), Command: "kill -9 $$"})
	if st.Signal != syscall.SIGKILL || st.Code != 137 {
		t.Errorf("%q %+v", out, st)
	}
}

func TestHomeMissing(t *testing.T) {
	a := nobody()
	a.Home = "/nonexistent"
	if out, _ := run(t, spawn.Spec{Account: a, Command: "pwd"}); out != "/\n" {
		t.Errorf("%q", out)
	}
	a.Home = "/root" // there, and closed to this user
	if out, _ := run(t, spawn.Spec{Account: a, Command: "pwd"}); out != "/\n" {
		t.Errorf("%q", out)
	}
}

func TestNoShell(t *testing.T) {
	a := nobody()
	a.Shell = "/nonexistent/sh"
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := spawn.Start(spawn.Spec{Account: a, Stdin: null, Stdout: null, Stderr: null}); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

func TestLookup(t *testing.T) {
	a := host(t, map[string]string{
		"passwd": "root:x:0:0::/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:\nbroken:x:y:1:::\n",
		"group":  "root:x:0:\nwheel:x:10:bob,ann\nnot:x:11:anna\ntty:x:5:\n",
	})
	acc, err := a.Lookup(context.Background(), "ann")
	if err != nil || acc.Shell != "/bin/sh" || len(acc.Groups) != 2 || acc.Groups[1] != 10 {
		t.Errorf("%+v %v", acc, err)
	}
	for login, kind := range map[string]fault.Kind{"zed": fault.NotFound, "-x": fault.Invalid, "a b": fault.Invalid, "a;id": fault.Invalid, "": fault.Invalid, "../x": fault.Invalid, strings.Repeat("a", 65): fault.Invalid} {
		if _, err := a.Lookup(context.Background(), login); !errors.Is(err, kind) {
			t.Errorf("%q: %v", login, err)
		}
	}
	if _, err := a.Lookup(context.Background(), "broken"); err == nil {
		t.Error("a broken entry was used")
	}
	if a.TTYGroup() != 5 {
		t.Error("tty group")
	}
}

func TestMayLogin(t *testing.T) {
	now := time.Unix(20000*86400, 0)
	shadow := "ok:!:1:0:99999:7:::\ncloud:*:1:0:9:7:::\nlocked:!$6$salt$hash:1::::::\nold:x:1::::20000:\n:\nfuture:x:1::::20001:\nbad:x:1::::z:\n"
	shadow = strings.ReplaceAll(shadow, "old:x:1::::20000:", "old:x:1:0:9:7::20000:")
	shadow = strings.ReplaceAll(shadow, "future:x:1::::20001:", "future:x:1:0:9:7::20001:")
	shadow = strings.ReplaceAll(shadow, "bad:x:1::::z:", "bad:x:1:0:9:7::z:")
	a := host(t, map[string]string{"shadow": shadow})
	for name, ok := range map[string]bool{"ok": true, "cloud": true, "locked": false, "old": false, "future": true, "bad": false, "absent": true} {
		if err := a.MayLogin(spawn.Account{Name: name, UID: 1000}, now); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	a = host(t, map[string]string{"nologin": "back\x1b at noon\n"})
	err := a.MayLogin(spawn.Account{Name: "ann", UID: 1000}, now)
	if err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "at noon") {
		t.Errorf("%v", err)
	}
	if err := a.MayLogin(spawn.Account{Name: "root"}, now); err != nil {
		t.Errorf("root is kept out by nologin: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	a := host(t, map[string]string{"login.defs": "# x\nENV_PATH PATH=/a:/b\nENV_SUPATH\tPATH=/s\nUMASK 027\nMAIL_DIR /var/mail\n"})
	if d := a.Defaults(); d.Path != "/a:/b" || d.RootPath != "/s" || d.Umask != 0o027 || d.MailDir != "/var/mail" {
		t.Errorf("%+v", d)
	}
	if d := host(t, nil).Defaults(); d.Umask != 0o022 || d.Path == "" {
		t.Errorf("%+v", d)
	}
}
