package mux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
)

const (
	// mostOut is what may wait to be sent, in bytes, before writers wait.
	mostOut = 256 << 10
	// enoughOut is what is written without waiting for more, in bytes.
	enoughOut = 4 << 10
	// keptOut is the largest buffer that is kept while little is sent.
	keptOut = 16 << 10
	// readBuffer is how much is read at once: a record of TLS.
	readBuffer = 16 << 10
	// lastOpen is how long streams may still come to an acceptor that has left.
	lastOpen = time.Second
	// stuckFor is how long a stream that is closed may be at a connection that does
	// not take what it wrote.
	stuckFor = 10 * time.Second
)

// ErrLeft is the answer of an Opener whose acceptor takes no further streams, or
// that has as many as there may be.
var ErrLeft = errors.New("mux: no further streams here")

// conn is what both sides share.
type conn struct {
	nc      net.Conn
	done    chan struct{} // closed when it is over
	work    sync.WaitGroup
	came    func(*Stream) // the acceptor's; nil at an opener
	onLeave func()        // the opener's; may be nil

	mu       sync.Mutex
	room     sync.Cond // out has room, or err is set
	streams  map[uint32]*Stream
	last     uint32 // the stream opened last
	left     bool   // no further streams
	leftAt   time.Time
	out      []byte // frames that wait
	spare    []byte
	flushing bool    // somebody is at the connection
	leader   *Stream // whose goroutine that is; nil for one of ours
	turn     uint64  // counts leaders
	yields   bool    // the leader lets others add to what it is about to write
	grown    int     // what windows have grown by
	err      error
}

func newConn(nc net.Conn, came func(*Stream)) *conn {
	c := &conn{nc: nc, done: make(chan struct{}), came: came, streams: map[uint32]*Stream{}}
	c.room.L = &c.mu
	return c
}

// start begins to read.
func (c *conn) start() {
	c.work.Go(func() { c.fail(c.read()) })
}

// fail ends the connection and all its streams, once.
func (c *conn) fail(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if why == nil || errors.Is(why, io.EOF) {
		why = io.ErrUnexpectedEOF
	}
	c.err = why
	all := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		all = append(all, s)
	}
	clear(c.streams)
	c.out, c.spare = nil, nil
	close(c.done)
	c.room.Broadcast()
	c.mu.Unlock()
	for _, s := range all {
		s.fail(why)
	}
	c.nc.Close()
}

// send puts a frame of a stream in line, and writes what is in line unless somebody
// does. So whoever comes while another writes is taken along with all who came
// meanwhile.
func (c *conn) send(s *Stream, f frame, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.out) >= mostOut {
		if err := s.late(); err != nil {
			return err
		}
		c.room.Wait()
	}
	switch {
	case c.err != nil:
		return c.err
	case s.left.Load(): // its close is in line, or comes next: nothing may come behind that
		return net.ErrClosed
	}
	c.line(f, payload)
	c.lead(s)
	return nil
}

// say sends a frame that waits neither for room nor until it is written.
func (c *conn) say(s *Stream, k kind, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line(frame{kind: k, length: len(payload), stream: s.id}, payload)
	c.flushAside()
}

// line puts a frame in line. mu is held.
func (c *conn) line(f frame, payload []byte) {
	if c.err == nil {
		c.out = append(f.append(c.out), payload...)
	}
}

// lead writes what is in line, on behalf of s, with what others have to say at this
// moment; but what is enough does not wait for more, or the two sides would take
// turns. mu is held.
func (c *conn) lead(s *Stream) {
	if c.err != nil || len(c.out) == 0 || c.flushing && (!c.yields || len(c.out) < enoughOut) {
		return
	}
	c.turn++
	c.leader = s
	if !c.flushing && len(c.out) < enoughOut {
		turn := c.turn
		c.flushing, c.yields = true, true
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if c.turn != turn { // somebody else has written it
			return
		}
	}
	c.flushing, c.yields = true, false
	c.flush()
	c.leader = nil
	if c.flushing { // others came meanwhile: this one has waited for long enough
		c.flushing = false
		c.flushAside()
	}
}

