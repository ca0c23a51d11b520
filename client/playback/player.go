package playback

import (
	"context"
	"errors"
	"io"
	"time"

	"teleport/recfmt"
	"teleport/screen"
	"teleport/sshclient"
	"teleport/transcript"
)

// Bounds and steps of a player.
const (
	MinSpeed = 0.5
	MaxSpeed = 8

	seekStep = 10 * time.Second
	// idleKept is what is left of a pause in the session when idle time is skipped.
	idleKept = time.Second
	// barFor is how long the bar covers a row of the screen after a key.
	barFor = 2 * time.Second
	// frame is the least time between two paintings.
	frame = time.Second / 60
)

// Player plays one recording to a terminal, with keys to pause and seek.
type Player struct {
	Source Source
	Out    io.Writer // a terminal in raw mode
	// Keys are what the person types; nil or closed: nobody does.
	Keys  <-chan Key
	Sizes <-chan sshclient.Size // of the terminal, when it changes
	Size  sshclient.Size

	Start    time.Duration // where to begin
	Speed    float64
	SkipIdle bool
	Paused   bool // begin with a still picture
	// Suspend stops this program as Ctrl-Z does, and returns when it goes on; nil: it
	// is not stopped.
	Suspend func()

	clock    clock
	show     *screen.Screen
	tell     *teller // of a session without a screen, else nil
	reflow   time.Time
	info     *recfmt.Info
	duration time.Duration
	painter  painter
	feed     *feed
	queue    []recfmt.Record
	ended    bool          // the feed has no more
	target   time.Duration // of a seek under way; -1: none
	notice   string
	step     bool // show what comes next, though it is paused
	barUntil time.Time
	dirty    bool
	quit     bool
}

// clock is the place in the recording, as time goes by.
type clock struct {
	at     time.Duration // when the clock was set
	since  time.Time
	speed  float64
	paused bool
}

func (c *clock) now() time.Duration {
	if c.paused {
		return c.at
	}
	return c.at + time.Duration(float64(time.Since(c.since))*c.speed)
}

func (c *clock) set(at time.Duration) { c.at, c.since = at, time.Now() }

// until is how long it takes until a moment of the recording.
func (c *clock) until(at time.Duration) time.Duration {
	return time.Duration(float64(at-c.now()) / c.speed)
}

// feed reads from the source in the background.
type feed struct {
	batches chan Batch
	err     error // valid after batches is closed
	cancel  context.CancelFunc
}

