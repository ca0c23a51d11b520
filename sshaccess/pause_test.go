package sshaccess_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/recorder"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// counting is a recorder that counts what it is given.
type counting struct {
	recorder.Off
	mu   sync.Mutex
	n    int
	grew chan struct{}
}

func (c *counting) Start(ctx context.Context, i recorder.Info) (recorder.Recording, error) {
	r, err := c.Off.Start(ctx, i)
	return counted{r, c}, err
}

type counted struct {
	recorder.Recording
	c *counting
}

func (r counted) Show(_ recorder.Stream, p []byte) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.n += len(p)
	close(r.c.grew)
	r.c.grew = make(chan struct{})
	return nil
}

// wait returns when at least n bytes were taken, with how many were.
func (c *counting) wait(t *testing.T, n int) int {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		c.mu.Lock()
		got, grew := c.n, c.grew
		c.mu.Unlock()
		if got >= n {
			return got
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("%d bytes were recorded, not %d", got, n)
		}
	}
}

// paused begins a moderated session that prints "ready", and has its moderator
// leave; the script runs when goOn is called. The owner's seat shows notices
// among the output, which is there alone too.
func paused(t *testing.T, script string, terminal bool) (w *world, rec *counting, owner *seat, output *view, sid string, goOn func()) {
	t.Helper()
	rec, output = &counting{grew: make(chan struct{})}, newView()
	w = newWorld(t, guests("*"), moderated("pause"), func(w *world) { w.cfg.Recorder = rec })
	file := filepath.Join(t.TempDir(), "go")
	_, key := w.user("alice", "root")
	c := w.mustClient("root", key)
	owner = w.seat(func(ctx context.Context, in io.Reader, out io.Writer) error {
		cmd := sshclient.Command{Line: "echo ready; until [ -e " + file + " ]; do sleep 0.02; done; " + script, Stdin: in,
			Stdout: io.MultiWriter(out, output), Stderr: out}
		if terminal {
			cmd.Terminal = &sshclient.Terminal{Term: "xterm", Columns: 100, Rows: 30}
		}
		return c.Run(ctx, cmd)
	})
	owner.wait(t, `waits for 1 person`)
	sid = w.sid(t)
	mod := w.join("mo", sid, "moderator")
	owner.wait(t, `ready`)
	mod.types(t, "\x03")
	owner.wait(t, `the session pauses and waits for 1 person to join as moderator .*; until then nothing is shown, and what is typed goes nowhere`)
	return w, rec, owner, output, sid, func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Output of a pause is recorded at once and kept, up to a bound at which the
// program waits; all of it is shown, in order, when the session goes on.
func TestOutputWaitsForTheEndOfAPause(t *testing.T) {
	const last, most = 300_000, 256<<10 + 64<<10 + len("ready\r\n")
	for name, terminal := range map[string]bool{"terminal": true, "pipes": false} {
		t.Run(name, func(t *testing.T) {
			w, rec, owner, output, sid, goOn := paused(t, "seq 1 300000; echo en''d; exit 5", terminal)
			goOn()
			rec.wait(t, 192<<10)
			if strings.Contains(owner.text(), "\n1000\r") || strings.Contains(owner.text(), "\n1000\n") {
				t.Fatal("it is shown in the pause")
			}
			watcher := w.join("eve", sid, "observer") // who is not whom it waits for
			watcher.wait(t, `the session waits for 1 person`)
			if n := rec.wait(t, 0); n > most {
				t.Errorf("%d bytes were taken in the pause", n)
			}
			mod := w.join("mo", sid, "moderator")
			owner.wait(t, `\nend\r?\n`)
			mod.wait(t, `\nend\r\n`)
			var exit *sshclient.ExitError
			if err := owner.ended(t); !errors.As(err, &exit) || exit.Code != 5 {
				t.Errorf("it ended with %v", err)
			}
			lines := strings.Fields(output.text())
			for i, line := range lines[1 : len(lines)-1] { // between "ready" and "end"
				if line != strconv.Itoa(i+1) {
					t.Fatalf("line %d is %q", i+1, line)
				}
			}
			if len(lines) != last+2 {
				t.Errorf("%d lines were shown", len(lines))
			}
		})
	}
}

// What has ended in a pause ends for its owner when the session goes on, or when
// the owner has waited enough.
func TestAProgramEndsInAPause(t *testing.T) {
	for name, waits := range map[string]bool{"and its owner waits": true, "and its owner does not": false} {
		t.Run(name, func(t *testing.T) {
			w, _, owner, _, sid, goOn := paused(t, "echo la''st; exit 5", true)
			goOn()
			owner.wait(t, `what ran has ended; the rest of its output waits for the end of the pause \(Ctrl-C gives it up\)`)
			if strings.Contains(owner.text(), "last") {
				t.Error("it is shown in the pause")
			}
			if waits {
				mod := w.join("mo", sid, "moderator")
				mod.wait(t, `last\r\n`)
				owner.wait(t, `last\r\n`)
			} else {
				owner.types(t, "x\x03")
			}
			var exit *sshclient.ExitError
			if err := owner.ended(t); !errors.As(err, &exit) || exit.Code != 5 {
				t.Errorf("it ended with %v", err)
			}
			if strings.Contains(owner.text(), "last") != waits {
				t.Errorf("it was shown: %s", owner.text())
			}
		})
	}
}

// A lock ends a session that pauses, with what waits in it, as any other.
func TestALockEndsAPause(t *testing.T) {
	for name, terminal := range map[string]bool{"terminal": true, "pipes": false} {
		t.Run(name, func(t *testing.T) {
			w, rec, owner, _, sid, goOn := paused(t, "seq 1 300000; exec sleep 1000", terminal)
			goOn()
			rec.wait(t, 192<<10)
			l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{Session: sid}, Message: "stop"}}
			w.policy.change(func() { w.policy.locks = []*types.Lock{l} })
			owner.ended(t)
			if strings.Contains(owner.text(), "1000") || !strings.Contains(owner.text(), "stop") {
				t.Errorf("the owner was shown %d bytes", len(owner.text()))
			}
			if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "lock" {
				t.Errorf("it ended for %q", end.Reason)
			}
		})
	}
}

// Who asks is told whom the session needs.
func TestRequirementsAreListed(t *testing.T) {
	asks := sshclient.EnvVar{Name: types.RequirementsEnv, Value: "yes"}
	w := newWorld(t, guests("*"), moderated("pause"))
	owner := w.shell("alice", "env", false, asks)
	owner.wait(t, `role "dev", any one of:\r\n +1 person to join as moderator \(policy "four eyes"\), where contains\(user.spec.roles, "guest"\) holds\r\n +When one of them leaves, the session pauses\.`)
	w.join("mo", w.sid(t), "moderator")
	owner.ended(t)
	if strings.Contains(owner.text(), types.RequirementsEnv) {
		t.Error("it is part of the environment")
	}
	w = newWorld(t, guests("*"))
	owner = w.shell("alice", "true", false, asks)
	owner.wait(t, `Nobody has to be present in this session\.`)
	owner.ended(t)
}
