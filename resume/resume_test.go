package resume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/test/ledger"
)

func TestAStreamOutlivesItsCarriers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var changes []Change
		o := w.options(certificate(t, "alice"))
		o.Observe = func(c Change) { w.set(func() { changes = append(changes, c) }) }
		c, s := w.open(o)
		go echo(s)
		roundTrip(t, c, "hello")
		for i := range 3 {
			w.cut()
			roundTrip(t, c, fmt.Sprintf("again %d", i))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := w.holder.Len(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		if d, a := w.seen(Detached), w.seen(Attached); d != 3 || a != 3 {
			t.Errorf("%d times detached, %d times attached", d, a)
		}
		if len(changes) != 6 || !changes[0].Lost || changes[1].Lost {
			t.Errorf("the client was told %+v", changes)
		}
	})
}

// cutter is a carrier that breaks after so many bytes in either direction, in
// the middle of whatever is under way.
type cutter struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *cutter) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

func (c *cutter) Write(p []byte) (int, error) {
	n := c.take(len(p))
	m, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		c.Conn.Close()
		err = net.ErrClosed
	}
	return m, err
}

func (c *cutter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if m := c.take(n); m < n {
		c.Conn.Close()
		return m, net.ErrClosed
	}
	return n, err
}

// TestNoByteIsLostOrRepeated moves two ledgers through carriers that break after
// random numbers of bytes, from the first byte of a handshake on.
func TestNoByteIsLostOrRepeated(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T, w *world) {
			r := rand.New(rand.NewPCG(seed, 1))
			carriers := 0
			w.wrap = func(c net.Conn) net.Conn {
				if carriers++; carriers > 40 {
					return c
				}
				r := rand.New(rand.NewPCG(seed, uint64(carriers)))
				reach := []int{300, 3000, 200_000}[r.IntN(3)]
				if carriers == 1 {
					return &cutter{Conn: c, left: 1000 + r.IntN(reach)}
				}
				return &cutter{Conn: c, left: r.IntN(reach)}
			}
			c, s := w.open(w.options(certificate(t, "alice")))
			size := int64(1 << 20)
			var all sync.WaitGroup
			pieces := 1 + r.IntN(40_000)
			send := func(to net.Conn, seed uint64) {
				if _, err := io.CopyBuffer(struct{ io.Writer }{to}, &ledger.Source{Seed: seed, Size: size}, make([]byte, pieces)); err != nil {
					t.Error(err)
				}
				if err := to.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Error(err)
				}
			}
			take := func(from net.Conn, seed uint64) {
				check := &ledger.Check{Seed: seed}
				if _, err := io.Copy(struct{ io.Writer }{check}, struct{ io.Reader }{from}); err != nil || check.Position() != size {
					t.Errorf("seed %d: %d of %d bytes: %v", seed, check.Position(), size, err)
				}
			}
			all.Go(func() { send(c, 1) })
			all.Go(func() { send(s, 2) })
			all.Go(func() { take(s, 1) })
			all.Go(func() { take(c, 2) })
			all.Wait()
			c.Close()
			s.Close()
			if carriers < 3 {
				t.Errorf("only %d carriers were used", carriers)
			}
		})
	}
}

func TestWhatWasWrittenIsDeliveredAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		w.set(func() { w.down = true })
		w.cut()
		synctest.Wait()
		if _, err := io.WriteString(s, "exit status 0"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		time.Sleep(time.Minute)
		w.set(func() { w.down = false })
		b, err := io.ReadAll(c)
		if err != nil || string(b) != "exit status 0" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("a write after the other end's close")
		}
		c.Close()
		synctest.Wait()
		if n := w.holder.Len(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// rash is a carrier that loses, when it is closed, what was not yet delivered:
// so does TCP where bytes are left unread at the side that closes.
type rash struct {
	net.Conn
	queue chan []byte
	once  sync.Once
	done  chan struct{}
}

func newRash(c net.Conn) net.Conn {
	r := &rash{Conn: c, queue: make(chan []byte, 64), done: make(chan struct{})}
	go func() {
		for {
			select {
			case b := <-r.queue:
				select {
				case <-time.After(100 * time.Millisecond):
					_, _ = c.Write(b) // the other end may be gone
				case <-r.done:
					return
				}
			case <-r.done:
				return
			}
		}
	}()
	return r
}

func (r *rash) Write(p []byte) (int, error) {
	select {
	case r.queue <- bytes.Clone(p):
		return len(p), nil
	case <-r.done:
		return 0, net.ErrClosed
	}
}

func (r *rash) Close() error {
	r.once.Do(func() { close(r.done) })
	return r.Conn.Close()
}

// TestTheLastWordsOfAClientArrive: whoever goes on purpose leaves no stream
// behind that waits for them, whichever side was the first to close.
func TestTheLastWordsOfAClientArrive(t *testing.T) {
	for name, agentAfter := range map[string]time.Duration{"the agent first": 0, "the client first": time.Second - time.Millisecond,
		"while the client's close is on its way": 550 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.wrap = newRash
				c, s := w.open(w.options(certificate(t, "alice")))
				work := sync.WaitGroup{}
				work.Go(func() { time.Sleep(agentAfter); s.Close() })
				time.Sleep(500 * time.Millisecond)
				begun := time.Now()
				c.Close()
				if d := time.Since(begun); d > farewellFor {
					t.Errorf("it took %s", d)
				}
				work.Wait()
				time.Sleep(time.Second)
				if n := w.holder.Len(); n != 0 {
					t.Errorf("%d streams are left", n)
				}
			})
		})
	}
}

// TestALeaveOverAnotherConnection: whoever leaves while the connection is down, or as it
// breaks, leaves over the next one, if there is one soon; and nothing is told of that.
func TestALeaveOverAnotherConnection(t *testing.T) {
	for name, c := range map[string]struct {
		back  time.Duration // after the loss; 0: at once
		left  time.Duration // after the loss
		alone bool          // it came back too late for the client
	}{"as it breaks": {0, 0, false}, "while it is down": {time.Second, 500 * time.Millisecond, false}, "for good": {time.Hour, 0, true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				o := w.options(certificate(t, "alice"))
				var told atomic.Int32
				o.Observe = func(Change) { told.Add(1) }
				client, s := w.open(o)
				go echo(s)
				roundTrip(t, client, "hello")
				w.set(func() { w.down = c.back > 0 })
				w.cut()
				var work sync.WaitGroup
				work.Go(func() {
					time.Sleep(min(c.back, time.Minute))
					w.set(func() { w.down = c.alone })
				})
				time.Sleep(c.left)
				before, begun := told.Load(), time.Now()
				client.Close()
				if took := time.Since(begun); took > farewellLost {
					t.Errorf("it took %s", took)
				}
				if n := told.Load() - before; c.left > 0 && n != 0 {
					t.Errorf("%d changes were told to whoever has left", n)
				}
				work.Wait()
				synctest.Wait()
				if left := w.holder.Len() > 0; left != c.alone {
					t.Errorf("a stream is left: %t", left)
				}
			})
		})
	}
}

func TestADetachedStreamEndsInTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		w.set(func() { w.down = true })
		w.cut()
		begun := time.Now()
		if _, err := s.Read(make([]byte, 1)); fault.KindOf(err) != fault.Timeout {
			t.Errorf("the service read %v", err)
		}
		if d := time.Since(begun).Round(time.Second); d != 10*time.Minute {
			t.Errorf("it ended after %s", d)
		}
		if _, err := c.Read(make([]byte, 1)); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("the client read %v", err)
		}
		c.Close()
		synctest.Wait()
		if w.seen(Expired) != 1 || w.holder.Len() != 0 {
			t.Errorf("%d expiries, %d streams left", w.seen(Expired), w.holder.Len())
		}
	})
}

func TestAnUnknownStreamEndsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		s.Abort(errors.New("the agent was killed"))
		begun := time.Now()
		_, err := c.Read(make([]byte, 1))
		wantKind(t, err, fault.NotFound)
		if d := time.Since(begun); d > 3*time.Second {
			t.Errorf("it took %s", d)
		}
		c.Close()
	})
}

