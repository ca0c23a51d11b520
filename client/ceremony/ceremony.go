// Package ceremony asks a person for what only a person knows. On a terminal
// it prompts, and secrets are not echoed; when input is no terminal each answer
// is one line, so that scripts can log in. It never waits for more after the
// end of input, and gives the terminal back as it was when it is interrupted.
package ceremony

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"teleport/fault"
	"teleport/types"
)

// maxAnswer bounds one answer, in bytes.
const maxAnswer = 4096

// pollInterval is how soon an interrupted prompt notices, in milliseconds.
const pollInterval = 100

// Prompter asks on one pair of streams. It is for one goroutine at a time.
type Prompter struct {
	in  io.Reader
	out io.Writer
	tty *os.File // nil when input is no terminal
}

// New asks on in and writes prompts to out, usually stderr, so that output can
// be piped while questions are still seen.
func New(in io.Reader, out io.Writer) *Prompter {
	p := &Prompter{in: in, out: out}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.tty = f
	}
	return p
}

// Interactive tells whether somebody sits at a terminal.
func (p *Prompter) Interactive() bool { return p.tty != nil }

// Line asks for one line of text that may be seen. An empty answer is refused.
func (p *Prompter) Line(ctx context.Context, label string) (string, error) {
	p.prompt(label)
	return p.answer(ctx, label)
}

// Password asks for a secret without echo. An empty answer is refused.
func (p *Prompter) Password(ctx context.Context, label string) (types.Secret, error) {
	restore, err := p.hide() // before the prompt: who sees it may type at once
	if err != nil {
		return types.Secret{}, err
	}
	p.prompt(label)
	text, err := p.answer(ctx, label)
	restore()
	return types.NewSecret(text), err
}

// OTP asks for a one-time code: digits, spaces between them allowed.
func (p *Prompter) OTP(ctx context.Context, label string) (types.Secret, error) {
	p.prompt(label)
	text, err := p.answer(ctx, label)
	if err != nil {
		return types.Secret{}, err
	}
	code := strings.ReplaceAll(text, " ", "")
	if len(code) < 6 || len(code) > 8 || strings.Trim(code, "0123456789") != "" {
		return types.Secret{}, fault.New(fault.Invalid, "a one-time code has six to eight digits").
			WithHint("read it from your authenticator app")
	}
	return types.NewSecret(code), nil
}

// Confirm asks a yes-or-no question. Without a terminal the answer is no:
// scripts say so by a flag.
func (p *Prompter) Confirm(ctx context.Context, question string) (bool, error) {
	if p.tty == nil {
		return false, nil
	}
	fmt.Fprintf(p.out, "%s [y/N] ", question)
	text, err := p.readLine(ctx)
	if err != nil {
		return false, err
	}
	text = strings.ToLower(strings.TrimSpace(text))
	return text == "y" || text == "yes", nil
}

func (p *Prompter) prompt(label string) {
	if p.tty != nil {
		fmt.Fprintf(p.out, "%s: ", label)
	}
}

// answer reads one line that is not empty.
func (p *Prompter) answer(ctx context.Context, label string) (string, error) {
	text, err := p.readLine(ctx)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return "", fault.New(fault.Invalid, "no answer to %q: the input ended", label).
				WithHint("without a terminal, give each answer as one line on standard input")
		}
		return "", err
	}
	if strings.TrimSpace(text) == "" {
		return "", fault.New(fault.Invalid, "no answer to %q", label)
	}
	if !utf8.ValidString(text) {
		return "", fault.New(fault.Invalid, "the answer to %q is not UTF-8", label)
	}
	return text, nil
}

// readLine takes bytes singly: what follows the line belongs to whoever reads
// next, such as the command that runs after the log-in.
func (p *Prompter) readLine(ctx context.Context) (string, error) {
	var line bytes.Buffer
	one := make([]byte, 1)
	for line.Len() < maxAnswer {
		if err := p.wait(ctx); err != nil {
			return "", err
		}
		n, err := p.in.Read(one)
		if n == 1 && one[0] == '\n' {
			return strings.TrimSuffix(line.String(), "\r"), nil
		}
		line.Write(one[:n])
		if err == io.EOF && line.Len() > 0 {
			return line.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", fault.New(fault.Limit, "an answer is longer than %d bytes", maxAnswer)
}

// wait returns when a file has input or ctx ended. Other readers are read
// directly: they are in-memory or pipes of a test.
func (p *Prompter) wait(ctx context.Context) error {
	f, isFile := p.in.(*os.File)
	for {
		if ctx.Err() != nil {
			return fault.Wrap(context.Cause(ctx), fault.Canceled, "canceled")
		}
		if !isFile {
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, pollInterval)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// hide turns the echo off; restore turns it on again and ends the line that
// the person's Enter did not show.
func (p *Prompter) hide() (restore func(), err error) {
	if p.tty == nil {
		return func() {}, nil
	}
	fd := int(p.tty.Fd())
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the terminal's echo cannot be turned off")
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the terminal's echo cannot be turned off")
	}
	return func() {
		_ = unix.IoctlSetTermios(fd, setTermios, old)
		fmt.Fprintln(p.out)
	}, nil
}
