// Package terminal is this machine's end of a remote terminal session: raw mode
// and back, the window's size followed, escapes such as "~.", and standard input
// that can be let go of when the session ends.
package terminal

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"teleport/fault"
	"teleport/sshclient"
)

// ErrDisconnected is the cause with which a session is canceled when the person
// typed ~. at the start of a line.
var ErrDisconnected = fault.New(fault.Canceled, "disconnected")

// Terminal is the local terminal for the length of a session. One that is not
// there (streams that are files or pipes) is a terminal too: of a fixed size,
// without raw mode.
type Terminal struct {
	in    *os.File // nil: no local terminal to switch
	size  *os.File // where the size is asked
	notes io.Writer
	name  string
	modes ssh.TerminalModes

	saved   *term.State
	resized chan os.Signal
	sizes   chan sshclient.Size
	done    chan struct{}
	watcher sync.WaitGroup
}

// Is tells whether a stream is a terminal.
func Is(stream any) bool { return asTerminal(stream) != nil }

// Width is how many columns a terminal has, 0 for a stream that is none.
func Width(stream any) int {
	f := asTerminal(stream)
	if f == nil {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

func asTerminal(v any) *os.File {
	if f, ok := v.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// Open makes the local terminal raw and follows its size, until Close. Name is
// its type (TERM); notes is where messages of our own go.
func Open(in io.Reader, out, notes io.Writer, name string) (*Terminal, error) {
	t := &Terminal{in: asTerminal(in), size: asTerminal(out), notes: notes, name: name, done: make(chan struct{})}
	if t.size == nil {
		t.size = t.in
	}
	if name == "" {
		t.name = "dumb"
	}
	t.modes = readModes(t.in)
	if t.in != nil {
		saved, err := term.MakeRaw(int(t.in.Fd()))
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the terminal cannot be made raw")
		}
		t.saved = saved
	}
	t.follow()
	return t, nil
}

// Request describes the terminal to the server.
func (t *Terminal) Request() *sshclient.Terminal {
	size := t.dimensions()
	return &sshclient.Terminal{Term: t.name, Columns: size.Columns, Rows: size.Rows, Modes: t.modes, Sizes: t.sizes}
}

// Escapes filters what is typed; a char of 0, or input that is no terminal,
// filters nothing. disconnect is called with ErrDisconnected.
func (t *Terminal) Escapes(typed io.Reader, char byte, disconnect context.CancelCauseFunc) io.Reader {
	if t.in == nil || char == 0 {
		return typed
	}
	return newEscapes(typed, char, t, disconnect)
}

func (t *Terminal) dimensions() sshclient.Size {
	if t.size != nil {
		if w, h, err := term.GetSize(int(t.size.Fd())); err == nil && w > 0 && h > 0 {
			return sshclient.Size{Columns: w, Rows: h}
		}
	}
	return sshclient.Size{Columns: 80, Rows: 24}
}

// follow reports each change of the window's size.
func (t *Terminal) follow() {
	if t.size == nil {
		return
	}
	t.resized, t.sizes = make(chan os.Signal, 1), make(chan sshclient.Size)
	signal.Notify(t.resized, syscall.SIGWINCH)
	t.watcher.Go(func() {
		last := t.dimensions()
		for {
			select {
			case <-t.done:
				return
			case <-t.resized:
			}
			now := t.dimensions()
			if now == last {
				continue
			}
			select {
			case t.sizes <- now:
				last = now
			case <-t.done:
				return
			}
		}
	})
}

// Close gives the local terminal back as it was.
func (t *Terminal) Close() {
	if t.resized != nil {
		signal.Stop(t.resized)
	}
	close(t.done)
	t.watcher.Wait()
	if t.saved != nil {
		_ = term.Restore(int(t.in.Fd()), t.saved)
	}
}

// Suspend stops this process as ^Z would, and returns when it goes on, with the
// terminal raw again. Without a local terminal it does nothing.
func (t *Terminal) Suspend() {
	if t.in != nil {
		t.suspend()
	}
}

func (t *Terminal) suspend() {
	_ = term.Restore(int(t.in.Fd()), t.saved)
	_ = syscall.Kill(0, syscall.SIGTSTP)
	_, _ = term.MakeRaw(int(t.in.Fd())) // what was saved at first stays what is restored
	select {
	case t.resized <- syscall.SIGWINCH: // the window may have changed meanwhile
	default:
	}
}

// say writes a line of our own in the middle of a raw terminal.
func (t *Terminal) say(text string) { fmt.Fprintf(t.notes, "\r\n%s\r\n", text) }

// readModes copies the settings of the local terminal that people change:
// control characters, echo and flow control (RFC 4254 section 8).
func readModes(in *os.File) ssh.TerminalModes {
	m := ssh.TerminalModes{ssh.ECHO: 1, ssh.TTY_OP_ISPEED: 38400, ssh.TTY_OP_OSPEED: 38400}
	if in == nil {
		return m
	}
	ios, err := unix.IoctlGetTermios(int(in.Fd()), getTermios)
	if err != nil {
		return m
	}
	for _, c := range []struct {
		mode  uint8
		index int
	}{{ssh.VINTR, unix.VINTR}, {ssh.VQUIT, unix.VQUIT}, {ssh.VERASE, unix.VERASE}, {ssh.VKILL, unix.VKILL}, {ssh.VEOF, unix.VEOF},
		{ssh.VEOL, unix.VEOL}, {ssh.VSTART, unix.VSTART}, {ssh.VSTOP, unix.VSTOP}, {ssh.VSUSP, unix.VSUSP}, {ssh.VWERASE, unix.VWERASE}} {
		v := uint32(ios.Cc[c.index])
		if v == 0 {
			v = 255 // RFC 4254: disabled
		}
		m[c.mode] = v
	}
	m[ssh.IUTF8] = flag(uint64(ios.Iflag)&unix.IUTF8 != 0)
	m[ssh.IXON] = flag(uint64(ios.Iflag)&unix.IXON != 0)
	m[ssh.ECHO] = flag(uint64(ios.Lflag)&unix.ECHO != 0)
	return m
}

func flag(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}