// mute is a carrier whose peer falls silent without a word.
type mute struct {
	net.Conn
	mu   sync.Mutex
	dead bool
}

func (m *mute) silence() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mute) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

func (m *mute) Write(p []byte) (int, error) {
	if m.isDead() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func (m *mute) Read(p []byte) (int, error) {
	for {
		n, err := m.Conn.Read(p)
		if err != nil || !m.isDead() {
			return n, err
		}
	}
}

func TestADeadCarrierIsNoticed(t *testing.T) {
	for name, tc := range map[string]struct {
		sleep bool
		most  time.Duration
	}{"network": {false, 14 * time.Second}, "sleep": {true, 5 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var m *mute
				w.wrap = func(c net.Conn) net.Conn { m = &mute{Conn: c}; return m }
				o := w.options(certificate(t, "alice"))
				var slept time.Duration
				o.Wall = func() time.Time {
					w.mu.Lock()
					defer w.mu.Unlock()
					return time.Now().Add(slept)
				}
				c, s := w.open(o)
				go echo(s)
				roundTrip(t, c, "hello")
				time.Sleep(10 * time.Minute)
				if w.seen(Attached) != 0 {
					t.Error("an idle carrier was left")
				}
				m.silence()
				if tc.sleep {
					w.set(func() { slept = time.Hour })
				}
				begun := time.Now()
				roundTrip(t, c, "still there?")
				if d := time.Since(begun); d > tc.most {
					t.Errorf("it took %s", d)
				}
				c.Close()
			})
		})
	}
}

func TestADeadCarrierIsNoticedByTheAgent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var m *mute
		w.wrap = func(c net.Conn) net.Conn { m = &mute{Conn: c}; return m }
		c, s := w.open(w.options(certificate(t, "alice")))
		go echo(s)
		roundTrip(t, c, "hello")
		w.set(func() { w.down = true })
		m.silence()
		time.Sleep(agentDead + pingEvery + 2*time.Second)
		if w.seen(Detached) != 1 {
			t.Errorf("%d times detached", w.seen(Detached))
		}
		c.Close()
	})
}

func TestWritesWaitForRoomAndDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		w.set(func() { w.down = true })
		w.cut()
		synctest.Wait()
		s.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := io.Copy(struct{ io.Writer }{s}, &ledger.Source{Size: -1})
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < Window*3/4 || n > Window {
			t.Errorf("%d bytes: %v", n, err)
		}
		if used := w.holder.budget.Used(); used > Window {
			t.Errorf("%d bytes of memory", used)
		}
		s.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		s.SetDeadline(time.Time{})
		w.set(func() { w.down = false })
		check := &ledger.Check{}
		if _, err := io.CopyN(struct{ io.Writer }{check}, c, n); err != nil {
			t.Error(err)
		}
		go echo(s)
		roundTrip(t, c, "and on")
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		roundTrip(t, c, "and on")
		c.Close()
		synctest.Wait()
		if used := w.holder.budget.Used(); used != 0 {
			t.Errorf("%d bytes of memory are left", used)
		}
	})
}

func TestMemoryOfAllStreamsIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.holder.budget.Max = 3 * largeBlock
		c, s := w.open(w.options(certificate(t, "alice")))
		w.set(func() { w.down = true })
		w.cut()
		synctest.Wait()
		s.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := io.Copy(struct{ io.Writer }{s}, &ledger.Source{Size: -1}); err == nil || n > 4*largeBlock {
			t.Errorf("%d bytes: %v", n, err)
		}
		c.Close()
	})
}

// TestWritersHearOfRoomThemselves: two services that write before they read do
// not wait for each other, as they would not over TCP.
func TestWritersHearOfRoomThemselves(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		const size = 3 * Window
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := io.Copy(struct{ io.Writer }{s}, &ledger.Source{Size: size}); err != nil {
				t.Error(err)
			}
			roundTrip(t, s, "done")
		})
		c.Write([]byte("done"))
		if _, err := io.CopyN(&ledger.Check{}, struct{ io.Reader }{c}, size); err != nil {
			t.Error(err)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "done" {
			t.Errorf("%q: %v", b, err)
		}
		all.Wait()
		c.Close()
	})
}
