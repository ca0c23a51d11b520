package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// terminal is a client at a terminal of its own, as in front of a person.
type terminal struct {
	cmd  *exec.Cmd
	tty  *os.File // the person's side: what is typed, and the screen
	seen []byte   // read, and not yet asked for
	buf  []byte
}

// atTerminal starts a command at a new terminal.
func atTerminal(cmd *exec.Cmd) (*terminal, error) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "TERM=xterm")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return nil, err
	}
	return &terminal{cmd: cmd, tty: tty, buf: make([]byte, 64<<10)}, nil
}

// within ends the client when what follows takes too long, and with it a read
// that waits: a terminal's reads have no deadline.
func (t *terminal) within(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, func() { _ = t.cmd.Process.Kill() }).Stop // it may have ended
}

// read returns what comes next on the screen, until the next call.
func (t *terminal) read() ([]byte, error) {
	if len(t.seen) > 0 {
		b := t.seen
		t.seen = nil
		return b, nil
	}
	n, err := t.tty.Read(t.buf)
	return t.buf[:n], err
}

// await reads until a text is shown, and keeps what comes behind it.
func (t *terminal) await(text string, within time.Duration) error {
	defer t.within(within)()
	var shown []byte
	for {
		b, err := t.read()
		shown = append(shown, b...)
		if i := bytes.Index(shown, []byte(text)); i >= 0 {
			t.seen = shown[i+len(text):]
			return nil
		}
		if err != nil {
			return fmt.Errorf("waiting for %q, the screen shows %.200q: %w", text, shown, err)
		}
	}
}

// ended says whether an error is how a terminal tells that its programs are gone.
func ended(err error) bool { return errors.Is(err, syscall.EIO) }

// close ends the client.
func (t *terminal) close() {
	_ = t.cmd.Process.Kill() // it may have ended
	_ = t.cmd.Wait()         // how it ends is of no interest
	t.tty.Close()
}
