package http1

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrPaused is why a body was read no further: its client sent nothing of it for longer
// than it may.
var ErrPaused = errors.New("the body paused for too long")

// Patience gives the client of one request its time for the bodies of both directions,
// however long they are: what is bounded is a pause. It does so for HTTP/2 as well.
// Whoever passes a body on may still be at it when the request is over, so nothing
// here touches the request after End. Safe for concurrent use.
type Patience struct {
	control *http.ResponseController
	pause   time.Duration
	bounded bool // the server bounds the writes by itself
	moved   atomic.Int64

	mu          sync.Mutex
	over        bool // no deadline changes any more
	paused      bool
	read, write time.Time
}

// NewPatience has a pause in the bodies of the request that w answers last for so long
// at most. End is to be called before the handler returns.
func NewPatience(w http.ResponseWriter, pause time.Duration) *Patience {
	ours, ok := w.(*response)
	return &Patience{control: http.NewResponseController(w), pause: pause, bounded: ok && ours.c.writes.within > 0}
}

// Body is the request's body, to be read in its stead.
func (p *Patience) Body(b io.ReadCloser) io.ReadCloser { return &patientBody{b, p} }

// Writer is w, to be written to in its stead.
func (p *Patience) Writer(w http.ResponseWriter) http.ResponseWriter { return &patientWriter{w, p} }

// Cut ends both bodies at once, also where somebody waits for the client.
func (p *Patience) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		past := time.Unix(1, 0)
		_, _ = p.control.SetReadDeadline(past), p.control.SetWriteDeadline(past) // who has no deadlines has no clients
	}
}

// End says that the request is over, and returns how many bytes its bodies had.
func (p *Patience) End() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	return p.moved.Load()
}

// extend sets a deadline, unless more than half of the time is left.
func (p *Patience) extend(until *time.Time, set func(time.Time) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.over && until.Sub(now) < p.pause/2 {
		*until = now.Add(p.pause)
		_ = set(*until) // what it fails with, the body will
	}
}

// rest has the client be silent for as long as it likes: the whole of its body has come.
func (p *Patience) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = p.control.SetReadDeadline(time.Time{})
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

type patientBody struct {
	io.ReadCloser
	p *Patience
}

// Read implements io.Reader.
func (b *patientBody) Read(to []byte) (int, error) {
	b.p.extend(&b.p.read, b.p.control.SetReadDeadline)
	n, err := b.ReadCloser.Read(to)
	b.p.moved.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		b.p.rest()
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.p.pauses()
	}
	return n, err
}

type patientWriter struct {
	http.ResponseWriter
	p *Patience
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *patientWriter) Write(b []byte) (int, error) {
	w.extend()
	w.p.moved.Add(int64(len(b)))
	return w.ResponseWriter.Write(b)
}

// FlushError is for http.ResponseController: what waits to be sent may be much.
func (w *patientWriter) FlushError() error {
	w.extend()
	return w.p.control.Flush()
}

func (w *patientWriter) extend() {
	if !w.p.bounded {
		w.p.extend(&w.p.write, w.p.control.SetWriteDeadline)
	}
}
