package terminal

import (
	"context"
	"io"
)

// escapes filters what a person types: after a line end (and at the start) the
// escape character and one more mean us, not the server.
//
//	~.   disconnect      ~^Z  suspend      ~?  list these      ~~  the character itself
type escapes struct {
	src    io.Reader
	char   byte
	term   escapeTarget
	cancel context.CancelCauseFunc

	lineStart bool
	pending   bool // the escape character was typed, its command not yet
	out       []byte
}

// escapeTarget is what escapes act on.
type escapeTarget interface {
	suspend()
	say(text string)
}

func newEscapes(src io.Reader, char byte, t escapeTarget, cancel context.CancelCauseFunc) *escapes {
	return &escapes{src: src, char: char, term: t, cancel: cancel, lineStart: true}
}

const ctrlZ = 0x1a

// Read implements io.Reader.
func (e *escapes) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		n, err := e.src.Read(p)
		if stop := e.filter(p[:n]); stop {
			e.cancel(ErrDisconnected)
			return 0, io.EOF
		}
		if err != nil && len(e.out) == 0 {
			return 0, err
		}
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

// filter moves typed bytes to out and carries out escapes. It reports whether
// the person disconnected.
func (e *escapes) filter(typed []byte) (stop bool) {
	out := make([]byte, 0, len(typed)+1)
	for _, b := range typed {
		switch {
		case e.pending:
			e.pending = false
			var keep []byte
			if keep, stop = e.command(b); stop {
				return true
			}
			out = append(out, keep...)
			e.lineStart = len(keep) == 0 || isLineEnd(b)
		case e.lineStart && b == e.char:
			e.pending = true
		default:
			out = append(out, b)
			e.lineStart = isLineEnd(b)
		}
	}
	e.out = out
	return false
}

// command returns what the server is to see of an escape.
func (e *escapes) command(b byte) (keep []byte, stop bool) {
	switch b {
	case '.':
		return nil, true
	case ctrlZ:
		e.term.suspend()
		return nil, false
	case '?':
		c := string(e.char)
		e.term.say("Escapes, at the start of a line:\r\n  " + c + ".   disconnect\r\n  " + c + "^Z  suspend tsh\r\n  " + c + "?   this list\r\n  " + c + c + "   the character itself")
		return nil, false
	case e.char:
		return []byte{b}, false
	}
	return []byte{e.char, b}, false
}

func isLineEnd(b byte) bool { return b == '\r' || b == '\n' }
