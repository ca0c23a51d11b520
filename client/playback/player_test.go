package playback

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/recfmt"
	"teleport/screen"
	"teleport/sshclient"
)

// watcher is a person's terminal: what is painted is shown on it.
type watcher struct {
	mu    sync.Mutex
	show  *screen.Screen
	bytes bytes.Buffer
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes.Write(p)
	return w.show.Write(p)
}

func (w *watcher) resize(columns, rows int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.show.Resize(columns, rows)
}

func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, rows := w.show.Size()
	var b strings.Builder
	for y := range rows {
		b.WriteString(w.show.Row(y) + "\n")
	}
	return b.String()
}

// sitting is one person at a player, in virtual time.
type sitting struct {
	t     *testing.T
	w     *watcher
	keys  chan Key
	sizes chan sshclient.Size
	done  chan error
}

func sit(t *testing.T, src Source, columns, rows int, p Player) *sitting {
	s := &sitting{t: t, w: &watcher{show: screen.New(columns, rows)}, keys: make(chan Key), sizes: make(chan sshclient.Size), done: make(chan error, 1)}
	p.Source, p.Out, p.Keys, p.Sizes, p.Size = src, s.w, s.keys, s.sizes, sshclient.Size{Columns: columns, Rows: rows}
	go func() { s.done <- p.Play(t.Context()) }()
	synctest.Wait()
	return s
}

func (s *sitting) after(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	return s.w.text()
}

func (s *sitting) press(k Key) string {
	s.keys <- k
	return s.after(20 * time.Millisecond)
}

// resize resizes the window, which is told of afterwards, as a terminal does it.
func (s *sitting) resize(columns, rows int) {
	s.w.resize(columns, rows)
	s.sizes <- sshclient.Size{Columns: columns, Rows: rows}
}

func (s *sitting) has(what, text string, want ...string) {
	s.t.Helper()
	for _, w := range want {
		if no, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(text, no) && (ok || !strings.Contains(text, w)) {
			s.t.Errorf("%s: the screen is\n%s\nwant %q", what, text, w)
		}
	}
}

func long() *fake {
	var r []recfmt.Record
	for i := range 100 {
		r = append(r, out(time.Duration(i)*time.Second, "\r\nsecond "+string(rune('0'+i/10))+string(rune('0'+i%10))))
	}
	return shell(r...)
}

func TestPlayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sit(t, long(), 60, 8, Player{})
		s.has("begin", s.after(1500*time.Millisecond), "second 01", "!second 02", "▶ 0:01 / 1:39  1x")
		s.has("paused", s.press(KeyPause), "‖ 0:01")
		s.has("stays", s.after(time.Hour), "second 01", "!second 02", "‖ 0:01")
		s.has("goes on", s.press(KeyPause), "▶ 0:01")
		s.has("later", s.after(2*time.Second), "second 03")
		s.has("forward", s.press(KeyForward), "second 13", "second 10", "!second 14", "▶ 0:13")
		s.has("back", s.press(KeyBack), "second 03", "!second 13", "▶ 0:03")
		s.has("faster", s.press(KeyFaster), "2x")
		s.has("twice as fast", s.after(5*time.Second), "second 13")
		s.press(KeyFaster)
		s.press(KeyFaster)
		s.has("fastest", s.press(KeyFaster), "8x")
		for range 5 {
			s.press(KeySlower)
		}
		s.has("slowest", s.w.text(), "0.5x")
		s.has("end", s.press(KeyEnd), "second 99", "‖ 1:39")
		s.has("beyond", s.press(KeyForward), "second 99", "‖ 1:39 / 1:39")
		s.has("start", s.press(KeyStart), "second 00", "!second 01", "‖ 0:00")
		s.keys <- KeyQuit
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		s.has("after", s.w.text(), "second 00", "!speed")
		if s.w.show.Alternate() {
			t.Error("the alternate screen is left on")
		}
	})
}

func TestPlayerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := sit(t, long(), 60, 8, Player{Speed: 4})
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun).Round(time.Second); took != 25*time.Second {
			t.Errorf("99 s at 4x took %s", took)
		}
		s.has("left behind", s.w.text(), "second 99")
	})
}

func TestPlayerSkipsIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := sit(t, shell(out(0, "a"), out(time.Hour, "b"), out(time.Hour+time.Second/2, "c")), 60, 8, Player{SkipIdle: true})
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun).Round(time.Second / 10); took != 1500*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestPlayerStartsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sit(t, long(), 60, 8, Player{Start: 50*time.Second + 500*time.Millisecond})
		s.has("begin", s.after(100*time.Millisecond), "second 50", "!second 51", "▶ 0:50")
		s.keys <- KeyQuit
		<-s.done
	})
}

func TestPlayerBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sit(t, long(), 60, 8, Player{Paused: true, Start: 50*time.Second + 500*time.Millisecond})
		s.has("paused", s.after(time.Hour), "second 50", "!second 51", "‖ 0:50")
		s.has("a step", s.press(KeyStep), "second 51", "!second 52", "‖ 0:51")
		s.has("one more", s.press(KeyStep), "second 52", "!second 53", "‖ 0:52")
		s.press(KeyPause)
		s.has("it goes on", s.after(1100*time.Millisecond), "second 53", "▶ 0:53")
		s.has("a step pauses", s.press(KeyStep), "second 53", "!second 54", "‖ 0:53")
		s.press(KeyEnd)
		s.has("nothing is next", s.press(KeyStep), "second 99", "‖ 1:39 / 1:39")
		s.keys <- KeyQuit
		<-s.done
	})
}

// A player that is stopped gives the terminal back, and goes on where it was.
func TestPlayerSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *sitting
		stopped := make(chan bool)
		s = sit(t, long(), 60, 8, Player{Suspend: func() {
			stopped <- s.w.show.Alternate()
			time.Sleep(time.Hour)
		}})
		s.after(3500 * time.Millisecond)
		s.keys <- KeySuspend
		if <-stopped {
			t.Error("the shell is on the alternate screen")
		}
		s.has("it goes on", s.after(time.Hour+100*time.Millisecond), "second 03", "!second 04", "▶ 0:03")
		if !s.w.show.Alternate() {
			t.Error("it plays over what the shell shows")
		}
		s.keys <- KeyQuit
		<-s.done
	})
}

// The bar says what there is room for, and is as wide as the window.
func TestBar(t *testing.T) {
	for _, c := range []struct {
		width  int
		paused bool
		columns,
		rows int
		notice, want string
	}{
		{80, false, 80, 24, "", " ▶ 0:10 / 0:40  2x ━━━━━──────────────── space pause  ←→ 10 s  ↑↓ speed  q quit "},
		{80, true, 80, 24, "", " ‖ 0:10 / 0:40  2x ━━━────────── space go on  . next  ←→ 10 s  ↑↓ speed  q quit "},
		{50, false, 50, 24, "", " ▶ 0:10 / 0:40  2x ━━──────── space pause  q quit "},
		{66, false, 200, 24, "", " ▶ 0:10 / 0:40  2x ━━──────── part of 200×24  space pause  q quit "},
		{40, false, 200, 24, "", " ▶ 0:10 / 0:40  2x       part of 200×24 "},
		{24, false, 200, 24, "", " ▶ 0:10  part of 200×24 "},
		{12, false, 200, 24, "", " ▶ 0:10     "},
		{5, false, 200, 24, "", " ▶ 0:"},
		{30, false, 30, 24, "7 bytes\x1b were not recorded: full disk", " ▶ 0:10  7 bytes? were not rec"},
	} {
		p := Player{target: -1, show: screen.New(c.columns, c.rows), duration: 40 * time.Second, notice: c.notice,
			clock: clock{at: 10 * time.Second, paused: true, speed: 2}}
		if !c.paused {
			p.clock.paused, p.clock.since = false, time.Now()
		}
		p.painter.size = sshclient.Size{Columns: c.width, Rows: 24}
		got := strings.TrimSuffix(strings.TrimPrefix(p.bar(), "\x1b[0;7m"), "\x1b[0m")
		if got != c.want {
			t.Errorf("%d columns:\n%q, want\n%q", c.width, got, c.want)
		}
	}
}

// Nothing that was recorded is obeyed by the terminal of whoever watches.
func TestPlayerPaintsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sit(t, shell(out(0, "\x1b]52;c;c2VjcmV0\x07\x1b[?1000h\x1b[?2004h\x1b[c\x1b[6n\x1b]0;title\x07\x1bP$q\x1b\\ok")), 60, 8, Player{})
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		s.has("text", s.w.text(), "ok")
		for _, bad := range []string{"\x1b]", "\x1bP", "1000", "2004", "\x1b[c", "\x1b[6n", "title"} {
			if strings.Contains(s.w.bytes.String(), bad) {
				t.Errorf("%q was sent", bad)
			}
		}
	})
}

func TestPlayerInSmallWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := shell(out(0, "1\r\n2\r\n3\r\n4\r\n5 is far too long\r"), out(time.Minute, "!"))
		s := sit(t, src, 15, 4, Player{})
		text := s.after(100 * time.Millisecond)
		s.has("small", text, "3\n4\n5 is far too lo\n", "20×5")
		s.resize(20, 5)
		s.has("enlarged", s.after(100*time.Millisecond), "1\n2\n3\n4\n5 is far too long\n", "!×")
		s.has("a key shows the bar", s.press(KeyFaster), "▶ 0:00", "!5 is")
		s.has("it goes again", s.after(3*time.Second), "5 is far too long", "!▶")
		s.has("so does a pause", s.press(KeyPause), "‖ 0:06", "!5 is")
		s.has("which leaves what is read", s.after(3*time.Second), "1\n2\n3\n4\n5 is far too ‖ 0:06\n")
		s.has("and goes on", s.press(KeyPause), "▶ 0:06")
		s.resize(1, 1)
		s.after(time.Second)
		s.keys <- KeyQuit
		<-s.done
	})
}

// A window that is narrower than the recorded one follows the cursor there and
// back, and does not cut through a wide character.
func TestPlayerFollowsTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := shell(out(0, "0123456789abcdefghi日本語"), out(time.Second, "xyz"), out(2*time.Second, "\x1b[?25l\x1b[H"), out(3*time.Second, "\x1b[?25h"), out(time.Minute, ""))
		src.info.Columns = 40
		s := sit(t, src, 20, 4, Player{Paused: true})
		s.has("to the cursor", s.after(3*time.Second), "fghi日本語\n", "!0123")
		s.has("it stays while there is room", s.press(KeyStep), "fghi日本語xyz\n")
		s.has("hidden, it leads nowhere", s.press(KeyStep), "fghi日本語xyz\n")
		s.has("and back", s.press(KeyStep), "0123456789abcdefghi\n", "!日")
		s.resize(40, 5)
		s.has("enlarged", s.after(3*time.Second), "0123456789abcdefghi日本語xyz\n")
		s.keys <- KeyQuit
		<-s.done
	})
}

func TestPlayerFollowsSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sit(t, shell(out(0, "x"), recfmt.Record{Type: recfmt.RecordResize, At: time.Second, Data: recfmt.ResizeData(40, 3)},
			out(2*time.Second, "\x1b[1;40Hy"), recfmt.Record{Type: recfmt.RecordGap, At: 3 * time.Second, Data: []byte(`{"bytes":9,"reason":"full disk"}`)}, out(time.Hour, "")), 80, 8, Player{})
		s.has("wider", s.after(2100*time.Millisecond), "x"+strings.Repeat(" ", 38)+"y")
		s.has("gap", s.after(time.Second), "9 bytes were not recorded: full disk")
		s.keys <- KeyQuit
		<-s.done
	})
}

func TestPlayerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := shell(out(0, "x"), out(time.Second, "y"))
		src.err = errors.New("gone")
		s := sit(t, src, 80, 8, Player{})
		if err := <-s.done; !errors.Is(err, src.err) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p := Player{Source: shell(out(0, "x"), out(time.Hour, "y")), Out: s.w, Size: sshclient.Size{Columns: 80, Rows: 24}}
		if err := p.Play(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestKeys(t *testing.T) {
	to := make(chan Key, 20)
	ReadKeys(strings.NewReader(" \x1b[D\x1b[C\x1bOA\x1b[B\x1b[H\x1b[F\x1b[200~zx\x1bz+q"), nil, to)
	var got []Key
	for k := range to {
		got = append(got, k)
	}
	want := []Key{KeyPause, KeyBack, KeyForward, KeyFaster, KeySlower, KeyStart, KeyEnd, KeyFaster, KeyQuit}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("key %d is %v", i, got[i])
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("\x1b[D q\x1b"))
	f.Fuzz(func(_ *testing.T, typed []byte) {
		to := make(chan Key, len(typed)+1)
		ReadKeys(bytes.NewReader(typed), nil, to)
	})
}
