package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// response is the answer to one request; an http.ResponseWriter, for one goroutine.
type response struct {
	c      *conn
	r      *http.Request
	cancel context.CancelCauseFunc
	body   *requestBody
	h      http.Header

	mu     sync.Mutex // of begun and the writer before it
	begun  bool       // the status is decided
	status int

	sent    bool  // the head is in the writer
	left    int64 // of the length that the head says; -1: it says none
	chunked bool
	none    bool // the answer has no body
	close   bool
	trailer []string
	err     error
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.h }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun || w.c.taken {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if w.r.ProtoMinor > 0 { // HTTP/1.0 would take it for the answer
			w.writeHead(status)
			w.err = w.c.bw.Flush()
		}
		return
	}
	w.begun, w.status = true, status
}

// frame decides how the body is told from what follows it, and writes the head.
// over: there is no body but what was written.
func (w *response) frame(over bool) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.sent {
		return
	}
	w.sent = true
	h := w.h
	delete(h, "Transfer-Encoding")
	w.close = w.close || hasToken(h["Connection"], "close") || w.c.srv.draining.Load()
	w.none = bodiless(w.r.Method, w.status)
	lengths := h["Content-Length"]
	n, err := int64(-1), error(nil)
	if len(lengths) > 0 {
		if n, err = lengthOf(lengths[0]); err != nil || len(lengths) > 1 || w.status < 200 || w.status == http.StatusNoContent {
			delete(h, "Content-Length")
			n = -1
		}
	}
	switch {
	case w.none:
	case n >= 0:
		w.left = n
	case over:
		h["Content-Length"], w.left = []string{"0"}, 0
	case w.r.ProtoMinor == 0:
		w.close = true
	default:
		w.chunked = true
		for name := range announced(http.Header{"Trailer": slices.Clone(h["Trailer"])}) {
			w.trailer = append(w.trailer, name)
		}
	}
	w.writeHead(w.status)
}

// date is the second of the last answer, as HTTP writes it.
var date atomic.Pointer[struct {
	second int64
	text   string
}]

func now() string {
	t := time.Now()
	d := date.Load()
	if d == nil || d.second != t.Unix() {
		d = &struct {
			second int64
			text   string
		}{t.Unix(), t.UTC().Format(http.TimeFormat)}
		date.Store(d)
	}
	return d.text
}

