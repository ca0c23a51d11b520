package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"teleport/netx"
)

// Server answers the requests of connections that it is given, each connection in
// the goroutine that gives it. Its fields are set before its first use; then it is
// safe for concurrent use.
//
// Its http.ResponseWriter can flush, be hijacked, write early hints and trailers, and
// has the deadlines of http.ResponseController; bodies may be read and written at the
// same time. It makes up no header but Date and the lengths. The context of a request
// ends with its answer, or with the connection, when the client is seen to have gone,
// and by the http.ResponseWriter, which is a Canceler.
type Server struct {
	Handler http.Handler
	// HeadTimeout bounds how long the head of a request may take, BodyTimeout its body,
	// where the handler does not set a deadline, and IdleTimeout the wait for the next
	// request. WriteTimeout bounds how long a client may take over a piece of an answer,
	// where the handler does not set a deadline either; 0: it does not.
	HeadTimeout, BodyTimeout, IdleTimeout, WriteTimeout time.Duration
	MaxHead                                             int // bytes
	// Refused is told of a request that Handler never sees, and why; may be nil. Its
	// context is that of ServeConn, with its connection.
	Refused func(ctx context.Context, c net.Conn, err error)
	Log     *slog.Logger

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*conn]struct{}
}

// Whether a connection waits for a request.
const (
	waiting int32 = iota
	working
	gone
)

// Bounds.
const (
	bufferSize = 4 << 10
	pieceSize  = 64 << 10 // what a body is copied by
	unreadBody = 256 << 10
	partWithin = time.Second // to hear why one is refused
	watchEvery = 50 * time.Millisecond
)

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, bufferSize) }}
)

// conn is a connection of a client.
type conn struct {
	srv    *Server
	nc     net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	br     *bufio.Reader
	bw     *bufio.Writer
	remote string
	tls    *tls.ConnectionState
	blank  http.Request // of which each request is a copy
	state  atomic.Int32
	watch  watch
	writes writes
	taken  bool // hijacked
}

// ServeConn answers the requests of a connection until it ends, and closes it. A
// connection that is hijacked is the handler's, as is its end.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	c := &conn{srv: s, nc: nc, remote: nc.RemoteAddr().String(), writes: writes{nc: nc, within: s.WriteTimeout}}
	defer func() {
		if !c.taken {
			nc.Close()
		}
	}()
	c.ctx, c.cancel = context.WithCancel(ctx)
	defer c.cancel()
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	if !s.enter(c) {
		return
	}
	defer s.leave(c)
	c.br, c.bw = readers.Get().(*bufio.Reader), writers.Get().(*bufio.Writer)
	c.br.Reset(nc)
	c.bw.Reset(&c.writes)
	for c.next() {
	}
	if !c.taken { // who took it may hold them still
		c.br.Reset(nil)
		c.bw.Reset(nil)
		readers.Put(c.br)
		writers.Put(c.bw)
	}
}

// together writes several records of TLS in one piece.
type together struct{ net.Conn }

func (t together) Write(p []byte) (int, error) { return netx.WriteTogether(t.Conn, p) }

// writes is what a client is sent, piece by piece.
type writes struct {
	nc     net.Conn
	within time.Duration // for a piece; 0: for ever

	mu    sync.Mutex
	until time.Time // the present deadline
	other bool      // a handler has set one
}

// Write implements io.Writer.
func (w *writes) Write(p []byte) (int, error) {
	if err := w.hurry(); err != nil {
		return 0, err
	}
	return netx.WriteTogether(w.nc, p)
}

// hurry sets a deadline that leaves half of the time at least: most pieces need none
// of their own.
func (w *writes) hurry() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.within <= 0 || w.other {
		return nil
	}
	now := time.Now()
	if w.until.Sub(now) >= w.within/2 {
		return nil
	}
	w.until = now.Add(w.within)
	return w.nc.SetWriteDeadline(w.until)
}

// setDeadline is a handler's.
func (w *writes) setDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.other = true
	return w.nc.SetWriteDeadline(t)
}

// end forgets the deadline of a handler, whose answer is over.
func (w *writes) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.other {
		return nil
	}
	w.other, w.until = false, time.Time{}
	return w.nc.SetWriteDeadline(time.Time{})
}

func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Drain takes no further requests: connections that wait for one are closed, the
// others are when they have had their answer.
func (s *Server) Drain() {
	var idle []*conn
	s.mu.Lock()
	s.draining.Store(true)
	for c := range s.conns {
		if c.state.CompareAndSwap(waiting, gone) {
			idle = append(idle, c)
		}
	}
	s.mu.Unlock()
	for _, c := range idle { // which may take a while: TLS says goodbye
		c.nc.Close()
	}
}

