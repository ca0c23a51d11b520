package netx

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"teleport/fault"
)

// Counters count the bytes of a splice while it runs. Safe for concurrent use.
type Counters struct {
	AToB, BToA atomic.Int64
}

// Total returns the sum of both directions.
func (c *Counters) Total() int64 { return c.AToB.Load() + c.BToA.Load() }

// SpliceOptions limit a splice. The zero value has no limits.
type SpliceOptions struct {
	// Idle ends the splice when no byte has moved either way for this long.
	Idle time.Duration
	// Deadline ends it at a fixed time.
	Deadline time.Time
	// Counters, when not nil, are increased as bytes move.
	Counters *Counters
	// Touch, when not nil, is called as bytes move, at least once in a second of
	// it: what an idle limit outside of the splice goes by. It must be cheap.
	Touch func()
}

// touchEvery bounds how long bytes that the kernel moves go unnoticed.
const touchEvery = time.Second

// Causes of a splice that its limits ended.
var (
	ErrIdle     = fault.New(fault.Timeout, "the connection was idle for too long")
	ErrDeadline = fault.New(fault.Timeout, "the connection reached its time limit")
)

// Splice copies between a and b, connections or channels, both ways, until both
// directions have ended, and closes both, which has happened when it returns. The end of one direction is passed on as a half-close, where
// the other connection knows it; where it does not, that ends the splice. One that takes
// nothing more has a second to say why: what it says still arrives.
// Cancelling ctx cuts it at once: the context's cause is the error returned, so
// context.WithCancelCause is how a lock ends a stream. A splice that both sides
// ended returns nil.
//
// Pairs of TCP connections are left to the kernel. Otherwise a direction holds a
// 1 KiB buffer while little flows and a pooled one of 64 KiB while much does.
func Splice(ctx context.Context, a, b io.ReadWriteCloser, o SpliceOptions) error {
	s := &splice{a: a, b: b, counters: o.Counters, touch: o.Touch, closed: make(chan struct{})}
	if s.counters == nil {
		s.counters = new(Counters)
	}
	if s.touch == nil {
		s.touch = func() {}
	} else {
		s.tick = touchEvery
	}
	if !o.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, o.Deadline, ErrDeadline)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() { s.cut(context.Cause(ctx)) })
	defer stop()
	if o.Idle > 0 {
		s.tick = o.Idle / 4
		if o.Touch != nil {
			s.tick = min(s.tick, touchEvery)
		}
		s.watchIdle(o.Idle)
		defer s.stopWatch()
	}
	defer s.stopParting()
	var wg sync.WaitGroup
	wg.Go(func() { s.copy(b, a, &s.counters.AToB) })
	s.copy(a, b, &s.counters.BToA)
	wg.Wait()
	s.cut(nil)
	<-s.closed // a process that ends with the splice must not take last words with it
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

type splice struct {
	a, b     io.ReadWriteCloser
	counters *Counters
	touch    func()
	tick     time.Duration // how often a kernel splice must report its bytes; 0: never
	closed   chan struct{} // closed when both ends are

	mu      sync.Mutex
	ended   bool
	cause   error // why it was cut; nil when both sides ended by themselves
	watch   *time.Timer
	seen    int64
	stopped bool
	parting *time.Timer // cuts an end that takes nothing more; nil: none is such
	deaf    error       // why that one takes nothing more
}

// cut closes both ends. The first call decides the cause.
func (s *splice) cut(cause error) {
	s.mu.Lock()
	first := !s.ended
	if first {
		s.ended, s.cause = true, cause
		if cause == nil {
			s.cause = s.deaf
		}
	}
	s.mu.Unlock()
	if first {
		s.a.Close()
		s.b.Close()
		close(s.closed)
	}
}

// lastWords is how long an end that takes nothing more may say why.
const lastWords = time.Second

// deafError is a write to an end that takes nothing more.
type deafError struct{ error }

// part ends one direction, whose end takes nothing more: it may have said why before it
// left, which the other direction still brings.
func (s *splice) part(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting == nil {
		s.deaf = why
		s.parting = time.AfterFunc(lastWords, func() { s.cut(nil) })
	}
}

func (s *splice) stopParting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting != nil {
		s.parting.Stop()
	}
}

