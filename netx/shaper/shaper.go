// Package shaper is a network with faults for tests and benchmarks: delay, rate,
// a cut after N bytes, peers that vanish without a word, partitions. It wraps a
// dialer inside one process (also under testing/synctest), or forwards TCP
// between processes.
package shaper

import (
	"context"
	"net"
	"sync"
	"time"

	"teleport/netx"
	"teleport/netx/memnet"
)

// Shape is what happens to connections. The zero value changes nothing.
type Shape struct {
	Delay    time.Duration // one way, added to each byte
	Rate     int           // bytes per second in each direction; 0: no limit
	CutAfter int64         // the connection is closed after this many bytes from the dialling side; 0: never
	HalfOpen bool          // when one side closes, the other is not told
}

// Shaper applies one shape to all connections made through it. Safe for
// concurrent use.
type Shaper struct {
	mu    sync.Mutex
	shape Shape
	whole chan struct{} // closed while there is no partition
	conns map[*link]struct{}
	work  sync.WaitGroup
}

// New makes a shaper with a shape.
func New(s Shape) *Shaper {
	whole := make(chan struct{})
	close(whole)
	return &Shaper{shape: s, whole: whole, conns: map[*link]struct{}{}}
}

// Set changes the shape, for living connections too.
func (s *Shaper) Set(shape Shape) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shape = shape
}

// Partition stops (or lets flow again) all bytes and all new connections.
// Nothing is closed and nothing is lost: it is held back.
func (s *Shaper) Partition(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.whole:
		if on {
			s.whole = make(chan struct{})
		}
	default:
		if !on {
			close(s.whole)
		}
	}
}

// CutAll closes every living connection.
func (s *Shaper) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.conns {
		l.close()
	}
}

func (s *Shaper) state() (Shape, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shape, s.whole
}

// Dialer wraps d: connections dialled through it are shaped. Close waits for
// what they have started.
func (s *Shaper) Dialer(d netx.Dialer) netx.Dialer {
	return netx.DialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, whole := s.state()
		select {
		case <-whole:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		far, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, inner := memnet.PipeAddr(far.LocalAddr(), far.RemoteAddr())
		s.join(inner, far)
		return near, nil
	})
}

// Forward accepts on ln and passes each connection on to target through d, until
// ctx is cancelled; then it cuts all of them.
func (s *Shaper) Forward(ctx context.Context, ln net.Listener, d netx.Dialer, target string) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer s.Close()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.work.Go(func() {
			_, whole := s.state()
			select {
			case <-whole:
			case <-ctx.Done():
				c.Close()
				return
			}
			far, err := d.DialContext(ctx, "tcp", target)
			if err != nil {
				c.Close()
				return
			}
			s.join(c, far)
		})
	}
}

// Close cuts all connections and waits for their goroutines.
func (s *Shaper) Close() {
	s.Partition(false)
	s.CutAll()
	s.work.Wait()
}

// link is one shaped connection.
type link struct {
	near, far net.Conn
	done      chan struct{}
	once      sync.Once
	sent      int64 // from near to far
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		l.near.Close()
		l.far.Close()
	})
}

func (s *Shaper) join(near, far net.Conn) {
	l := &link{near: near, far: far, done: make(chan struct{})}
	s.mu.Lock()
	s.conns[l] = struct{}{}
	s.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { s.carry(l, far, near, true) })
	both.Go(func() { s.carry(l, near, far, false) })
	s.work.Go(func() {
		both.Wait()
		l.close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, l)
	})
}

// parcel is a run of bytes on its way; nil bytes are the end of the stream.
type parcel struct {
	b   []byte
	due time.Time
}

// carry moves one direction: a reader stamps what it reads, a writer lets it go
// when it is due.
func (s *Shaper) carry(l *link, dst, src net.Conn, outward bool) {
	queue := make(chan parcel, 256)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, 16<<10)
			n, err := src.Read(b)
			shape, _ := s.state()
			p := parcel{b[:n], time.Now().Add(shape.Delay)}
			if n > 0 && !l.put(queue, p) {
				return
			}
			if err != nil {
				l.put(queue, parcel{nil, p.due})
				return
			}
		}
	})
	free := time.Now()
	for p := range queue {
		if !s.release(l, dst, p, outward, &free) {
			break
		}
	}
	if shape, _ := s.state(); !shape.HalfOpen {
		src.SetReadDeadline(time.Unix(1, 0))
	}
	for range queue { // what comes now goes nowhere
	}
	reader.Wait()
}

func (l *link) put(queue chan<- parcel, p parcel) bool {
	select {
	case queue <- p:
		return true
	case <-l.done:
		return false
	}
}

// release writes one parcel when its time has come; false ends the direction.
func (s *Shaper) release(l *link, dst net.Conn, p parcel, outward bool, free *time.Time) bool {
	shape, whole := s.state()
	if shape.Rate > 0 {
		start := p.due
		if free.After(start) {
			start = *free
		}
		p.due = start.Add(time.Duration(len(p.b)) * time.Second / time.Duration(shape.Rate))
		*free = p.due
	}
	if !l.until(p.due) || !l.wait(whole) {
		return false
	}
	if p.b == nil {
		if cw, ok := dst.(netx.CloseWriter); ok && !shape.HalfOpen {
			cw.CloseWrite()
		}
		return false
	}
	if outward && shape.CutAfter > 0 {
		if left := shape.CutAfter - l.sent; int64(len(p.b)) >= left {
			dst.Write(p.b[:left])
			l.close()
			return false
		}
		l.sent += int64(len(p.b))
	}
	_, err := dst.Write(p.b)
	if err != nil && !shape.HalfOpen {
		l.close()
	}
	return err == nil
}

func (l *link) until(t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

func (l *link) wait(whole <-chan struct{}) bool {
	select {
	case <-whole:
		return true
	case <-l.done:
		return false
	}
}
