package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPaused is why a body was read no further: its client sent nothing of it for longer
// than it may.
var ErrPaused = errors.New("the body paused for too long")

// errCut is why an answer that had not begun is not written.
var errCut = errors.New("the request was cut")

// Patience gives the client of one request its time for the bodies of both directions,
// however long they are: what is bounded is how long one read or write may wait for it.
// It does so for HTTP/2 as well, where a deadline that passes ends a body although
// nobody was waiting: it sets none before one is missed. Whoever passes a body on may
// still be at it when the request is over, so nothing here touches the request after
// End. Safe for concurrent use.
type Patience struct {
	control *http.ResponseController
	pause   time.Duration
	bounded bool // others bound the writes
	moved   atomic.Int64

	mu          sync.Mutex
	over        bool // no deadline changes any more
	cut         bool
	answered    bool // an answer has begun
	paused      bool
	broke       bool
	read, write turn
	clock       *time.Timer // goes off when something may have waited for too long
	ticking     bool
}

// turn is a read or a write that is under way; it has no others beside it.
type turn struct {
	since time.Time // zero: there is none
	begun bool      // there has been one
}

// NewPatience has a pause in the bodies of the request that w answers last for so long
// at most. End is to be called before the handler returns.
func NewPatience(w http.ResponseWriter, pause time.Duration) *Patience {
	p := &Patience{control: http.NewResponseController(w), pause: pause}
	switch t := w.(type) {
	case *response:
		p.bounded = t.c.writes.within > 0
	case *patientWriter:
		p.bounded = true
	}
	return p
}

// Body is the request's body, to be read in its stead.
func (p *Patience) Body(b io.ReadCloser) io.ReadCloser { return &patientBody{b, p} }

// Writer is w, to be written to in its stead.
func (p *Patience) Writer(w http.ResponseWriter) http.ResponseWriter {
	return &patientWriter{ResponseWriter: w, p: p}
}

// Cut ends both bodies at once, also where somebody waits for the client. Of an answer
// that has not begun nothing comes through Writer any more; why, the writer before it may
// say.
func (p *Patience) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over, p.cut = true, true
	past := time.Unix(1, 0)
	_ = p.control.SetReadDeadline(past) // who has no deadlines has no clients
	if p.answered {
		_ = p.control.SetWriteDeadline(past)
	} else {
		p.last()
	}
}

// last gives what is still to be sent as long as a pause. mu is held.
func (p *Patience) last() {
	if !p.bounded {
		_ = p.control.SetWriteDeadline(time.Now().Add(p.pause)) // who has no deadlines has no clients
	}
}

// End says that the request is over, and returns how many bytes its bodies had. What is
// still to be sent of it has as long as a pause.
func (p *Patience) End() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.last()
	}
	p.over = true
	if p.clock != nil {
		p.clock.Stop()
	}
	return p.moved.Load()
}

// begin says that somebody waits for the client, until done is called.
func (p *Patience) begin(w *turn, set func(time.Time) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	if !w.begun {
		w.begun = true
		_ = set(time.Time{}) // the server's own deadline is for whole requests; what it fails with, the body will
	}
	w.since = time.Now()
	if p.ticking {
		return
	}
	p.ticking = true
	if p.clock == nil {
		p.clock = time.AfterFunc(p.pause, p.tick)
	} else {
		p.clock.Reset(p.pause)
	}
}

func (p *Patience) done(w *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.since = time.Time{}
}

// tick ends what has waited for too long.
func (p *Patience) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ticking = false; p.over {
		return
	}
	next, now := time.Duration(0), time.Now()
	check := func(w *turn, set func(time.Time) error) {
		if w.since.IsZero() {
			return
		}
		left := p.pause - now.Sub(w.since)
		if left <= 0 {
			p.paused = p.paused || w == &p.read // known before the reader is: its request may end sooner
			w.since = time.Time{}
			_ = set(time.Unix(1, 0))
		} else if next == 0 || left < next {
			next = left
		}
	}
	check(&p.read, p.control.SetReadDeadline)
	check(&p.write, p.control.SetWriteDeadline)
	if p.ticking = next > 0; p.ticking {
		p.clock.Reset(next)
	}
}

// pauses notes that the client has been silent for too long.
func (p *Patience) pauses() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = p.paused || !p.over
}

// Err is ErrPaused where the client's own silence is why its body was read no further,
// whatever else came of that; nil where it is not.
func (p *Patience) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		return ErrPaused
	}
	return nil
}

// breaks notes that the client has gone in the middle of its body.
func (p *Patience) breaks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broke = p.broke || !p.over
}

// Broke reports whether the client went away before all of its body had been read.
func (p *Patience) Broke() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broke
}

type patientBody struct {
	io.ReadCloser
	p *Patience
}

// Read implements io.Reader.
func (b *patientBody) Read(to []byte) (int, error) {
	b.p.begin(&b.p.read, b.p.control.SetReadDeadline)
	n, err := b.ReadCloser.Read(to)
	b.p.done(&b.p.read)
	b.p.moved.Add(int64(n))
	var lost net.Error
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.p.pauses()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &lost):
		b.p.breaks()
	}
	return n, err
}

// answers says that an answer begins, unless its request has been cut before.
func (p *Patience) answers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = p.answered || !p.cut
	return p.answered
}

type patientWriter struct {
	http.ResponseWriter
	p     *Patience
	begun bool // the answer
}

// begins reports whether the answer may go on, which it does from the first time on.
func (w *patientWriter) begins() bool {
	w.begun = w.begun || w.p.answers()
	return w.begun
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. There is no other way to refuse one than
// to break off.
func (w *patientWriter) WriteHeader(status int) {
	if status >= 200 && !w.begins() {
		panic(http.ErrAbortHandler)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker.
func (w *patientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.begins() {
		return nil, nil, errCut
	}
	return w.p.control.Hijack()
}

// Write implements io.Writer.
func (w *patientWriter) Write(b []byte) (int, error) {
	if !w.begins() {
		return 0, errCut
	}
	w.p.moved.Add(int64(len(b)))
	if w.p.bounded {
		return w.ResponseWriter.Write(b)
	}
	total := 0
	for { // a large answer is no pause
		piece := b[:min(len(b), pieceSize)]
		w.p.begin(&w.p.write, w.p.control.SetWriteDeadline)
		n, err := w.ResponseWriter.Write(piece)
		w.p.done(&w.p.write)
		total, b = total+n, b[len(piece):]
		if err != nil || len(b) == 0 {
			return total, err
		}
	}
}

// FlushError is for http.ResponseController: what waits to be sent may be much.
func (w *patientWriter) FlushError() error {
	if !w.begins() {
		return errCut
	}
	if w.p.bounded {
		return w.p.control.Flush()
	}
	w.p.begin(&w.p.write, w.p.control.SetWriteDeadline)
	defer w.p.done(&w.p.write)
	return w.p.control.Flush()
}
