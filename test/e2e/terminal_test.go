package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// tmux is a real terminal with a server of its own.
type tmux struct {
	w      *world
	path   string
	socket string
}

func newTmux(t *testing.T, w *world) *tmux {
	t.Helper()
	m := &tmux{w: w, path: cluster.Need(t, "tmux", "tmux"), socket: filepath.Join(w.alice.Home, "tmux")}
	t.Cleanup(func() { m.do("kill-server") })
	return m
}

func (m *tmux) do(args ...string) cluster.Result {
	return m.w.alice.Run(cluster.Command{Path: m.path, Args: append([]string{"-S", m.socket, "-f", "/dev/null"}, args...)})
}

func (m *tmux) screen(t *testing.T) string { t.Helper(); return m.do("capture-pane", "-p").OK(t) }

func (m *tmux) keys(t *testing.T, keys ...string) {
	t.Helper()
	m.do(append([]string{"send-keys"}, keys...)...).OK(t)
}

func (m *tmux) see(t *testing.T, text string) {
	t.Helper()
	if !cluster.Poll(within, func() bool { return strings.Contains(m.screen(t), text) }) {
		t.Fatalf("%q does not show on the screen:\n%s", text, m.screen(t))
	}
}

// ask types a line again and again until the answer shows.
func (m *tmux) ask(t *testing.T, line, answer string) {
	t.Helper()
	if !cluster.Poll(within, func() bool {
		m.keys(t, line, "Enter")
		return cluster.Poll(retryAfter, func() bool { return strings.Contains(m.screen(t), answer) })
	}) {
		t.Fatalf("%q does not answer %q:\n%s", line, answer, m.screen(t))
	}
}

// TestAShellInARealTerminal types into a session: an editor, a changed size, an
// interrupt, the end.
func TestAShellInARealTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	cluster.Need(t, "vim.tiny", "vim-tiny")
	m := newTmux(t, w)
	m.do("new-session", "-d", "-x", "90", "-y", "30", filepath.Join(w.Bin(), "tsh")+" ssh "+w.to+"; echo ended with $?; cat").OK(t)
	m.see(t, "$")
	m.keys(t, "PS1='ready> '; tty; stty size", "Enter")
	m.see(t, "30 90")
	m.see(t, "/dev/pts/")

	m.do("resize-window", "-x", "120", "-y", "40").OK(t)
	m.ask(t, "stty size", "40 120") // the new size comes after the keys, or before

	m.keys(t, "clear; vim.tiny -u NONE -n note.txt", "Enter")
	m.see(t, `"note.txt"`)
	m.keys(t, "i", "written in vim", "Escape")
	m.see(t, "written in vim")
	m.do("resize-window", "-x", "100", "-y", "24").OK(t)
	m.ask(t, ":set columns? lines?", "lines=24")
	m.keys(t, "Enter", ":wq", "Enter")
	m.see(t, "ready>")
	if b, err := os.ReadFile(filepath.Join(w.os.Home, "note.txt")); err != nil || string(b) != "written in vim\n" {
		t.Errorf("vim wrote %q, %v", b, err)
	}

	m.keys(t, "clear; cat", "Enter", "C-c")
	m.see(t, "^C\nready>") // what is typed before the shell asks again may be thrown away
	m.keys(t, "echo interrupted=$?", "Enter")
	m.see(t, "interrupted=130")
	m.keys(t, "exit 5", "Enter")
	m.see(t, "ended with 5")
	w.Events(t, 1, "resize", "")
	w.Events(t, 1, "session.end", "alice")
}

// TestCopyOneGigabyte copies a file of 1 GB there and back.
func TestCopyOneGigabyte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	const size = 1_000_000_000
	local, back := filepath.Join(w.alice.Home, "big"), filepath.Join(w.alice.Home, "back")
	sum := func(path string) string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h := sha256.New()
		if n, err := io.Copy(h, f); err != nil || n != size {
			t.Fatalf("%s: %d bytes, %v", path, n, err)
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	f, err := os.Create(local)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := sum(local)
	scp := func(from, to string) {
		t.Helper()
		w.alice.Run(cluster.Command{Path: filepath.Join(w.Bin(), "tsh"), Args: []string{"scp", "-q", from, to}, Limit: 4 * within}).OK(t)
	}
	scp(local, w.to+":big")
	if err := os.Remove(local); err != nil {
		t.Fatal(err)
	}
	remote := filepath.Join(w.os.Home, "big")
	if got := sum(remote); got != want {
		t.Errorf("there it is %s, not %s", got, want)
	}
	scp(w.to+":big", back)
	if err := os.Remove(remote); err != nil {
		t.Fatal(err)
	}
	if got := sum(back); got != want {
		t.Errorf("back it is %s, not %s", got, want)
	}
}

// TestSmallCopies are the ways in which scp is called.
func TestSmallCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	dir := filepath.Join(w.alice.Home, "tree")
	write(t, filepath.Join(dir, "a.txt"), "a")
	write(t, filepath.Join(dir, "sub", "b.txt"), "b")
	w.alice.Tsh("scp", "-r", dir, w.to+":").OK(t)
	w.ssh("cat tree/a.txt tree/sub/b.txt").OK(t)
	w.alice.Tsh("scp", w.to+":tree/*.txt", w.alice.Home).OK(t)
	if b, err := os.ReadFile(filepath.Join(w.alice.Home, "a.txt")); err != nil || string(b) != "a" {
		t.Errorf("%q %v", b, err)
	}
	// What the account may not read or write, nobody gets.
	secret := write(t, filepath.Join(w.Dir, "secret"), "for root")
	r := w.alice.Tsh("scp", w.to+":"+secret, w.alice.Home)
	if r.Code == 0 || strings.Contains(r.Stderr, "goroutine") {
		t.Errorf("%s", r)
	}
	if r = w.alice.Tsh("scp", dir+"/a.txt", w.to+":/etc/a.txt"); r.Code == 0 {
		t.Errorf("%s", r)
	}
	w.Events(t, 1, "sftp", "alice")
}
