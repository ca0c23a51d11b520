package rediswire

import (
	"bytes"
	"strconv"
	"strings"

	"teleport/fault"
)

// Part is one element of what a server says: a line, and with texts what follows
// it. Lists are a line that their elements follow, as parts of their own:
//
//	("+" | "-" | ":" | "_" | "#" | "," | "(") line CRLF
//	("$" | "=" | "!") length CRLF bytes CRLF
//	("*" | "~" | ">" | "%" | "|") count CRLF
type Part struct {
	Size int64 // bytes of the whole
	Line int   // bytes of its line, with the end
	kind byte
}

// maxSaid is how long a line may be.
const maxSaid = 64 << 10

// PartOf looks at b, which begins with a part; a size of zero asks for more bytes.
// What is no part is fault.Invalid.
func PartOf(b []byte) (Part, error) {
	if len(b) == 0 {
		return Part{}, nil
	}
	text := false
	switch b[0] {
	case '+', '-', ':', '_', '#', ',', '(', '*', '~', '>', '%', '|':
	case '$', '=', '!':
		text = true
	default:
		return Part{}, fault.New(fault.Invalid, "%q begins nothing that a Redis server says", b[0])
	}
	end := bytes.IndexByte(b[:min(len(b), maxSaid)], '\n')
	switch {
	case end < 0 && len(b) >= maxSaid:
		return Part{}, fault.New(fault.Invalid, "a line of a Redis server is too long")
	case end < 0:
		return Part{}, nil
	}
	p := Part{Size: int64(end + 1), Line: end + 1, kind: b[0]}
	if !text {
		return p, nil
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(string(b[1:min(end, maxLine)]), "\r"), 10, 64)
	if err != nil || n < -1 || n > maxBulk<<3 {
		return Part{}, fault.New(fault.Invalid, "a text of a Redis server has no length")
	}
	if n >= 0 {
		p.Size += n + 2
	}
	return p, nil
}

// Failed reports whether a part is an error.
func (p Part) Failed() bool { return p.kind == '-' || p.kind == '!' }

// Failure splits an error into its code and its text. b is the part, or its
// beginning.
func (p Part) Failure(b []byte) (code, text string) {
	said := b[1:]
	if p.kind == '!' {
		said = b[min(p.Line, len(b)):]
	}
	text = strings.ToValidUTF8(strings.TrimRight(string(said[:min(len(said), maxFailure)]), "\r\n"), "?")
	code, _, _ = strings.Cut(text, " ")
	return code, text
}

const maxFailure = 1 << 10
