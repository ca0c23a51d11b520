package rediswire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"teleport/fault"
)

// scan gives the scanner b in pieces, as a connection would.
func scan(b []byte, step int) (int64, error) {
	var s Scanner
	for n := min(step, len(b)); ; n = min(n+step, len(b)) {
		size, err := s.Scan(b[:n])
		if err != nil || size > 0 || n == len(b) {
			return size, err
		}
	}
}

func TestCommandsAreFound(t *testing.T) {
	for name, words := range map[string][]string{"ping": {"PING"}, "set": {"SET", "k", strings.Repeat("v", 9000)}, "empty": {"SET", "k", ""}, "bytes": {"SET", "k", "\r\n$5\r\n*2\r\n"}} {
		b := Append(nil, words...)
		for _, step := range []int{1, 7, 4096, len(b)} {
			if size, err := scan(b, step); size != int64(len(b)) || err != nil {
				t.Errorf("%s by %d: %d of %d, %v", name, step, size, len(b), err)
			}
		}
		got, err := Words(b)
		if err != nil || len(got) != len(words) || string(got[len(got)-1]) != words[len(words)-1] {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		raw, got, err := ReadCommand(bytes.NewReader(append(bytes.Clone(b), "rest"...)))
		if err != nil || !bytes.Equal(raw, b) || len(got) != len(words) {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}

func TestWhatIsNoCommand(t *testing.T) {
	for _, text := range []string{"PING\r\n", "*0\r\n", "*-1\r\n", "*+1\r\n$4\r\nPING\r\n", "*01\r\n", "*1\r\n+PING\r\n", "*1\r\n$-1\r\n", "*1\r\n$x\r\n", "*1\n$4\nPING\n",
		"*99999999999999999999\r\n", "*1048577\r\n", "*1\r\n$536870913\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		size, err := scan([]byte(text), 1)
		if !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Limit) {
			t.Errorf("%q: %d, %v", text, size, err)
		}
		if _, _, err := ReadCommand(strings.NewReader(text)); !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Limit) {
			t.Errorf("%q is read: %v", text, err)
		}
	}
	for _, text := range []string{"*1\r\n$4\r\nPINGxx", "*1\r\n$4\r\nPING\r\n*", "*2\r\n$4\r\nPING\r\n"} {
		if words, err := Words([]byte(text)); err == nil {
			t.Errorf("%q: %q", text, words)
		}
	}
	if _, _, err := ReadCommand(strings.NewReader("*1\r\n$100000\r\n")); !errors.Is(err, fault.Limit) {
		t.Errorf("a long one before the log-in: %v", err)
	}
}

func TestAnswersAreReadWhole(t *testing.T) {
	for _, text := range []string{"+OK\r\n", "-ERR x\r\n", ":1\r\n", "$-1\r\n", "$2\r\nhi\r\n", "*-1\r\n", "*2\r\n:1\r\n*1\r\n$1\r\na\r\n", "%1\r\n+a\r\n_\r\n", "|1\r\n+k\r\n+v\r\n#t\r\n", "=5\r\ntxt:a\r\n"} {
		r := strings.NewReader(text + "+rest\r\n")
		got, err := ReadAnswer(r)
		if err != nil || string(got) != text || r.Len() != len("+rest\r\n") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if _, err := ReadAnswer(strings.NewReader(text[:len(text)-1])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("half of %q: %v", text, err)
		}
	}
	for _, text := range []string{"x\r\n", "*99999999\r\n", strings.Repeat("*1\r\n", 20), "$999999\r\n"} {
		if _, err := ReadAnswer(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestPasswordsAreLeftOut(t *testing.T) {
	for command, want := range map[string]string{
		"SET k v": "SET k v", "auth alice s3cret": "auth alice ***", "AUTH s3cret": "AUTH ***", "AUTH alice s3cret x": "AUTH *** *** ***", "HELLO 3 AUTH alice s3cret SETNAME n": "HELLO 3 AUTH alice *** SETNAME n",
		"ACL SETUSER bob on >s3cret ~*": "ACL SETUSER bob on *** ~*", "CONFIG SET requirepass s3cret": "CONFIG SET requirepass ***", "CONFIG SET maxmemory 1": "CONFIG SET maxmemory 1",
		"MIGRATE h 1 k 0 5 AUTH2 u s3cret": "MIGRATE h 1 k 0 5 AUTH2 u ***", "MIGRATE h 1 k 0 5 AUTH s3cret": "MIGRATE h 1 k 0 5 AUTH ***",
	} {
		var words [][]byte
		for w := range strings.SplitSeq(command, " ") {
			words = append(words, []byte(w))
		}
		if got := string(Text(words)); got != want {
			t.Errorf("%s: %s", command, got)
		}
	}
	if got := string(Text([][]byte{[]byte("SET"), []byte("a b"), []byte("\x00\xff\r\n"), nil})); got != `SET "a b" "\x00\xff\r\n" ""` {
		t.Errorf("got %s", got)
	}
	if got := string(Error("ERR", "two\r\nlines")); got != "-ERR two  lines\r\n" {
		t.Errorf("got %q", got)
	}
}

// FuzzCommands holds that what is found is what is split, whatever the pieces.
func FuzzCommands(f *testing.F) {
	f.Add(Append(nil, "SET", "k", "v"), 3)
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$0\r\n\r\n"), 1)
	f.Add([]byte("*1\r\n$-1\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		if step < 1 {
			return
		}
		size, err := scan(b, step)
		if whole, err2 := scan(b, len(b)+1); whole != size || (err == nil) != (err2 == nil) {
			t.Errorf("%d, %v by %d; %d, %v whole", size, err, step, whole, err2)
		}
		if err != nil || size == 0 || size > int64(len(b)) {
			return
		}
		words, err := Words(b[:size])
		if err != nil {
			return
		}
		var texts []string
		for _, w := range words {
			texts = append(texts, string(w))
		}
		if !bytes.Equal(Append(nil, texts...), b[:size]) {
			t.Errorf("%q is written as %q", b[:size], Append(nil, texts...))
		}
		_ = Text(words)
	})
}
