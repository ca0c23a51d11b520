package mux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx/memnet"
)

// world is both sides of a connection.
type world struct {
	*Opener
	acceptor *Acceptor
	served   sync.WaitGroup
	err      error // of Serve
}

func newWorld(serve func(*Stream)) *world {
	near, far := memnet.Pipe()
	w := &world{Opener: NewOpener(near, nil), acceptor: NewAcceptor(far)}
	w.served.Go(func() { w.err = w.acceptor.Serve(serve) })
	return w
}

func (w *world) end() error {
	w.Close()
	w.acceptor.Close()
	w.served.Wait()
	return w.err
}

// echo sends back what comes, and ends when its peer does.
func echo(s *Stream) {
	if _, err := io.Copy(s, s); err == nil {
		_ = s.CloseWrite()
	}
}

func open(t *testing.T, o *Opener) *Stream {
	t.Helper()
	s, err := o.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Hundreds of streams at once, each with bytes of its own, in pieces of any size.
func TestStreamsKeepTheirBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(echo)
		var work sync.WaitGroup
		for i := range uint64(MaxStreams) {
			s := open(t, w.Opener)
			work.Go(func() {
				r := rand.New(rand.NewPCG(i, 1))
				sent := make([]byte, r.IntN(100_000))
				for k := range sent {
					sent[k] = byte(r.Uint32())
				}
				work.Go(func() {
					for rest := sent; len(rest) > 0; {
						n := min(1+r.IntN(50_000), len(rest))
						if _, err := s.Write(rest[:n]); err != nil {
							t.Error(err)
						}
						rest = rest[n:]
					}
					if err := s.CloseWrite(); err != nil {
						t.Error(err)
					}
				})
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("stream %d: %d bytes of %d, %v", s.id, len(got), len(sent), err)
				}
				s.Close()
			})
		}
		work.Wait()
		synctest.Wait()
		if n := w.Len(); n != 0 || w.c.grown != 0 || w.acceptor.c.grown != 0 {
			t.Errorf("%d streams are left, and windows of %d and %d bytes", n, w.c.grown, w.acceptor.c.grown)
		}
		for range MaxStreams {
			open(t, w.Opener)
		}
		if _, err := w.Open(); !errors.Is(err, ErrLeft) {
			t.Errorf("one stream more: %v", err)
		}
		if err := w.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestASlowReaderHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(echo)
		slow, quick := open(t, w.Opener), open(t, w.Opener)
		go slow.Write(make([]byte, 10<<20)) //nolint:errcheck // it is held up, and then cut
		synctest.Wait()
		if _, err := quick.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(quick, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		if n := slow.in.n; n > Window {
			t.Errorf("%d bytes wait for a reader that does not come", n)
		}
		_ = w.end()
	})
}

func TestAWindowGrowsForWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan int64, 1)
		w := newWorld(func(s *Stream) {
			n, _ := io.Copy(io.Discard, s)
			if s.growth() == 0 {
				t.Error("the window has not grown")
			}
			got <- n
		})
		s := open(t, w.Opener)
		const size = 32 << 20
		if n, err := s.Write(make([]byte, size)); n != size || err != nil {
			t.Fatal(n, err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != size {
			t.Errorf("%d bytes", n)
		}
		_ = w.end()
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := make(chan *Stream)
		hold := make(chan struct{})
		w := newWorld(func(s *Stream) { far <- s; <-hold })
		s := open(t, w.Opener)
		f := <-far
		if _, err := f.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got, err := io.ReadAll(s); string(got) != "last words" || err != nil {
			t.Errorf("after a close: %q, %v", got, err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a write to who has gone: %v", err)
		}
		if w.Len() != 1 {
			t.Error("a stream is forgotten that is still held")
		}
		s.Close()
		s.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || w.Len() != 0 {
			t.Errorf("a closed stream reads: %v; %d are left", err, w.Len())
		}

		s = open(t, w.Opener)
		f = <-far
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a write behind the end: %v", err)
		}
		if got, err := io.ReadAll(f); len(got) != 0 || err != nil {
			t.Errorf("after an end: %q, %v", got, err)
		}
		if _, err := f.Write([]byte("answer")); err != nil {
			t.Errorf("the other direction ended too: %v", err)
		}
		w.Close()
		if _, err := f.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("an ended direction of a connection that is gone: %v", err)
		}
		synctest.Wait()
		if _, err := f.Write([]byte("x")); err == nil {
			t.Error("a write into a connection that is gone")
		}
		if _, err := w.Open(); !errors.Is(err, ErrLeft) {
			t.Errorf("a stream on a connection that is gone: %v", err)
		}
		close(hold)
		_ = w.end()
	})
}

func TestACutConnectionIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(echo)
		s := open(t, w.Opener)
		w.acceptor.Close()
		if _, err := io.ReadAll(s); err == nil {
			t.Error("a stream that was cut reads as one that ended")
		}
		<-w.Done()
		_ = w.end()
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		w := newWorld(func(*Stream) { <-hold })
		s := open(t, w.Opener)
		_ = s.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		_ = s.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := s.Write(make([]byte, 2*Window)); n != Window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", n, err)
		}
		_ = s.SetDeadline(time.Time{})
		woken := make(chan error)
		go func() {
			_, err := s.Read(make([]byte, 1))
			woken <- err
		}()
		synctest.Wait()
		_ = s.SetReadDeadline(time.Unix(1, 0))
		if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("who reads is not woken: %v", err)
		}
		go func() {
			_, err := s.Write(make([]byte, 1))
			woken <- err
		}()
		synctest.Wait()
		s.Close()
		if err := <-woken; !errors.Is(err, net.ErrClosed) {
			t.Errorf("who writes is not woken: %v", err)
		}
		close(hold)
		_ = w.end()
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(echo)
		s := open(t, w.Opener)
		synctest.Wait()
		w.acceptor.Leave()
		synctest.Wait()
		if _, err := w.Open(); !errors.Is(err, ErrLeft) {
			t.Errorf("a stream where none is taken: %v", err)
		}
		if _, err := s.Write([]byte("on")); err != nil {
			t.Errorf("one that is open does not go on: %v", err)
		}
		time.Sleep(time.Minute)
		select {
		case <-w.Done():
			t.Error("the connection ended under a stream")
		default:
		}
		s.Close()
		<-w.Done()
		_ = w.end()
	})
}

// TestWhoOpensHearsOfALeave, once, and can close what only waits.
func TestWhoOpensHearsOfALeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		a := NewAcceptor(far)
		var idle *Stream
		times := 0
		o := NewOpener(near, func() {
			times++
			idle.Close()
		})
		go func() { _ = a.Serve(echo) }() // ends with the leave
		idle = open(t, o)
		synctest.Wait()
		a.Leave()
		a.Leave()
		<-o.Done()
		if times != 1 {
			t.Errorf("it hears %d times", times)
		}
	})
}

// A connection that does not take bytes is given up when one who waits in it was
// closed, as a lock does.
func TestAClosedStreamIsNotStuckForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		defer far.Close()
		o := NewOpener(near, nil)
		s := open(t, o)
		for o.c.leaderOf() == nil { // nobody reads at the other end
			go func() { _, _ = s.Write(make([]byte, MaxPayload)) }()
			s.mu.Lock()
			s.credit += MaxPayload
			s.mu.Unlock()
			synctest.Wait()
		}
		s.Close()
		time.Sleep(stuckFor)
		<-o.Done()
		o.Close()
	})
}

// Whoever waits behind others is let go by a close, or when the time is over.
func TestWhoWaitsForRoomIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		defer far.Close()
		o := NewOpener(near, nil)
		var work sync.WaitGroup
		for range 60 { // nobody reads at the other end
			s := open(t, o)
			work.Go(func() { _, _ = s.Write(make([]byte, Window)) })
		}
		synctest.Wait()
		closed, late := open(t, o), open(t, o)
		ends := make(chan error, 2)
		for _, s := range []*Stream{closed, late} {
			work.Go(func() {
				_, err := s.Write([]byte("x"))
				ends <- err
			})
		}
		synctest.Wait()
		work.Go(func() { closed.Close() })
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after a close: %v", err)
		}
		_ = late.SetWriteDeadline(time.Now().Add(time.Second))
		if err := <-ends; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the time was over: %v", err)
		}
		o.Close()
		work.Wait()
	})
}

func (c *conn) leaderOf() *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

func frames(list ...frame) []byte {
	var b []byte
	for _, f := range list {
		b = append(f.append(b), make([]byte, f.length)...)
	}
	return b
}

func credit(id, n uint32) []byte {
	return binary.BigEndian.AppendUint32(frame{kindCredit, 4, id}.append(nil), n)
}

