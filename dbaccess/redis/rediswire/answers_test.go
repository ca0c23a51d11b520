package rediswire

import (
	"fmt"
	"strings"
	"testing"

	"teleport/fault"
)

func TestPartsOfAnswers(t *testing.T) {
	for said, want := range map[string]string{
		"+OK\r\n":                            "5",
		"-ERR no\r\n":                        "9 ERR|ERR no",
		"$5\r\nhello\r\n:7\r\n":              "11 4",
		"$-1\r\n$0\r\n\r\n":                  "5 6",
		"*2\r\n$1\r\na\r\n-WRONGTYPE x\r\n":  "4 7 14 WRONGTYPE|WRONGTYPE x",
		"!10\r\nSYNTAX bad\r\n_\r\n":         "17 SYNTAX|SYNTAX bad 3",
		"%1\r\n+a\r\n#t\r\n>1\r\n,1.5\r\n":   "4 4 4 4 6",
		"|1\r\n+k\r\n(12\r\n~0\r\n=3\r\nabc": "4 4 5 4 …9",
		"$3":                                 "…",
		"+half":                              "…",
	} {
		var got []string
		for rest := []byte(said); len(rest) > 0; {
			p, err := PartOf(rest)
			switch {
			case err != nil:
				t.Fatalf("%q: %v", said, err)
			case p.Size == 0:
				got, rest = append(got, "…"), nil
				continue
			case p.Size > int64(len(rest)):
				got, rest = append(got, fmt.Sprint("…", p.Size)), nil
				continue
			}
			got = append(got, fmt.Sprint(p.Size))
			if p.Failed() {
				code, text := p.Failure(rest[:p.Size])
				got = append(got, code+"|"+text)
			}
			rest = rest[p.Size:]
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: %s, want %s", said, s, want)
		}
	}
	for _, said := range []string{"?", "HTTP/1.1", "$x\r\n", "$-2\r\n", "$99999999999999999999\r\n", "$\r\n", "+" + strings.Repeat("x", maxSaid)} {
		if p, err := PartOf([]byte(said)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%.20q: %+v %v", said, p, err)
		}
	}
	if _, text := (Part{kind: '-'}).Failure([]byte("-ERR \xff" + strings.Repeat("x", 5000))); len(text) > maxFailure || !strings.HasPrefix(text, "ERR ?x") {
		t.Errorf("%d bytes: %.10q", len(text), text)
	}
}

// A part never ends before its line, and an error can always be told.
func FuzzPartOf(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "$5\r\nhello\r\n", "!3\r\nERR\r\n", "-", "*-1\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := PartOf(b)
		if err != nil || p.Size == 0 {
			return
		}
		if p.Line > len(b) || p.Size < int64(p.Line) {
			t.Fatalf("%q: %+v", b, p)
		}
		if p.Failed() {
			p.Failure(b[:min(int64(len(b)), p.Size)])
		}
	})
}