// watchIdle looks at the counters every quarter of the limit; four looks
// without a change are idle.
func (s *splice) watchIdle(idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := 0
	s.seen = s.counters.Total()
	s.watch = time.AfterFunc(idle/4, func() {
		now := s.counters.Total()
		s.mu.Lock()
		if now == s.seen {
			quiet++
		} else {
			quiet, s.seen = 0, now
		}
		idleNow := quiet >= 4
		if !idleNow && !s.stopped {
			s.watch.Reset(idle / 4)
		}
		s.mu.Unlock()
		if idleNow {
			s.cut(ErrIdle)
		}
	})
}

func (s *splice) stopWatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.watch.Stop()
}

// copy moves one direction and passes its end on.
func (s *splice) copy(dst, src io.ReadWriteCloser, n *atomic.Int64) {
	err := s.move(dst, src, n)
	var deaf *deafError
	switch {
	case errors.As(err, &deaf):
		s.part(endOf(deaf.error))
		return
	case err != nil:
		s.cut(endOf(err))
		return
	}
	cw, ok := dst.(CloseWriter)
	if !ok || cw.CloseWrite() != nil {
		s.cut(nil)
	}
}

// endOf drops the errors that only say that the other side went away.
func endOf(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (s *splice) move(dst, src io.ReadWriteCloser, n *atomic.Int64) error {
	d, ok1 := dst.(*net.TCPConn)
	t, ok2 := src.(*net.TCPConn)
	if ok1 && ok2 {
		return s.kernel(d, t, n)
	}
	return s.pump(dst, src, n)
}

// kernel lets the kernel move the bytes. The idle watch needs to see progress,
// so each turn ends after a tick, by a read deadline, or after 4 MiB.
func (s *splice) kernel(dst, src *net.TCPConn, n *atomic.Int64) error {
	for {
		if s.tick > 0 {
			if err := src.SetReadDeadline(time.Now().Add(s.tick)); err != nil {
				return err
			}
		}
		limited := &io.LimitedReader{R: src, N: 4 << 20}
		moved, err := dst.ReadFrom(limited)
		if n.Add(moved); moved > 0 {
			s.touch()
		}
		switch {
		case s.tick > 0 && errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET): // mostly by dst
			return &deafError{err}
		case err != nil:
			return err
		case limited.N > 0:
			return nil
		}
	}
}

const (
	smallBuffer = 1 << 10
	largeBuffer = 64 << 10
	// A large buffer is taken after this many reads in a row that filled the
	// small one, and given back after as many that would have fitted it. So the
	// flights of a handshake do not leave an idle stream holding large buffers.
	steady = 16
)

// largeBuffers is shared by all splices of the process: it holds no state, only
// memory that the collector may take.
var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// pump copies until src ends (nil) or either fails. What is in whole TLS records
// is taken together and written together.
func (s *splice) pump(dst io.Writer, src io.Reader, n *atomic.Int64) error {
	small := make([]byte, smallBuffer)
	buf := small
	var large *[largeBuffer]byte
	release := func() {
		if large != nil {
			largeBuffers.Put(large)
			large, buf = nil, small
		}
	}
	defer release()
	from, to := recordsOf(src), recordsOf(dst)
	for calm, full := 0, 0; ; {
		k, err := src.Read(buf)
		for err == nil && large != nil && from != nil && k < largeBuffer && from.ready() {
			var more int
			more, err = src.Read(buf[k:])
			k += more
		}
		if k > 0 {
			if werr := writeGathered(dst, to, buf[:k]); werr != nil {
				return &deafError{werr}
			}
			n.Add(int64(k))
			s.touch()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if k < smallBuffer {
			calm, full = calm+1, 0
		} else {
			calm, full = 0, full+1
		}
		switch {
		case large != nil && calm == steady:
			release()
		case large == nil && full == steady:
			large = largeBuffers.Get().(*[largeBuffer]byte)
			buf = large[:]
		}
	}
}

// oneRecord is what TLS puts into one record.
const oneRecord = 16 << 10

// WriteTogether writes p to c, a connection of TLS; more than one record of it leaves
// in one piece where what is under the TLS can do that. It is for one writer at a time.
func WriteTogether(c net.Conn, p []byte) (int, error) {
	if len(p) <= oneRecord {
		return c.Write(p)
	}
	if err := writeGathered(c, recordsOf(c), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeGathered writes p; more than one record of it leaves in one piece.
func writeGathered(dst io.Writer, under *Records, p []byte) error {
	if under == nil || len(p) <= oneRecord {
		_, err := dst.Write(p)
		return err
	}
	under.gather()
	_, err := dst.Write(p)
	if ferr := under.flush(); err == nil {
		err = ferr
	}
	return err
}