// next answers one request, and reports whether another may follow.
func (c *conn) next() bool {
	if c.br.Buffered() == 0 {
		if c.nc.SetReadDeadline(time.Now().Add(c.srv.IdleTimeout)) != nil {
			return false
		}
		if _, err := c.br.Peek(1); err != nil {
			return false
		}
	}
	if !c.state.CompareAndSwap(waiting, working) {
		return false
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	r := c.blank.WithContext(ctx)
	if err := c.read(r); err != nil {
		c.refuse(err)
		return false
	}
	again := c.answer(r, cancel)
	return again && c.state.CompareAndSwap(working, waiting) && !c.srv.draining.Load()
}

// read reads the head of a request.
func (c *conn) read(r *http.Request) error {
	here, err := c.br.Peek(c.br.Buffered())
	if err != nil || !bytes.Contains(bytes.TrimLeft(here, "\r\n"), []byte("\r\n\r\n")) { // empty lines may come before it
		if err := c.nc.SetReadDeadline(time.Now().Add(c.srv.HeadTimeout)); err != nil {
			return err
		}
	}
	text, err := readHead(c.br, c.srv.MaxHead)
	if err != nil {
		return err
	}
	if err := parseRequest(text, r); err != nil {
		return err
	}
	r.RemoteAddr, r.TLS = c.remote, c.tls
	if r.ContentLength == 0 {
		return nil
	}
	return c.nc.SetReadDeadline(time.Now().Add(c.srv.BodyTimeout))
}

// answer has the handler answer a request, and reports whether the connection is
// good for another one.
func (c *conn) answer(r *http.Request, cancel context.CancelCauseFunc) bool {
	w := &response{c: c, r: r, cancel: cancel, h: http.Header{}, left: -1, close: r.Close}
	w.body = newRequestBody(c, w, r)
	r.Body = w.body
	if r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	c.watch.begin(c, w.body)
	aborted := c.handle(w, r)
	idle := c.watch.end(c, false)
	switch {
	case c.taken:
		return false
	case aborted:
		cutOff(c.nc)
		w.body.leave() // whoever reads it reads from memory that serves another connection next
		return false
	}
	err := w.finish()
	rest := w.body.leave()
	if err != nil || !idle {
		return false
	}
	if rest || w.close {
		c.part(rest)
		return false
	}
	return true
}

// cutOff ends a connection behind half of an answer. Where only the end of the connection
// tells that of the answer, as in HTTP/1.0, a goodbye of TLS would make it look whole.
func cutOff(nc net.Conn) {
	for c := range netx.Layers(nc) {
		if t, ok := c.(*tls.Conn); ok {
			t.NetConn().Close()
			break
		}
	}
	nc.Close()
}

func (c *conn) handle(w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		if e := recover(); e != nil {
			aborted = true
			if err, ok := e.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.srv.Log.Error("a request ended with a panic", "error", e, "stack", string(debug.Stack()))
			}
		}
	}()
	c.srv.Handler.ServeHTTP(w, r)
	return false
}

// refuse answers a request that cannot be understood.
func (c *conn) refuse(err error) {
	status := http.StatusBadRequest
	var known statusError
	var ne net.Error
	switch {
	case errors.As(err, &known):
		status = known.status
	case errors.Is(err, errTooLarge):
		status = http.StatusRequestHeaderFieldsTooLarge
	case errors.As(err, &ne) && ne.Timeout():
		status = http.StatusRequestTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &ne), errors.Is(err, net.ErrClosed):
		return // the client has left
	}
	if c.srv.Refused != nil {
		c.srv.Refused(c.ctx, c.nc, err)
	}
	text := fmt.Sprintf("%d %s: %s\n", status, http.StatusText(status), err)
	_, _ = fmt.Fprintf(c.bw, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(text), text)
	if c.bw.Flush() == nil {
		c.part(true)
	}
}

// part lets a client that still sends hear the last answer, which a reset would take
// from it.
func (c *conn) part(sends bool) {
	w, ok := c.nc.(netx.CloseWriter)
	if !ok || !sends || w.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(partWithin)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c.br, unreadBody); err != nil {
		return
	}
	select { // it sends without end
	case <-time.After(partWithin):
	case <-c.ctx.Done():
	}
}

// watch notices that a client leaves while its request is being answered. A short
// request costs it nothing: the clock ticks for the connection, and only a request
// that two ticks have seen is watched.
type watch struct {
	mu      sync.Mutex
	clock   *time.Timer
	ticking bool
	request int64         // counts requests
	seen    int64         // the request of the last tick
	body    *requestBody  // of the request under way; nil between requests
	taker   *requestBody  // of the request whose handler took the connection
	peeking chan struct{} // closed when nobody reads ahead any more; nil: nobody does
	err     error         // what it read
}

func (w *watch) begin(c *conn, body *requestBody) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.request++
	w.body = body
	if w.ticking {
		return
	}
	w.ticking = true
	if w.clock == nil {
		w.clock = time.AfterFunc(watchEvery, func() { w.tick(c) })
	} else {
		w.clock.Reset(watchEvery)
	}
}

func (w *watch) tick(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.body == nil || w.peeking != nil {
		w.ticking = false
		return
	}
	if w.seen != w.request || !w.body.over.Load() {
		w.seen = w.request
		w.clock.Reset(watchEvery)
		return
	}
	w.ticking = false
	if c.nc.SetReadDeadline(time.Time{}) != nil { // it has been closed
		c.cancel()
		return
	}
	done := make(chan struct{})
	w.peeking = done
	go func() { // ends with the request, or the connection
		defer close(done)
		if _, w.err = c.br.Peek(1); w.err != nil && !isTimeout(w.err) {
			c.cancel()
		}
	}()
}

// setDeadline is how handlers, and those who read bodies for them, set one: it counts
// until their request is over, or for as long as they have the connection.
func (w *watch) setDeadline(of *requestBody, set func(time.Time) error, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.body != of && w.taker != of {
		return nil
	}
	return set(t)
}

// end stops watching, and reports whether the connection lives. taken: whoever answers
// the request has the connection from now on.
func (w *watch) end(c *conn, taken bool) bool {
	w.mu.Lock()
	peeking := w.peeking
	if taken {
		w.taker = w.body
	}
	w.body = nil
	w.mu.Unlock()
	if peeking == nil {
		return true
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // what it fails with, the reads will
	<-peeking
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.err
	w.peeking, w.err = nil, nil
	return (err == nil || isTimeout(err)) && c.nc.SetReadDeadline(time.Time{}) == nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