// flushAside writes what is in line on a goroutine of its own: whoever reads must
// not wait for what is written. mu is held.
func (c *conn) flushAside() {
	if c.flushing || c.err != nil || len(c.out) == 0 {
		return
	}
	c.flushing = true
	c.work.Go(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for c.flushing {
			c.flush()
		}
	})
}

// flush writes what is in line. mu is held, but not while it writes.
func (c *conn) flush() {
	b := c.out
	c.out = c.spare[:0]
	c.room.Broadcast()
	c.mu.Unlock()
	_, err := c.nc.Write(b)
	if err != nil {
		c.fail(err)
	}
	c.mu.Lock()
	switch {
	case c.err != nil:
		c.spare = nil
	case cap(b) <= keptOut || len(b) > keptOut:
		c.spare = b[:0]
	default:
		c.spare = nil // a large buffer, and little was in it
	}
	c.flushing = c.err == nil && len(c.out) > 0
}

// read hands out what comes, until the connection ends or breaks a rule.
func (c *conn) read() error {
	r := bufio.NewReaderSize(c.nc, readBuffer)
	for {
		head, err := r.Peek(headerLen)
		if err != nil {
			return err
		}
		f, err := parseFrame(head)
		if err != nil {
			return err
		}
		if _, err := r.Discard(headerLen); err != nil {
			return err
		}
		if err := c.take(r, f); err != nil {
			return err
		}
	}
}

func (c *conn) take(r *bufio.Reader, f frame) error {
	switch f.kind {
	case kindOpen:
		return c.opened(f.stream)
	case kindLeave:
		if c.came != nil {
			return fault.New(fault.Invalid, "an opener of streams leaves")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.left && c.onLeave != nil {
			c.work.Go(c.onLeave)
		}
		c.left = true
		return nil
	}
	c.mu.Lock()
	s, known := c.streams[f.stream], f.stream <= c.last
	c.mu.Unlock()
	if !known {
		return fault.New(fault.Invalid, "a frame for stream %d, which was not opened", f.stream)
	}
	switch f.kind {
	case kindData:
		return s.receive(r, f.length)
	case kindCredit:
		n, err := r.Peek(f.length)
		if err != nil {
			return err
		}
		bytes := binary.BigEndian.Uint32(n)
		if _, err := r.Discard(f.length); err != nil {
			return err
		}
		return s.credited(bytes)
	}
	return s.ended(f.kind == kindClose)
}

// opened takes the peer's next stream.
func (c *conn) opened(id uint32) error {
	if c.came == nil {
		return fault.New(fault.Invalid, "the acceptor opens a stream")
	}
	c.mu.Lock()
	if c.err != nil { // it ended, and what was read ahead is for nobody
		defer c.mu.Unlock()
		return c.err
	}
	if id <= c.last {
		c.mu.Unlock()
		return fault.New(fault.Invalid, "stream %d is opened after %d", id, c.last)
	}
	c.last = id
	if len(c.out) > 2*mostOut { // refusals, and the ends of streams that were short, wait for no room
		defer c.mu.Unlock()
		return fault.New(fault.Limit, "more streams are opened than the answers to them are read")
	}
	if c.left && time.Since(c.leftAt) >= lastOpen || len(c.streams) >= MaxStreams {
		defer c.mu.Unlock()
		c.line(frame{kind: kindClose, stream: id}, nil)
		c.flushAside()
		return nil
	}
	s := newStream(c, id)
	c.streams[id] = s
	c.mu.Unlock()
	c.came(s)
	return nil
}

// forget drops a stream that both sides have left.
func (c *conn) forget(s *Stream) {
	growth := s.growth()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
		c.grown -= growth
	}
	c.endSoon()
}

// endSoon ends an acceptor's connection that takes no further streams and has none.
// It waits a moment: the opener may have opened one before it knew. mu is held.
func (c *conn) endSoon() {
	if c.came == nil || !c.left || len(c.streams) > 0 || c.err != nil {
		return
	}
	time.AfterFunc(lastOpen, func() {
		c.mu.Lock()
		none, unsent := len(c.streams) == 0, c.flushing || len(c.out) > 0
		if none && unsent { // the last words of a stream, for a peer that is slow
			c.endSoon()
		}
		c.mu.Unlock()
		if none && !unsent {
			c.fail(net.ErrClosed)
		}
	})
}

