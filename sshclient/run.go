package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"teleport/fault"
)

// Terminal asks for one on the host.
type Terminal struct {
	Term          string
	Columns, Rows int
	Modes         ssh.TerminalModes
	// Sizes delivers changes of the window; it may be nil, and is read until the
	// command ends.
	Sizes <-chan Size
}

// Size is that of a window, in characters.
type Size struct{ Columns, Rows int }

// Command is what to run on the host: a login shell when Line is empty.
type Command struct {
	Line           string
	Subsystem      string // run this instead
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       *Terminal
	// Env is asked for, and may be refused by the host without an error.
	Env []EnvVar
	// Agent, when set, is forwarded.
	Agent agent.Agent
	// Signals are sent to the command: names of RFC 4254 §6.10 without "SIG".
	Signals <-chan string
}

// EnvVar is one variable.
type EnvVar struct{ Name, Value string }

// ExitError says that a command ran and did not end well. Code is 128+n for a
// signal, as shells have it.
type ExitError struct {
	Code   int
	Signal string // "" when it exited by itself
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "killed by signal " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Run runs a command to its end. The error is an *ExitError when it ended with
// anything but 0, and a fault when it did not run or the connection was lost.
func (c *Client) Run(ctx context.Context, cmd Command) error {
	s, err := c.ssh.NewSession()
	if err != nil {
		return opened(err)
	}
	defer s.Close()
	defer c.leaveWith(ctx, s.Close)()
	if err := c.prepare(s, cmd); err != nil {
		return err
	}
	stdin, err := s.StdinPipe()
	if err != nil {
		return err
	}
	if err := begin(s, cmd); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go follow(s, cmd, done)
	go func() {
		// Not waited for: a read from a person's terminal ends when it ends.
		if cmd.Stdin != nil {
			largePieces{stdin}.ReadFrom(cmd.Stdin) //nolint:errcheck // a command may stop reading
		}
		stdin.Close()
	}()
	return ended(ctx, s.Wait())
}

// answerWithin is how long a host may take to end what its client has left: more than
// a program gets that does not heed the hang-up.
const answerWithin = 3 * time.Second

// leaveWith ends a channel with ctx, and where the host does not answer to that, the
// connection, until the returned function is called.
func (c *Client) leaveWith(ctx context.Context, end func() error) (ended func()) {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		go end() //nolint:errcheck // it may wait for a host that does not read, which the end of the connection ends
		t := time.NewTimer(answerWithin)
		defer t.Stop()
		select {
		case <-over:
		case <-t.C:
			c.ssh.Close()
		}
	})
	return func() { stop(); close(over) }
}

func (c *Client) prepare(s *ssh.Session, cmd Command) error {
	s.Stdout, s.Stderr = inLargePieces(cmd.Stdout), inLargePieces(cmd.Stderr)
	for _, e := range cmd.Env {
		s.Setenv(e.Name, e.Value) //nolint:errcheck // the host may refuse variables
	}
	if cmd.Agent != nil {
		if err := c.serveAgent(cmd.Agent); err != nil {
			return err
		}
		if err := agent.RequestAgentForwarding(s); err != nil {
			return fault.Wrap(err, fault.Denied, "the host does not allow agent forwarding")
		}
	}
	if t := cmd.Terminal; t != nil {
		if err := s.RequestPty(t.Term, t.Rows, t.Columns, t.Modes); err != nil {
			return fault.Wrap(err, fault.Denied, "the host gives no terminal")
		}
	}
	return nil
}

// inLargePieces makes io.Copy read much at once where there is much: each read
// from a channel may answer with a window message, and each from a file waits for
// it first. A nil writer stays nil.
func inLargePieces(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return largePieces{w}
}

type largePieces struct{ io.Writer }

const (
	firstPiece = 4 << 10
	mostPiece  = 256 << 10
)

// ReadFrom implements io.ReaderFrom. It reads on behind an error that comes with bytes:
// a channel whose connection is gone has more of them, and the window message that each
// read answers with fails.
func (l largePieces) ReadFrom(r io.Reader) (total int64, err error) {
	buf := make([]byte, firstPiece)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			w, werr := l.Write(buf[:n])
			total += int64(w)
			if werr != nil {
				return total, werr
			}
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil && n == 0:
			return total, err
		case n == len(buf) && n < mostPiece:
			buf = make([]byte, 2*n)
		}
	}
}

func begin(s *ssh.Session, cmd Command) error {
	var err error
	switch {
	case cmd.Subsystem != "":
		err = s.RequestSubsystem(cmd.Subsystem)
	case cmd.Line != "":
		err = s.Start(cmd.Line)
	default:
		err = s.Shell()
	}
	return fault.Wrap(err, fault.Denied, "the host refused to start the command")
}

// follow passes on window sizes and signals while the command runs.
func follow(s *ssh.Session, cmd Command, done <-chan struct{}) {
	var sizes <-chan Size
	if cmd.Terminal != nil {
		sizes = cmd.Terminal.Sizes
	}
	signals := cmd.Signals
	for {
		var err error
		select {
		case <-done:
			return
		case z, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			err = s.WindowChange(z.Rows, z.Columns)
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			err = s.Signal(ssh.Signal(name))
		}
		if err != nil {
			return
		}
	}
}

func ended(ctx context.Context, err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &ExitError{Code: exit.ExitStatus(), Signal: exit.Signal()}
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fault.Wrap(err, fault.Unavailable, "the connection to the host was lost")
}

// opened explains why a channel was not opened: the server's own words.
func opened(err error) error {
	var oc *ssh.OpenChannelError
	if errors.As(err, &oc) {
		kind := fault.Unavailable
		if oc.Reason == ssh.Prohibited {
			kind = fault.Denied
		}
		return fault.Wrap(err, kind, "%s", oneLine(oc.Message))
	}
	return fault.Wrap(err, fault.Unavailable, "the connection to the host was lost")
}

// SFTP opens a file session. Closing it leaves the connection open.
func (c *Client) SFTP() (*sftp.Client, error) {
	f, err := sftp.NewClient(c.ssh, sftp.UseConcurrentReads(true), sftp.UseConcurrentWrites(true))
	return f, fault.Wrap(err, fault.Denied, "the host does not serve files")
}

const refusalPrefix = "ERROR: "

// cutRefusal finds the line in which a server of ours says why.
func cutRefusal(banner string) (string, bool) {
	why, ok := strings.CutPrefix(strings.TrimSpace(banner), refusalPrefix)
	return oneLine(why), ok
}

// oneLine makes the other side's words safe to print.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s[:min(len(s), 512)])
}
