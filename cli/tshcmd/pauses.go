package tshcmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"teleport/fault"
	"teleport/resume"
)

// noticeAfter is how long a connection may be away before the person is told: a
// proxy that restarts is back before that.
const noticeAfter = 2 * time.Second

// resumeFlag adds the switch of commands that connect to servers.
func (a *app) resumeFlag(f *pflag.FlagSet) {
	f.BoolVar(&a.global.noResume, "no-resume", false, "let the connection end with the proxy's or the network's (TELEPORT_NO_RESUME)")
}

// pauses tells the person that the connection is lost for a while, and the
// command that it is lost for good. A line of text would stay on the screen of a
// program that draws the whole of it; there, the title of the window tells.
type pauses struct {
	notes io.Writer

	mu     sync.Mutex
	quiet  bool
	screen *screen // nil: there is no terminal
	lost   bool
	told   bool
	timer  *time.Timer
	over   context.CancelCauseFunc
	err    error
}

// changed is a client.Config.Paused.
func (p *pauses) changed(c resume.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.Over:
		p.stop()
		p.err = c.Err
		if p.over != nil {
			p.over(c.Err)
		}
	case c.Lost:
		p.lost = true
		p.timer = time.AfterFunc(noticeAfter, p.tell)
	default:
		p.stop()
		p.lost = false
		if p.told {
			p.told = false
			p.say(fmt.Sprintf("connection is back after %s", c.Gap.Round(time.Second)), false)
		}
	}
}

func (p *pauses) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (p *pauses) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer == nil || !p.lost {
		return
	}
	p.told = true
	p.say("connection lost, reconnecting…", true)
}

// say needs mu. What the person does not see stops nothing.
func (p *pauses) say(text string, begins bool) {
	switch {
	case p.quiet:
	case p.screen == nil:
		fmt.Fprintf(p.notes, "%s\n", text)
	case !p.screen.whole():
		fmt.Fprintf(p.notes, "\r\n[%s]\r\n", text)
	case begins: // keep the title, and show another
		fmt.Fprintf(p.notes, "\x1b[22;0t\x1b]0;%s\x07", text)
	default:
		io.WriteString(p.notes, "\x1b[23;0t")
	}
}

// paused reports whether there is no connection now.
func (p *pauses) paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// serve ends what a command does when the connection is lost for good.
func (p *pauses) serve(quiet bool, over context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet, p.over = quiet, over
	if p.err != nil {
		over(p.err)
	}
}

// watch passes a terminal's output on and knows from then on what is on it.
func (p *pauses) watch(out io.Writer) io.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen = &screen{out: out}
	return p.screen
}

// why returns what the person should hear of a failure: the end of the
// connection, where that is the cause.
func (p *pauses) why(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil && err != nil && fault.KindOf(err) != fault.Canceled {
		return p.err
	}
	return err
}

// screen sees in a terminal's output whether a program has the whole of it: the
// alternate screen of xterm and its heirs.
type screen struct {
	out io.Writer

	mu   sync.Mutex
	full bool
	tail []byte // the end of the last piece, in which a sequence may have begun
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	if bytes.IndexByte(p, 0x1b) >= 0 || len(s.tail) > 0 {
		all := append(s.tail, p...)
		s.look(all)
		s.tail = append([]byte(nil), unfinished(all)...)
	}
	s.mu.Unlock()
	return s.out.Write(p)
}

// longestSwitch is the length of the sequences that look knows.
const longestSwitch = len("\x1b[?1049h")

// unfinished returns the end of p from its last escape on, if a sequence that
// matters may still be completed there.
func unfinished(p []byte) []byte {
	end := p[max(0, len(p)-longestSwitch+1):]
	if i := bytes.LastIndexByte(end, 0x1b); i >= 0 {
		return end[i:]
	}
	return nil
}

func (s *screen) look(b []byte) {
	last := -1
	for _, mode := range []string{"1049", "1047", "47"} {
		for _, end := range []byte{'h', 'l'} {
			if i := bytes.LastIndex(b, []byte("\x1b[?"+mode+string(end))); i > last {
				last, s.full = i, end == 'h'
			}
		}
	}
}

func (s *screen) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}
