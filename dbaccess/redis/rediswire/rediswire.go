// Package rediswire reads and writes the commands of Redis (RESP2 and RESP3). A
// client sends arrays of texts, each with its length:
//
//	"*" count CRLF { "$" length CRLF bytes CRLF }
//
// Commands that are typed as plain lines are refused: their quoting is told apart
// by nobody but the server. Answers are read whole during a log-in alone; later
// they are taken apart as far as errors can be told from the rest.
// https://redis.io/docs/latest/develop/reference/protocol-spec/
package rediswire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"teleport/fault"
)

const (
	maxArgs = 1 << 20   // of one command, as the server has it
	maxBulk = 512 << 20 // bytes of one argument, as the server has it
	maxLine = 16        // bytes of a length with its type and end
	most    = 64 << 10  // bytes of a command or an answer that is read whole
	deepest = 8         // nesting of an answer
)

// Scanner finds the ends of commands in a stream that grows. The zero value is at
// the beginning of one.
type Scanner struct {
	at, left int
	begun    bool
}

// Scan looks at b, which begins with a command, and returns its whole length; zero
// asks for more bytes. It goes on where it stopped, so that b is the same command,
// grown, until its length has been returned.
func (s *Scanner) Scan(b []byte) (int64, error) {
	if !s.begun {
		n, size, err := length(b, '*', maxArgs)
		if err != nil || size == 0 {
			return 0, err
		}
		if n < 1 {
			return 0, malformed("a command of %d words", n)
		}
		s.at, s.left, s.begun = size, n, true
	}
	for s.left > 0 {
		if s.at > len(b) {
			return 0, nil
		}
		n, size, err := length(b[s.at:], '$', maxBulk)
		if err != nil || size == 0 {
			return 0, err
		}
		if n < 0 {
			return 0, malformed("a word of no length")
		}
		s.at += size + n + 2
		s.left--
	}
	size := int64(s.at)
	*s = Scanner{}
	return size, nil
}

// length reads a type and a number up to their line's end. size is zero when the
// end is not there yet.
func length(b []byte, kind byte, limit int) (n, size int, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	if b[0] != kind {
		return 0, 0, malformed("%q where %q is due", b[0], kind)
	}
	end := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	switch {
	case end < 0 && len(b) >= maxLine:
		return 0, 0, malformed("a length of too many digits")
	case end < 0:
		return 0, 0, nil
	case b[end-1] != '\r':
		return 0, 0, malformed("a line that ends otherwise")
	}
	digits := string(b[1 : end-1])
	n, err = strconv.Atoi(digits)
	if err != nil || strings.HasPrefix(digits, "+") || strconv.Itoa(n) != digits {
		return 0, 0, malformed("a length that is no number")
	}
	if n > limit {
		return 0, 0, fault.New(fault.Limit, "the command has a length of %d: at most %d is taken", n, limit)
	}
	return n, end + 1, nil
}

func malformed(format string, args ...any) error {
	return fault.New(fault.Invalid, "this is not how a Redis client speaks: %s", fmt.Sprintf(format, args...))
}

// Words returns the words of one whole command, which point into b.
func Words(b []byte) ([][]byte, error) {
	n, at, err := length(b, '*', maxArgs)
	if err != nil {
		return nil, err
	}
	var words [][]byte
	for range n {
		size, head, err := length(b[at:], '$', maxBulk)
		if err != nil {
			return nil, err
		}
		at += head
		if head == 0 || size < 0 || len(b)-at < size+2 || !bytes.Equal(b[at+size:at+size+2], []byte("\r\n")) {
			return nil, malformed("a word whose length is not its own")
		}
		words = append(words, b[at:at+size])
		at += size + 2
	}
	if len(words) == 0 || at != len(b) {
		return nil, malformed("a command without an end")
	}
	return words, nil
}