func start(ctx context.Context, src Source, from time.Duration) *feed {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{batches: make(chan Batch, 4), cancel: cancel}
	go func() {
		defer close(f.batches)
		f.err = src.Play(ctx, from, func(b Batch) error {
			select {
			case f.batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return f
}

// stop ends the reading and waits for it.
func (f *feed) stop() {
	f.cancel()
	for range f.batches {
	}
}

// Play plays until the end, a key that quits, or the end of ctx, and leaves the
// last screen behind. The terminal is as before, but for its raw mode.
func (p *Player) Play(ctx context.Context) error {
	if p.Speed == 0 {
		p.Speed = 1
	}
	p.clock = clock{speed: p.Speed, paused: p.Paused}
	p.painter = painter{out: p.Out, size: p.Size}
	p.target = p.Start
	p.feed = start(ctx, p.Source, p.Start)
	err := p.loop(ctx)
	p.feed.stop()
	return errors.Join(err, p.painter.leave(p.show))
}

func (p *Player) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !p.quit {
		batches := p.feed.batches
		if len(p.queue) > 0 || p.ended {
			batches = nil // what is here is shown first
		}
		wait, done := p.wait()
		if done {
			return nil
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b, ok := <-batches:
			if err := p.take(ctx, b, ok); err != nil {
				return err
			}
		case k, ok := <-p.Keys:
			if !ok {
				p.Keys = nil
				continue
			}
			if err := p.key(ctx, k); err != nil {
				return err
			}
		case size := <-p.Sizes:
			p.painter.resize(size)
			p.dirty = true
			if p.tell != nil {
				p.reflow = time.Now().Add(reflowAfter)
			}
		case <-timer.C:
		}
		if !p.reflow.IsZero() && time.Until(p.reflow) <= 0 {
			p.seek(ctx, p.place())
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

// wait is how long nothing is to be done, but for what comes in.
func (p *Player) wait() (d time.Duration, done bool) {
	d = time.Hour
	switch {
	case p.dirty && p.target < 0:
		d = max(0, frame-time.Since(p.painter.last))
	case p.target >= 0:
	case len(p.queue) > 0 && !p.clock.paused:
		d = max(0, p.clock.until(p.queue[0].At))
	case len(p.queue) == 0 && p.ended && !p.clock.paused:
		if d = p.clock.until(p.duration); d <= 0 {
			return 0, true
		}
	}
	if p.show != nil && (p.clock.paused || p.painter.barShown(p.show, p.covering())) {
		if left := time.Until(p.barUntil); left > 0 {
			d = min(d, left)
		}
		if !p.clock.paused { // the bar shows the time
			d = min(d, 250*time.Millisecond)
		}
	}
	if !p.reflow.IsZero() {
		d = min(d, max(0, time.Until(p.reflow)))
	}
	return d, false
}

// covering tells whether the bar may take a row of the recorded screen: for a
// moment only, as people pause to read what is there.
func (p *Player) covering() bool { return time.Now().Before(p.barUntil) }

// take takes what the feed has read.
func (p *Player) take(ctx context.Context, b Batch, ok bool) error {
	if !ok {
		p.ended = true
		if p.feed.err != nil && ctx.Err() == nil {
			return p.feed.err
		}
		return nil
	}
	if b.Info != nil {
		if p.info == nil {
			if err := p.painter.enter(); err != nil {
				return err
			}
		}
		p.info, p.duration = b.Info, b.Duration
		p.show = newScreen(b.Info, p.painter.size)
		if told := p.tell != nil; transcript.Tells(b.Info.Kind) {
			columns, rows := p.show.Size()
			p.tell = &teller{size: sshclient.Size{Columns: columns, Rows: rows}}
			if !told && p.target > 0 { // it was read from the middle
				p.seek(ctx, p.target)
				return nil
			}
		}
	}
	p.queue = b.Records
	if p.tell != nil {
		p.queue = p.tell.records(b.Records)
	}
	if n := len(b.Records); n > 0 {
		p.duration = max(p.duration, b.Records[n-1].At)
	}
	return nil
}

func newScreen(info *recfmt.Info, window sshclient.Size) *screen.Screen {
	if info.Columns == 0 {
		return screen.NewPlain(max(window.Columns, 1), max(window.Rows-1, 1))
	}
	return screen.New(info.Columns, info.Rows)
}

// advance shows the records whose time has come, and paints.
func (p *Player) advance() error {
	if p.show == nil {
		return nil
	}
	if err := p.due(); err != nil {
		return err
	}
	if p.target >= 0 && (len(p.queue) > 0 || p.ended) { // the seek has arrived
		p.clock.set(min(p.target, max(p.duration, 0)))
		p.target, p.dirty = -1, true
	}
	p.skip()
	if p.target >= 0 || time.Since(p.painter.last) < frame {
		return nil
	}
	bar := p.painter.barShown(p.show, p.covering())
	if !p.dirty && !bar && !p.painter.barred {
		return nil
	}
	p.dirty = false
	switch {
	case bar:
		return p.painter.paint(p.show, p.bar(), true)
	case p.clock.paused:
		return p.painter.paint(p.show, p.tag(), false)
	}
	return p.painter.paint(p.show, "", false)
}

// due shows the records up to now, or up to where a seek goes.
func (p *Player) due() error {
	now := p.target
	if now < 0 {
		if p.step && len(p.queue) > 0 {
			p.step = false
			p.clock.set(p.queue[0].At)
		} else if p.clock.paused {
			return nil
		}
		now = p.clock.now()
	}
	n := 0
	for ; n < len(p.queue) && p.queue[n].At <= now; n++ {
		r := p.queue[n]
		if r.Type == recfmt.RecordGap {
			p.notice = gapText(r.Data)
			p.barUntil = time.Now().Add(barFor)
		}
		if err := apply(p.show, r); err != nil {
			return err
		}
		p.dirty = true
	}
	p.queue = p.queue[n:]
	return nil
}

// skip shortens a pause of the session.
func (p *Player) skip() {
	if !p.SkipIdle || p.clock.paused || p.target >= 0 || len(p.queue) == 0 && !p.ended {
		return
	}
	next := p.duration
	if len(p.queue) > 0 {
		next = p.queue[0].At
	}
	if next-p.clock.now() > idleKept {
		p.clock.set(next - idleKept)
	}
}

// seek goes to a moment. The screen stays until the other one is there.
func (p *Player) seek(ctx context.Context, to time.Duration) {
	to = min(max(to, 0), p.duration)
	from := to
	if p.tell != nil {
		from = 0 // what it shows is made here, of all that was before
	}
	p.feed.stop()
	p.feed, p.reflow = start(ctx, p.Source, from), time.Time{}
	p.queue, p.ended, p.target, p.notice, p.step = nil, false, to, "", false
	p.clock.set(to)
}

// place is where the person is, also while a seek is under way.
func (p *Player) place() time.Duration {
	if p.target >= 0 {
		return p.target
	}
	return min(p.clock.now(), p.duration)
}

func (p *Player) key(ctx context.Context, k Key) error {
	if k == KeyQuit {
		p.quit = true
		return nil
	}
	if p.show == nil {
		return nil
	}
	p.barUntil, p.dirty = time.Now().Add(barFor), true
	switch k {
	case KeyPause:
		p.pause(!p.clock.paused)
	case KeyStep:
		p.step = p.clock.paused && p.target < 0
		p.pause(true)
	case KeyBack:
		p.seek(ctx, p.place()-seekStep)
	case KeyForward:
		p.seek(ctx, p.place()+seekStep)
	case KeyStart:
		p.seek(ctx, 0)
	case KeyEnd:
		p.clock.paused = true // or the end would be over at once
		p.seek(ctx, p.duration)
	case KeyFaster:
		p.faster(2)
	case KeySlower:
		p.faster(0.5)
	case KeySuspend:
		return p.suspend()
	}
	return nil
}

func (p *Player) pause(paused bool) {
	p.clock.set(p.place())
	p.clock.paused = paused
}

func (p *Player) faster(by float64) {
	p.clock.set(p.place())
	p.clock.speed = min(max(p.clock.speed*by, MinSpeed), MaxSpeed)
}

// suspend gives the terminal to the shell. No time of the recording passes there.
func (p *Player) suspend() error {
	if p.Suspend == nil {
		return nil
	}
	at := p.place()
	if err := p.painter.leave(nil); err != nil {
		return err
	}
	p.Suspend()
	p.clock.set(at)
	p.barUntil = time.Now().Add(barFor)
	return p.painter.enter()
}
