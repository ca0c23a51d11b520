package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"teleport/fault"
)

// Exit codes of teleport, tsh and tctl. docs/exit-codes.md tells what each means
// to a script.
const (
	ExitOK          = 0
	ExitFailed      = 1   // a failure of no other kind, mostly our own defect
	ExitUsage       = 2   // wrong use, configuration or file: as it is, it can never work
	ExitNotLoggedIn = 3   // no identity, or one that has ended
	ExitDenied      = 4   // identified and not allowed, or the peer cannot be trusted
	ExitNotFound    = 5   // no such thing, or several of that name
	ExitUnavailable = 6   // something needed does not answer or has no room; trying again may help
	ExitInterrupted = 130 // by the person, as a shell reports SIGINT
)

// ExitCode chooses the code for an error, ExitOK for none.
func ExitCode(err error) int {
	switch fault.KindOf(err) {
	case "":
		return ExitOK
	case fault.Invalid, fault.AlreadyExists:
		return ExitUsage
	case fault.Unauthenticated:
		return ExitNotLoggedIn
	case fault.Denied, fault.Untrusted:
		return ExitDenied
	case fault.NotFound, fault.Conflict:
		return ExitNotFound
	case fault.Unavailable, fault.Timeout, fault.Limit:
		return ExitUnavailable
	case fault.Canceled:
		return ExitInterrupted
	}
	return ExitFailed
}

// longest is how many characters of a message are shown: it may quote what a
// person typed, or pasted.
const longest = 600

// Error prints a failure for people: one line that says what is wrong, and one
// that says what to do about it, where there is an answer to that. What came
// from elsewhere cannot move the cursor. Line breaks of a message stay,
// indented: an ambiguous name lists its candidates.
func Error(w io.Writer, err error) {
	var b strings.Builder
	b.WriteString("ERROR: " + lines(Message(err)) + "\n")
	if hint := fault.Hint(err); hint != "" {
		b.WriteString("hint: " + lines(hint) + "\n")
	}
	_, _ = io.WriteString(w, b.String()) // there is nobody left to tell
}

// Message is what Error says is wrong. An error that is no fault is one of this
// machine's files or flags: it holds no secret, and its text is all there is to say.
func Message(err error) string {
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Message(err)
	}
	return err.Error()
}

func lines(s string) string {
	parts := strings.Split(clip(strings.TrimSpace(s)), "\n")
	for i, p := range parts {
		parts[i] = Clean(p)
	}
	return strings.Join(parts, "\n  ")
}

// clip leaves out the middle of a text that nobody would read.
func clip(s string) string {
	n := utf8.RuneCountInString(s)
	if n <= longest {
		return s
	}
	r := []rune(s)
	return fmt.Sprintf("%s … (%d characters) … %s", string(r[:longest/2]), n-longest, string(r[n-longest/2:]))
}