// Append writes a command.
func Append(b []byte, words ...string) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// ReadCommand reads one command and no byte more. It is for the few short ones of
// a log-in.
func ReadCommand(r io.Reader) (raw []byte, words [][]byte, err error) {
	line, err := readLine(r)
	if err != nil {
		return nil, nil, err
	}
	n, size, err := length(line, '*', maxArgs)
	if err != nil {
		return nil, nil, err
	}
	if size == 0 || n < 1 {
		return nil, nil, malformed("a command of %d words", n)
	}
	raw = line
	for range n {
		if line, err = readLine(r); err != nil {
			return nil, nil, err
		}
		size, _, err := length(line, '$', maxBulk)
		if err != nil {
			return nil, nil, err
		}
		if size < 0 || len(raw)+len(line)+size+2 > most {
			return nil, nil, fault.New(fault.Limit, "the command is too long for a log-in")
		}
		raw = append(raw, line...)
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, nil, err
		}
		raw = append(raw, word...)
	}
	words, err = Words(raw)
	return raw, words, err
}

// readLine reads up to the end of a line, byte by byte.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(line, []byte("\n")) {
		if len(line) > most {
			return nil, malformed("a line without an end")
		}
		if _, err := io.ReadFull(r, one); err != nil {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line = append(line, one[0])
	}
	return line, nil
}

// ReadAnswer reads one answer whole, and no byte more.
func ReadAnswer(r io.Reader) ([]byte, error) { return readAnswer(r, nil, 0) }

func readAnswer(r io.Reader, out []byte, depth int) ([]byte, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	out = append(out, line...)
	if len(out) > most || depth > deepest {
		return nil, fault.New(fault.Limit, "the answer to a log-in is too long")
	}
	kind := line[0]
	if !slices.Contains([]byte("$=!*~>%|"), kind) {
		if !slices.Contains([]byte("+-:_,#("), kind) {
			return nil, malformed("an answer of the type %q", kind)
		}
		return out, nil
	}
	n, _, err := length(line, kind, maxBulk)
	switch {
	case err != nil:
		return nil, err
	case n < 0: // nothing, in RESP2
		return out, nil
	case n > most:
		return nil, fault.New(fault.Limit, "the answer to a log-in is too long")
	case kind == '$' || kind == '=' || kind == '!':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return append(out, text...), err
	case kind == '%' || kind == '|':
		n *= 2
	}
	for range n {
		if out, err = readAnswer(r, out, depth+1); err != nil {
			return nil, err
		}
	}
	if kind == '|' { // attributes stand before what they are of
		return readAnswer(r, out, depth)
	}
	return out, nil
}

// Refusal is an error of ours, with what to do about it.
func Refusal(why error) []byte {
	code := "ERR"
	if k := fault.KindOf(why); k == fault.Denied || k == fault.Unauthenticated {
		code = "NOPERM"
	}
	text := fault.Message(why)
	if hint := fault.Hint(why); hint != "" {
		text += " (" + hint + ")"
	}
	return Error(code, text)
}

// Error is an error as the server tells it: a word in capitals, and one line.
func Error(code, text string) []byte {
	clean := strings.Map(func(c rune) rune {
		if c < ' ' {
			return ' '
		}
		return c
	}, text)
	return []byte("-" + code + " " + clean + "\r\n")
}

// Text is a command for people to read: its words, quoted where they need it.
// Passwords are left out.
func Text(words [][]byte) []byte {
	var b []byte
	for i, w := range words {
		if i > 0 {
			b = append(b, ' ')
		}
		if secret(words, i) {
			b = append(b, "***"...)
			continue
		}
		if len(w) > 0 && utf8.Valid(w) && !bytes.ContainsFunc(w, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c == '\'' || !strconv.IsPrint(c) }) {
			b = append(b, w...)
			continue
		}
		b = strconv.AppendQuote(b, string(w))
	}
	return b
}

// secret reports whether a word of a command is a password.
func secret(words [][]byte, i int) bool {
	is := func(j int, names ...string) bool {
		return j >= 0 && j < len(words) && slices.Contains(names, strings.ToUpper(string(words[j])))
	}
	switch {
	case i == 0:
		return false
	case is(0, "AUTH"):
		return i != 1 || len(words) != 3
	case is(0, "HELLO"):
		return is(i-2, "AUTH")
	case is(0, "MIGRATE"):
		return is(i-1, "AUTH") || is(i-2, "AUTH2")
	case is(0, "ACL"):
		return is(1, "SETUSER") && i > 2 && len(words[i]) > 0 && strings.IndexByte("><#!", words[i][0]) >= 0
	case is(0, "CONFIG"):
		return is(1, "SET") && i > 2 && (strings.Contains(strings.ToLower(string(words[i-1])), "pass") || is(i-1, "MASTERAUTH"))
	}
	return false
}
