package mux

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
)

// TestStreamsThatEndAtOnce: who opens streams and closes them again, and reads nothing
// of what that is answered with, costs no memory without bound.
func TestStreamsThatEndAtOnce(t *testing.T) {
	near, far := memnet.Pipe()
	a := NewAcceptor(far)
	served := make(chan error, 1)
	go func() { served <- a.Serve(func(*Stream) {}) }()
	for id, batch := uint32(1), []frame(nil); id < 1<<20; id++ {
		if batch = append(batch, frame{kindOpen, 0, id}, frame{kindClose, 0, id}); len(batch) < 200 {
			continue
		}
		if _, err := near.Write(frames(batch...)); err != nil {
			break
		}
		batch = batch[:0]
	}
	near.Close()
	if err := <-served; !errors.Is(err, fault.Limit) {
		t.Errorf("%v", err)
	}
}

// TestQuietStreams: a stream that is kept for later tells what has become of it.
func TestQuietStreams(t *testing.T) {
	for name, ends := range map[string]func(near, far *Stream) error{
		"closed there": func(_, far *Stream) error { return far.Close() },
		"ended there":  func(_, far *Stream) error { return far.CloseWrite() },
		"bytes":        func(_, far *Stream) error { _, err := far.Write([]byte("x")); return err },
		"closed here":  func(near, _ *Stream) error { return near.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				came, hold := make(chan *Stream), make(chan struct{})
				w := newWorld(func(s *Stream) {
					came <- s
					<-hold
				})
				near := open(t, w.Opener)
				far := <-came
				if !netx.Quiet(near) {
					t.Error("it is not quiet before")
				}
				if err := ends(near, far); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if netx.Quiet(near) {
					t.Error("it is quiet")
				}
				close(hold)
				synctest.Wait()
				_ = w.end() // how it ends is another test's
			})
		})
	}
}

// TestAClosedStreamHasNoDeadlines: a timer would hold it.
func TestAClosedStreamHasNoDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(func(s *Stream) { _, _ = io.Copy(io.Discard, s) })
		s := open(t, w.Opener)
		if err := s.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.SetDeadline(time.Now().Add(time.Hour)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a deadline of a closed stream: %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		_ = w.end() // how it ends is another test's
	})
}

// TestAnAcceptorThatNeverLetsGo: streams that were closed here count no more, whatever
// the acceptor makes of them.
func TestAnAcceptorThatNeverLetsGo(t *testing.T) {
	near, far := memnet.Pipe()
	go io.Copy(io.Discard, far) //nolint:errcheck // it ends with the pipe
	o := NewOpener(near, nil)
	defer o.Close()
	kept := open(t, o)
	for range MaxStreams - 1 {
		if err := open(t, o).Close(); err != nil {
			t.Error(err)
		}
	}
	if n := o.Len(); n != 1 {
		t.Errorf("%d streams are open", n)
	}
	if _, err := o.Open(); !errors.Is(err, ErrLeft) {
		t.Errorf("the acceptor holds more than there may be: %v", err)
	}
	if err := kept.Close(); err != nil || o.Len() != 0 {
		t.Errorf("%v, %d", err, o.Len())
	}
}

// A request that is cut closes its stream beside whoever still sends its body: what they
// were about to say would come behind the end, for which the peer ends everything.
func TestAStreamIsClosedBesideItsWriter(t *testing.T) {
	w := newWorld(func(s *Stream) { _, _ = io.Copy(io.Discard, s) })
	for range 300 {
		s, err := w.Open()
		if err != nil { // or those that were closed are not gone yet
			runtime.Gosched()
			continue
		}
		var writer sync.WaitGroup
		writer.Go(func() {
			for err := error(nil); err == nil; {
				_, err = s.Write([]byte("more of it"))
			}
		})
		runtime.Gosched()
		s.Close()
		writer.Wait()
	}
	select {
	case <-w.Done():
		t.Error("all others ended with it")
	default:
	}
	_ = w.end()
}

// TestLastWordsAfterALeave: who takes no further streams hangs up when the last one is
// over, but not before the peer has what it said last, however slowly that reads.
func TestLastWordsAfterALeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		a := NewAcceptor(far)
		said := make([]byte, 4*Window)
		served := make(chan error, 1)
		go func() {
			served <- a.Serve(func(s *Stream) {
				_, _ = io.Copy(io.Discard, s)
				_, _ = s.Write(said)
			})
		}()
		defer near.Close()
		say := func(b []byte) {
			if _, err := near.Write(b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		say(append(frames(frame{kindOpen, 0, 1}), credit(1, uint32(len(said)))...))
		a.Leave() // which waits for its reader, and all that follows waits behind it
		synctest.Wait()
		say(frames(frame{kindEnd, 0, 1}))
		time.Sleep(time.Minute)
		got, err := io.ReadAll(near)
		if err != nil || len(got) < len(said) {
			t.Errorf("%d bytes of %d: %v", len(got), len(said), err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// TestStreamsOnTheirWayAreTaken: who has not heard yet that no further ones are does
// nothing wrong.
func TestStreamsOnTheirWayAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		a := NewAcceptor(far)
		taken := 0
		served := make(chan error, 1)
		go func() {
			served <- a.Serve(func(s *Stream) {
				taken++
				_, _ = io.Copy(io.Discard, s)
			})
		}()
		for id, want := range []int{1, 2, 2} {
			if _, err := near.Write(frames(frame{kindOpen, 0, uint32(id) + 1})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if taken != want {
				t.Errorf("%d of %d are taken", taken, id+1)
			}
			if a.Leave(); id == 1 {
				time.Sleep(lastOpen)
			}
		}
		near.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