// stuck ends the connection when s, which was closed, is still at it after a while.
func (c *conn) stuck(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == s {
		time.AfterFunc(stuckFor, func() {
			c.mu.Lock()
			still := c.leader == s
			c.mu.Unlock()
			if still {
				c.fail(fault.New(fault.Timeout, "the connection of several streams does not move"))
			}
		})
	}
}

// grow allows a window to grow by n bytes, where there is room for that.
func (c *conn) grow(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grown+n > MaxGrown {
		return false
	}
	c.grown += n
	return true
}

// close ends everything and waits for its goroutines.
func (c *conn) close() {
	c.fail(net.ErrClosed)
	c.work.Wait()
}

// Opener is the side that opens streams. Safe for concurrent use.
type Opener struct{ c *conn }

// NewOpener opens streams over nc, which is its own from now on. left, which may be
// nil, is called once when the acceptor takes no further streams: those that only wait
// for something to do are to be closed then, as the acceptor waits for them.
func NewOpener(nc net.Conn, left func()) *Opener {
	c := newConn(nc, nil)
	c.onLeave = left
	c.start()
	return &Opener{c}
}

// Open returns a new stream, at once: what the acceptor thinks of it shows when it
// is read. It is ErrLeft where there can be no further one.
func (o *Opener) Open() (*Stream, error) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, errors.Join(ErrLeft, c.err)
	case c.left || len(c.streams) >= MaxStreams || c.last == 1<<32-1:
		return nil, ErrLeft
	}
	c.last++
	s := newStream(c, c.last)
	c.streams[s.id] = s
	c.line(frame{kind: kindOpen, stream: s.id}, nil)
	c.flushAside()
	return s, nil
}

// Len is how many streams are open on this side. What the acceptor has not said yet of
// those that were closed here does not count.
func (o *Opener) Len() int {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	n := 0
	for _, s := range o.c.streams {
		if !s.left.Load() {
			n++
		}
	}
	return n
}

// Done is closed when the connection is over.
func (o *Opener) Done() <-chan struct{} { return o.c.done }

// Close ends the connection and all its streams.
func (o *Opener) Close() { o.c.close() }

// Acceptor is the side that streams come to. Safe for concurrent use.
type Acceptor struct {
	nc      net.Conn
	serving sync.WaitGroup

	mu           sync.Mutex
	c            *conn
	left, closed bool
}

// NewAcceptor takes streams over nc, which is its own from now on.
func NewAcceptor(nc net.Conn) *Acceptor { return &Acceptor{nc: nc} }

// Serve calls serve for each stream that comes, on a goroutine of its own, until the
// connection ends or Close is called; then it waits for them. Each stream is closed
// when its serve returns. It is nil where the connection ended, and an error where
// the peer broke a rule.
func (a *Acceptor) Serve(serve func(*Stream)) error {
	c := newConn(a.nc, func(s *Stream) {
		a.serving.Go(func() {
			defer s.Close()
			serve(s)
		})
	})
	a.mu.Lock()
	a.c = c
	left, closed := a.left, a.closed
	a.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	c.start()
	if left {
		a.Leave()
	}
	<-c.done
	c.work.Wait()
	a.serving.Wait()
	if errors.Is(c.err, io.ErrUnexpectedEOF) || errors.Is(c.err, net.ErrClosed) {
		return nil
	}
	return c.err
}

// Leave tells the opener that further streams are refused, from a second on: some may be
// on their way. Those that are open go on; the connection ends when none is left.
func (a *Acceptor) Leave() {
	a.mu.Lock()
	a.left = true
	c := a.c
	a.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left {
		c.left, c.leftAt = true, time.Now()
		c.line(frame{kind: kindLeave}, nil)
		c.flushAside()
	}
	c.endSoon()
}

// Close ends the connection and all its streams.
func (a *Acceptor) Close() {
	a.mu.Lock()
	a.closed = true
	c := a.c
	a.mu.Unlock()
	if c != nil {
		c.fail(net.ErrClosed)
		return
	}
	a.nc.Close()
}

var _ net.Conn = (*Stream)(nil)

var _ netx.CloseWriter = (*Stream)(nil)
