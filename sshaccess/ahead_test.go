package sshaccess

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

// What comes while its reader is busy is handed out together, in order and up to
// a bound, and the end comes behind it.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		a := newAhead()
		filled := make(chan struct{})
		go func() { defer close(filled); a.fill((&gatherer{r: r}).next) }()
		next := func(want string) {
			t.Helper()
			if p, err := a.next(); err != nil || string(p) != want {
				t.Fatalf("%d bytes, %v, where %q is due", len(p), err, want)
			}
		}
		write := func(p string) {
			if _, err := io.WriteString(w, p); err != nil {
				t.Error(err)
			}
		}
		go write("first ")
		next("first ")
		go func() { write("sec"); write("ond"); write(" and third") }()
		synctest.Wait()
		next("second and third")

		sent := bytes.Repeat([]byte("0123456789abcdef"), aheadMost/8)
		go func() { write(string(sent)); w.CloseWithError(io.ErrUnexpectedEOF) }()
		synctest.Wait()
		got, err := a.next()
		if err != nil || len(got) < aheadMost || len(got) > aheadMost+showMost {
			t.Fatalf("%d bytes were read ahead, %v", len(got), err)
		}
		for err == nil {
			var p []byte
			p, err = a.next()
			got = append(got, p...)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
		}
		<-filled
	})
}

// Nobody waits for room that will not come.
func TestAheadStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAhead()
		filled := make(chan struct{})
		go func() { defer close(filled); a.fill((&gatherer{r: endless{}}).next) }()
		synctest.Wait()
		a.stop()
		<-filled
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
