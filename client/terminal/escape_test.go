package terminal

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

type fakeTerminal struct {
	suspended int
	said      string
}

func (f *fakeTerminal) suspend()        { f.suspended++ }
func (f *fakeTerminal) say(text string) { f.said += text }

func TestEscapes(t *testing.T) {
	for _, c := range []struct {
		typed, sent string
		cut         bool
		suspended   int
	}{
		{typed: "ls\r", sent: "ls\r"},
		{typed: "~.", cut: true},
		{typed: "ls\r~.more", sent: "ls\r", cut: true},
		{typed: "a~.\r", sent: "a~.\r"},
		{typed: "~~.\r", sent: "~.\r"},
		{typed: "~x\r", sent: "~x\r"},
		{typed: "\n~\x1als\n", sent: "\nls\n", suspended: 1},
		{typed: "~?~.", cut: true},
		{typed: "", sent: ""},
		{typed: "~", sent: ""},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader} {
			ctx, cancel := context.WithCancelCause(t.Context())
			var f fakeTerminal
			got, err := io.ReadAll(newEscapes(wrap(strings.NewReader(c.typed)), '~', &f, cancel))
			cut := errors.Is(context.Cause(ctx), ErrDisconnected)
			// What was typed in one go with ~. may be lost: the session is over.
			if err != nil || cut != c.cut || f.suspended != c.suspended || (!c.cut || name == "bytewise") && string(got) != c.sent {
				t.Errorf("%q %s: sent %q, cut %v, suspended %d, %v", c.typed, name, got, cut, f.suspended, err)
			}
			cancel(nil)
		}
	}
}

func FuzzEscapes(f *testing.F) {
	f.Add("ls\r~~x\n~?")
	f.Add("~.")
	f.Fuzz(func(t *testing.T, typed string) {
		_, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var term fakeTerminal
		got, err := io.ReadAll(newEscapes(strings.NewReader(typed), '~', &term, cancel))
		if err != nil || len(got) > len(typed) {
			t.Errorf("%q became %q, %v", typed, got, err)
		}
		if !strings.Contains(typed, "~") && string(got) != typed {
			t.Errorf("%q became %q", typed, got)
		}
	})
}

// Stop must end a reader that waits, and leave what comes later to others.
func TestInputStops(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in := NewInput(r)
	done := make(chan error)
	go func() {
		_, err := io.ReadAll(in)
		done <- err
	}()
	if _, err := w.WriteString("one"); err != nil {
		t.Fatal(err)
	}
	in.Stop()
	in.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read after Stop: %d, %v", n, err)
	}
}
