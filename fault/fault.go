// Package fault is the one vocabulary of errors that leave a process: a kind
// that programs branch on, a message that is safe to show to the person who
// asked, an optional hint that says what to do next, and a cause that stays in
// the log. Inside a package plain %w wrapping is enough; a fault is made where
// the reason is understood. Kinds survive every wire: errors.Is(err,
// fault.NotFound) works on both sides of an RPC.
package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Kind classifies a failure. A Kind is itself an error, so that
// errors.Is(err, fault.NotFound) reads naturally. The text form is stable: it
// travels on wires and appears in JSON output.
type Kind string

// The closed list of kinds. Whatever is not one of them is Internal.
const (
	Internal        Kind = "internal"        // our own defect or an unclassified cause; the message shown is generic
	NotFound        Kind = "not_found"       // the named thing does not exist, or the caller may not know that it does
	AlreadyExists   Kind = "already_exists"  // create of a name that is taken
	Denied          Kind = "denied"          // identified, and not allowed
	Unauthenticated Kind = "unauthenticated" // no identity, or one that is expired or untrusted
	Invalid         Kind = "invalid"         // the request itself is wrong; retrying cannot help
	Conflict        Kind = "conflict"        // the revision compared is no longer current, or a name is ambiguous
	Limit           Kind = "limit"           // a quota, rate or size bound was reached
	Unavailable     Kind = "unavailable"     // a part that is needed does not answer; retrying may help
	Timeout         Kind = "timeout"         // a deadline passed
	Canceled        Kind = "canceled"        // the caller went away
	Unimplemented   Kind = "unimplemented"   // the peer does not know this verb
	Untrusted       Kind = "untrusted"       // a certificate, pin or signature does not verify
)

// Kinds returns the closed list, for tables that map kinds onto a wire.
func Kinds() []Kind {
	return []Kind{Internal, NotFound, AlreadyExists, Denied, Unauthenticated, Invalid, Conflict,
		Limit, Unavailable, Timeout, Canceled, Unimplemented, Untrusted}
}

// Error makes a Kind usable as the target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Valid reports whether k is one of the closed list.
func (k Kind) Valid() bool {
	for _, x := range Kinds() {
		if k == x {
			return true
		}
	}
	return false
}

// Error is a classified failure. Message is shown to users and must hold no
// secret; the cause is for logs only and never crosses a wire.
type Error struct {
	Kind    Kind
	Message string
	Hint    string
	cause   error
}

// New makes an error of a kind with a user-safe message.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap gives a cause a kind and a user-safe message. Wrap of nil is nil, typed
// as error so that callers can return it directly.
func Wrap(cause error, kind Kind, format string, args ...any) error {
	if cause == nil {
		return nil
	}
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), cause: cause}
}

// WithHint adds the one line that tells the person what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Advise adds the hint to an error of any type; one that is no fault keeps its
// kind and message as KindOf and Message see them. Advise of nil is nil.
func Advise(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e.WithHint(format, args...)
	}
	return &Error{Kind: KindOf(err), Message: Message(err), Hint: fmt.Sprintf(format, args...), cause: err}
}

// Error renders message and cause, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is matches kinds.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf classifies any error. Contexts and file-system errors that were not
// classified at their source get their natural kind; the rest is Internal.
func KindOf(err error) Kind {
	var e *Error
	var k Kind
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	case errors.As(err, &k):
		return k
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	}
	return Internal
}

// Refusal reports whether an error says no to whoever asks. All others say that
// something is broken or late, or that somebody left.
func Refusal(err error) bool {
	switch KindOf(err) {
	case Denied, Unauthenticated, Untrusted, Invalid, NotFound, Limit:
		return true
	}
	return false
}

// Message returns what may be shown to a user: the message of the outermost
// fault, or a generic line for an unclassified error.
func Message(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	switch KindOf(err) {
	case Canceled:
		return "canceled"
	case Timeout:
		return "timed out"
	}
	return "internal error"
}

// Hint returns the advice of the outermost fault that carries one, or "". Of
// errors that were joined, the first with an advice counts.
func Hint(err error) string {
	for err != nil {
		if e, ok := err.(*Error); ok && e.Hint != "" {
			return e.Hint
		}
		if list, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range list.Unwrap() {
				if hint := Hint(e); hint != "" {
					return hint
				}
			}
			return ""
		}
		err = errors.Unwrap(err)
	}
	return ""
}
