package tshcmd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"teleport/cli/tshcmd"
)

// person sits at a terminal in which tsh runs.
type person struct {
	t      *testing.T
	screen *bufio.Reader
	keys   *os.File
	tty    *os.File
	code   chan int
}

func (w *world) atTerminal(args ...string) *person {
	w.t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { keys.Close(); tty.Close() })
	if err := pty.Setsize(keys, &pty.Winsize{Rows: 31, Cols: 101}); err != nil {
		w.t.Fatal(err)
	}
	p := &person{t: w.t, screen: bufio.NewReader(keys), keys: keys, tty: tty, code: make(chan int, 1)}
	go func() {
		p.code <- tshcmd.Run(w.t.Context(), args, tty, tty, tty, []string{"TELEPORT_HOME=" + w.home, "TERM=xterm", "USER=root"})
	}()
	return p
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, text); err != nil {
		p.t.Fatal(err)
	}
}

// sees reads until the text stands on the screen.
func (p *person) sees(text string) {
	p.t.Helper()
	var seen bytes.Buffer
	for !strings.Contains(seen.String(), text) {
		b, err := p.screen.ReadByte()
		if err != nil {
			p.t.Fatalf("waiting for %q, the screen shows %q: %v", text, seen.String(), err)
		}
		seen.WriteByte(b)
	}
}

func (p *person) ends(code int) {
	p.t.Helper()
	if c := <-p.code; c != code {
		p.t.Errorf("ended with %d, not %d", c, code)
	}
	m, err := unix.IoctlGetTermios(int(p.tty.Fd()), unix.TCGETS)
	if err != nil || m.Lflag&unix.ECHO == 0 || m.Lflag&unix.ICANON == 0 {
		p.t.Errorf("the terminal was not given back: %v", err)
	}
}

func TestInteractiveShell(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	p := w.atTerminal("ssh", "web-1")
	p.types("stty size\n")
	p.sees("31 101\r\n")
	if err := pty.Setsize(p.keys, &pty.Winsize{Rows: 42, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	// This process is not the terminal's own, so the kernel does not signal it.
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	p.types("until stty size | grep '42 77'; do :; done\n")
	p.sees("42 77\r\n")
	p.types("exit 9\n")
	p.ends(9)
}

func TestEscapes(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	p := w.atTerminal("ssh", "web-1")
	p.types("echo in'side'\n")
	p.sees("inside\r\n")
	p.types("\r~?")
	p.sees("disconnect")
	p.types("echo ~~ til'de'\n")
	p.sees("tilde\r\n")
	p.types("\r~.")
	p.sees("Connection to web-1 closed.")
	p.ends(255)
}

func TestLoginAtTerminal(t *testing.T) {
	w := newWorld(t)
	p := w.atTerminal("login", "--proxy="+w.addr, "--user=alice", "--insecure")
	p.sees("Password of alice at example: ")
	p.types(password + "\n")
	p.sees("Code of your authenticator app: ")
	p.types(otpCode + "\n")
	p.sees("> Proxy:")
	p.ends(0)
}

// asTsh makes the test binary be tsh, for programs that start it.
const asTsh = "TSH_TEST_AS_TSH"

// TestMain lets the test binary be the tsh that goes to the background, and the
// one that OpenSSH starts.
func TestMain(m *testing.M) {
	if os.Getenv("TSH_READY_FD") != "" || os.Getenv(asTsh) != "" {
		os.Exit(tshcmd.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

func TestBackground(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	notes, err := os.Create(filepath.Join(t.TempDir(), "notes"))
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	// The forwarding leads back to the cluster's own port, which is as good as any.
	env := []string{"TELEPORT_HOME=" + w.home}
	code := tshcmd.Run(t.Context(), []string{"ssh", "-f", "-N", "-L", "0:" + w.addr, "root@web-1"}, nil, notes, notes, env)
	text, err := os.ReadFile(notes.Name())
	if err != nil || code != 0 {
		t.Fatalf("%d, %v\n%s", code, err, text)
	}
	var port int
	if _, err := fmt.Sscanf(string(text), "Allocated port %d here", &port); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if r := w.tsh("", "ssh", "-f", "root@web-1"); r.code != 255 || !strings.Contains(r.err, "-f needs") {
		t.Errorf("without a command: %+v", r)
	}
	code = tshcmd.Run(t.Context(), []string{"ssh", "-f", "root@nowhere", "true"}, nil, notes, notes, env)
	if text, _ = os.ReadFile(notes.Name()); code != 255 || !strings.Contains(string(text), "no server is called") {
		t.Errorf("unknown server: %d\n%s", code, text)
	}
}