// What breaks a rule ends the connection.
func TestAPeerThatBreaksTheRules(t *testing.T) {
	data := func(n int) frame { return frame{kindData, n, 1} }
	begun := frame{kindOpen, 0, 1}
	whole := []frame{begun, data(MaxPayload), data(MaxPayload)}
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"an unknown kind":               {frames(frame{9, 0, 1}), "unknown kind"},
		"too long a frame":              {frame{kindData, MaxPayload + 1, 1}.append(frames(begun)), "has 32769 bytes"},
		"an empty data frame":           {frames(begun, data(0)), "has 0 bytes"},
		"an open with bytes":            {frames(frame{kindOpen, 1, 1}), "has 1 bytes"},
		"a stream 0":                    {frames(frame{kindOpen, 0, 0}), "stream 0"},
		"a stream twice":                {frames(begun, begun), "is opened after"},
		"a stream that goes back":       {frames(frame{kindOpen, 0, 7}, frame{kindOpen, 0, 6}), "is opened after"},
		"bytes for no stream":           {frames(data(1)), "was not opened"},
		"more than the window":          {frames(append(whole, data(1))...), "more than its window"},
		"bytes behind the end":          {frames(begun, frame{kindEnd, 0, 1}, data(1)), "behind its end"},
		"no credit":                     {append(frames(begun), credit(1, 0)...), "credit of 0"},
		"a credit beyond all":           {append(frames(begun), credit(1, MaxWindow)...), "credit of"},
		"a credit that wraps":           {append(frames(begun), credit(1, 1<<32-1)...), "credit of"},
		"an opener that leaves":         {frames(frame{kindLeave, 0, 0}), "leaves"},
		"an end of what was not opened": {frames(frame{kindEnd, 0, 3}), "was not opened"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := memnet.Pipe()
				a := NewAcceptor(far)
				go io.Copy(io.Discard, near) //nolint:errcheck // until it is closed
				hold := make(chan struct{})
				var err error
				var served sync.WaitGroup
				served.Go(func() { err = a.Serve(func(*Stream) { <-hold }) })
				if _, werr := near.Write(c.in); werr != nil {
					t.Fatal(werr)
				}
				synctest.Wait()
				near.Close()
				close(hold)
				served.Wait()
				if err == nil || !strings.Contains(fault.Message(err), c.want) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func TestAnAcceptorDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		o := NewOpener(near, nil)
		if _, err := far.Write(frames(frame{kindOpen, 0, 1})); err != nil {
			t.Fatal(err)
		}
		<-o.Done()
		far.Close()
		o.Close()
	})
}

// One stream more than there may be is refused, and nothing else happens.
func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		a := NewAcceptor(far)
		hold := make(chan struct{})
		var served sync.WaitGroup
		n := 0
		var mu sync.Mutex
		served.Go(func() {
			_ = a.Serve(func(*Stream) {
				mu.Lock()
				n++
				mu.Unlock()
				<-hold
			})
		})
		var in []byte
		for id := range uint32(MaxStreams + 2) {
			in = frame{kindOpen, 0, id + 1}.append(in)
		}
		if _, err := near.Write(in); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2*headerLen)
		if _, err := io.ReadFull(near, got); err != nil || !bytes.Equal(got, frames(frame{kindClose, 0, MaxStreams + 1}, frame{kindClose, 0, MaxStreams + 2})) {
			t.Errorf("%x, %v", got, err)
		}
		synctest.Wait()
		mu.Lock()
		if n != MaxStreams {
			t.Errorf("%d streams are served", n)
		}
		mu.Unlock()
		near.Close()
		close(hold)
		served.Wait()
	})
}

func FuzzAcceptor(f *testing.F) {
	f.Add(frames(frame{kindOpen, 0, 1}, frame{kindData, 5, 1}, frame{kindEnd, 0, 1}))
	f.Add(append(frames(frame{kindOpen, 0, 1}, frame{kindOpen, 0, 2}, frame{kindClose, 0, 1}), credit(2, 70_000)...))
	f.Add(frames(frame{kindLeave, 0, 0}))
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := memnet.Pipe()
		a := NewAcceptor(far)
		go io.Copy(io.Discard, near) //nolint:errcheck // until it is closed
		var served sync.WaitGroup
		served.Go(func() { _ = a.Serve(echo) })
		_, _ = near.Write(in)
		near.Close()
		served.Wait()
	})
}

// TestEnoughDoesNotWait: while a writer lets others go along, little that they say waits
// for it, and enough is written by whoever says it.
func TestEnoughDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var came atomic.Int64
		w := newWorld(func(s *Stream) {
			b := make([]byte, 64<<10)
			for {
				n, err := s.Read(b)
				came.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		one, other := open(t, w.Opener), open(t, w.Opener)
		synctest.Wait()
		w.c.mu.Lock() // as one leaves it who yields
		w.c.line(frame{kind: kindData, length: 3, stream: one.id}, []byte("one"))
		w.c.flushing, w.c.yields = true, true
		turn := w.c.turn
		w.c.mu.Unlock()
		for _, step := range []struct{ says, came int }{{5, 0}, {enoughOut, 3 + 5 + enoughOut}} {
			if _, err := other.Write(make([]byte, step.says)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if n := came.Load(); n != int64(step.came) {
				t.Errorf("after %d bytes %d have come", step.says, n)
			}
		}
		if w.c.turn == turn || w.c.flushing || w.c.yields {
			t.Error("whoever yields would write it again")
		}
		_ = w.end() // how it ends is another test's
	})
}