// writeHead puts a head into the writer. What fails, the flush reports.
func (w *response) writeHead(status int) {
	b := append(w.c.bw.AvailableBuffer(), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
	if status >= 200 {
		if len(w.h["Date"]) == 0 {
			b = appendField(b, "Date", now())
		}
		if w.chunked {
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
		if w.close {
			b = append(b, "Connection: close\r\n"...)
		}
	}
	b = appendFields(b, w.h, status)
	_, _ = w.c.bw.Write(append(b, "\r\n"...))
}

func appendFields(b []byte, h http.Header, status int) []byte {
	for name, values := range h {
		switch {
		case strings.HasPrefix(name, http.TrailerPrefix), name == "Connection" && status != http.StatusSwitchingProtocols,
			name == "Content-Length" && status < 200: // which has no body
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	return b
}

// appendField writes a field. A value that would end it becomes one that does not.
func appendField(b []byte, name, value string) []byte {
	if !isValue(value) {
		value = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, value)
	}
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	if w.c.taken {
		return 0, http.ErrHijacked
	}
	w.frame(false)
	switch {
	case w.r.Method == http.MethodHead:
		return len(p), nil
	case w.none:
		return 0, http.ErrBodyNotAllowed
	case len(p) == 0:
		return 0, w.err
	case w.left >= 0 && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	}
	bw := w.c.bw
	if w.chunked {
		b := strconv.AppendInt(bw.AvailableBuffer(), int64(len(p)), 16)
		_, _ = bw.Write(append(b, "\r\n"...)) // what fails, the next one reports
	}
	n, err := bw.Write(p)
	if w.chunked && err == nil {
		_, err = bw.WriteString("\r\n")
	}
	if w.left >= 0 {
		w.left -= int64(n)
	}
	if err != nil {
		w.err = err
	}
	return n, err
}

// FlushError is what http.ResponseController flushes with.
func (w *response) FlushError() error {
	if w.c.taken {
		return http.ErrHijacked
	}
	w.frame(false)
	if err := w.c.bw.Flush(); err != nil {
		w.err = err
	}
	return w.err
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() } // the next write fails too

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.c.watch.setDeadline(w.body, w.c.nc.SetReadDeadline, t)
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.c.watch.setDeadline(w.body, w.c.writes.setDeadline, t)
}

// EnableFullDuplex is for http.ResponseController: bodies always may cross.
func (w *response) EnableFullDuplex() error { return nil }

// Canceler is an answer that can end the context of its request, for a reason: those of
// a Server are, and none of net/http.
type Canceler interface{ Cancel(why error) }

var _ Canceler = (*response)(nil)

// Cancel implements Canceler.
func (w *response) Cancel(why error) { w.cancel(why) }

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.c.taken {
		return nil, nil, http.ErrHijacked
	}
	if w.sent || w.begun && w.status != http.StatusSwitchingProtocols {
		return nil, nil, errors.New("http1: an answer has begun")
	}
	if !w.body.over.Load() { // its reader would be a second one
		return nil, nil, errors.New("http1: the body of the request has not been read")
	}
	if w.begun { // 101 is all that may have been said
		w.frame(true)
		if err := w.c.bw.Flush(); err != nil {
			return nil, nil, err
		}
	}
	if !w.c.watch.end(w.c, true) {
		return nil, nil, net.ErrClosed
	}
	w.c.taken = true
	return w.c.nc, bufio.NewReadWriter(w.c.br, w.c.bw), errors.Join(w.c.nc.SetReadDeadline(time.Time{}), w.c.nc.SetWriteDeadline(time.Time{}))
}

// finish completes the answer. An error means that the connection is of no use.
func (w *response) finish() error {
	w.frame(true)
	if w.chunked {
		bw := w.c.bw
		_, _ = bw.WriteString("0\r\n")
		_, _ = bw.Write(append(w.appendTrailer(bw.AvailableBuffer()), "\r\n"...)) // what fails, the flush reports
	}
	if err := w.c.bw.Flush(); err != nil {
		return err
	}
	if err := w.c.writes.end(); err != nil {
		return err
	}
	if w.left > 0 && !w.none {
		return io.ErrShortWrite
	}
	return w.err
}

func (w *response) appendTrailer(b []byte) []byte {
	for _, name := range w.trailer {
		for _, v := range w.h[name] {
			b = appendField(b, name, v)
		}
	}
	for _, key := range slices.Collect(maps.Keys(w.h)) {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok && trails(name) {
			for _, v := range w.h[key] {
				b = appendField(b, name, v)
			}
		}
	}
	return b
}

// requestBody is the body of a request. It may be read beside the writing of the
// answer, until the handler returns.
type requestBody struct {
	c    *conn
	w    *response
	ask  bool        // the client waits to be told that the body is wanted
	over atomic.Bool // the whole of it has come

	mu   sync.Mutex
	from *body
	left bool
}

func newRequestBody(c *conn, w *response, r *http.Request) *requestBody {
	b := &requestBody{c: c, w: w}
	switch {
	case r.ContentLength == 0:
		b.over.Store(true)
		return b
	case r.ContentLength > 0:
		b.from = lengthBody(c.br, r.ContentLength)
	default:
		b.from = chunkedBody(c.br, &r.Trailer)
		b.from.strict = true
	}
	b.ask = r.ProtoMinor > 0 && len(r.Header["Expect"]) > 0
	return b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.ask {
		b.ask = false
		b.w.goOn()
	}
	n, err := b.from.Read(p)
	if err != nil && b.from.over() {
		b.over.Store(true)
	}
	return n, err
}

// Close implements io.Closer. The connection looks after what was not read.
func (b *requestBody) Close() error { return nil }

// goOn tells a client that waits for it to send the body.
func (w *response) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		_, _ = w.c.bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		_ = w.c.bw.Flush() // a client that hears nothing sends nothing
	}
}

// leave ends the reading, and reports whether something of the body is left unread.
func (b *requestBody) leave() bool {
	if b.over.Load() {
		return false
	}
	if !b.mu.TryLock() { // somebody reads: who passes the body on, to an app that did not want all of it
		_ = b.c.nc.SetReadDeadline(time.Unix(1, 0))
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.left = true
	if b.ask || b.from.left > unreadBody || b.c.nc.SetReadDeadline(time.Now().Add(partWithin)) != nil {
		return true
	}
	_, err := io.CopyN(io.Discard, b.from, unreadBody)
	return !errors.Is(err, io.EOF)
}
