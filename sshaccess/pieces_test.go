package sshaccess

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Small pieces of a stream become large ones; a word after a rest waits for
// nobody, and the end of a stream for no longer than a moment.
func TestOutputIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := net.Pipe()
		g := &gatherer{r: r}
		piece := bytes.Repeat([]byte("0123456789abcde\n"), showFirst/16)
		want := func(size int, after time.Duration) {
			t.Helper()
			begun := time.Now()
			p, err := g.next()
			if err != nil || len(p) != size || time.Since(begun) != after {
				t.Fatalf("%d bytes after %s, %v; %d after %s are due", len(p), time.Since(begun), err, size, after)
			}
		}
		send := func(times int) {
			for range times {
				if _, err := w.Write(piece); err != nil {
					t.Error(err)
				}
			}
		}
		echo := func() {
			go io.WriteString(w, "echo") //nolint:errcheck // next misses it
			want(4, 0)
		}
		echo()
		go send(1 + gathered/showFirst)
		want(showFirst, 0)
		want(gathered, 0)
		go send(2)
		want(2*showFirst, linger)
		go send(1)
		want(showFirst, linger)
		go io.WriteString(w, "$ ") //nolint:errcheck // next misses it
		want(2, linger)
		echo()
		if len(g.buf) != showFirst {
			t.Error("a session that rests keeps a large buffer")
		}
		go func() { send(2); w.Close() }()
		want(showFirst, 0)
		p, err := g.next()
		if len(p) != showFirst {
			t.Errorf("%d bytes, %v, where the last ones are due", len(p), err)
		}
		if err == nil { // a pipe that is closed takes no deadline
			_, err = g.next()
		}
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

// What has no deadlines is read as it comes.
func TestOutputWithoutDeadlinesIsNotGathered(t *testing.T) {
	g := &gatherer{r: io.MultiReader(bytes.NewReader(make([]byte, showFirst)), bytes.NewReader(make([]byte, 5)), bytes.NewReader(make([]byte, 7)))}
	for _, size := range []int{showFirst, 5, 7} {
		if p, err := g.next(); err != nil || len(p) != size {
			t.Errorf("%d bytes, %v, where %d are due", len(p), err, size)
		}
	}
}
