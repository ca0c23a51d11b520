package sshaccess

import (
	"errors"
	"io"
	"os"
	"time"

	"teleport/recorder"
)

// pieces reads r; a piece is good until the next one is asked for. Where the
// recorder waits for the auth service, the reading goes on meanwhile.
func (s *channel) pieces(r io.Reader) (next func() ([]byte, error), stop func()) {
	g := &gatherer{r: r}
	if recorder.Waits(s.rec.Mode()) {
		a := newAhead()
		s.cn.behind.Go(func() { a.fill(g.next) })
		return a.next, a.stop
	}
	return g.next, func() {}
}

const (
	// showFirst is what a terminal gives at most, less one byte; a pipe gives as much
	// as it holds.
	showFirst = 4 << 10
	showMost  = 64 << 10
	// gathered is what is made of small pieces: a packet of SSH.
	gathered = 32 << 10
	linger   = 2 * time.Millisecond
)

// gatherer reads output. What a program writes in one stream is gathered for a
// moment, as everybody on the way to the client has work with each piece; what
// comes after a rest, such as the echo of a key, is handed out at once.
type gatherer struct {
	r         io.Reader
	buf       []byte
	streaming bool // the last piece was as large as one read gives
}

func (g *gatherer) next() ([]byte, error) {
	size := showFirst
	if g.streaming {
		size = showMost
	}
	if len(g.buf) != size {
		g.buf = make([]byte, size)
	}
	n, err := g.r.Read(g.buf)
	if g.streaming && err == nil && n < gathered {
		n, err = g.gather(n)
	}
	g.streaming = n >= showFirst-1
	return g.buf[:n], err
}

// gather reads on behind the n bytes that came first.
func (g *gatherer) gather(n int) (int, error) {
	r, ok := g.r.(interface{ SetReadDeadline(time.Time) error })
	if !ok || r.SetReadDeadline(time.Now().Add(linger)) != nil {
		return n, nil
	}
	var err error
	for err == nil && n < gathered {
		var m int
		m, err = g.r.Read(g.buf[n:])
		n += m
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, errors.Join(err, r.SetReadDeadline(time.Time{}))
}
