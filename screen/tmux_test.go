package screen_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/screen"
	"teleport/test/cluster"
)

// The oracle is a real terminal: what programs write to tmux is captured byte by
// byte, and tmux's own screen is compared with ours.
func TestAgainstTmux(t *testing.T) {
	tmux := cluster.Need(t, "tmux", "tmux")
	big := filepath.Join(t.TempDir(), "big.txt")
	var b strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&b, "line %d\tof\ta big file, %s日本語\n", i, strings.Repeat("long ", i%30))
	}
	if err := os.WriteFile(big, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		need map[string]string // program and Debian's package
		keys []string
	}{
		{"vim", map[string]string{"vim.tiny": "vim-tiny"}, []string{"vim.tiny -u NONE -N " + big, "G", "50%", "/line 77\r", "dd", "otyped 日本\x1b", "ztx", ":split\r", "p", "\x06"}},
		{"vim left", map[string]string{"vim.tiny": "vim-tiny"}, []string{"echo before; vim.tiny -u NONE -N " + big, "G", ":q!\r"}},
		{"less", map[string]string{"less": "less"}, []string{"less -R " + big, " ", " ", "b", "/line 99\r", "G", "kkk"}},
		{"top", map[string]string{"top": "procps"}, []string{"top -d 0.5 -b -n 1 | head -20; top -d 600"}},
		{"htop", map[string]string{"htop": "htop"}, []string{"htop -d 600", "\x1b[B"}},
		{"cat", nil, []string{"cat " + big}},
		{"colours", nil, []string{"ls --color=always -C /usr/bin | tail -30", "grep --color=always -n line.1 " + big + " | tail -5"}},
		{"editing", nil, []string{"echo one two three", "\x1b[A\x01xx \x05 four", "\x1b[A\x1b[D\x1b[D\x1b[Dinserted in the middle of a line that gets too long for the width of the window"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for program, pkg := range c.need {
				cluster.Need(t, program, pkg)
			}
			agree(t, tmux, c.keys)
		})
	}
}

type pane struct {
	t            *testing.T
	path, socket string
}

func (p pane) tmux(args ...string) string {
	p.t.Helper()
	cmd := exec.Command(p.path, append([]string{"-S", p.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

func agree(t *testing.T, tmux string, keys []string) {
	dir := t.TempDir()
	p := pane{t, tmux, filepath.Join(dir, "s")}
	p.tmux("new-session", "-d", "-x", "90", "-y", "28", "env", "PS1=> ", "TERM=xterm-256color", "LESSHISTFILE=-", "bash", "--norc", "--noprofile")
	defer p.tmux("kill-server")
	stream := filepath.Join(dir, "stream")
	p.still()
	p.tmux("pipe-pane", "cat > "+stream)
	p.tmux("send-keys", "-t", ":", "-l", "clear; tput reset\r")
	p.still()
	for i, k := range keys {
		if i == 0 || strings.HasPrefix(k, "grep") {
			k += "\r"
		}
		p.tmux("send-keys", "-t", ":", "-l", k)
		p.still()
	}
	// What tmux has shown may still be on its way into the file.
	var diff string
	if !cluster.Poll(20*time.Second, func() bool { diff = p.compare(stream); return diff == "" }) {
		t.Error(diff)
	}
}

// compare tells how tmux's screen differs from ours.
func (p pane) compare(stream string) string {
	want := p.tmux("capture-pane", "-p")
	at := p.tmux("display-message", "-p", "#{cursor_x} #{cursor_y}")
	data, err := os.ReadFile(stream)
	if err != nil {
		return err.Error()
	}
	s := screen.New(90, 28)
	_, _ = s.Write(data)
	for y, w := range strings.Split(strings.TrimSuffix(want, "\n"), "\n") {
		if got := s.Row(y); got != strings.TrimRight(w, " ") {
			return fmt.Sprintf("row %d:\n%q\nand tmux has\n%q", y, got, w)
		}
	}
	x, y, _ := s.Cursor()
	at = strings.Replace(at, "90 ", "89 ", 1) // where the next character wraps
	if got := fmt.Sprintf("%d %d\n", x, y); got != at {
		return fmt.Sprintf("the cursor is at %s, and tmux's at %s", got, at)
	}
	return ""
}

// still waits until the pane does not change any more.
func (p pane) still() {
	p.t.Helper()
	last, same := "", 0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		now := p.tmux("capture-pane", "-p")
		if same++; now != last {
			last, same = now, 0
		}
		if same >= 6 && now != "" {
			return
		}
	}
	p.t.Fatal("the pane does not come to rest")
}
