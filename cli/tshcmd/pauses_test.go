package tshcmd

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/resume"
)

func TestPausesAreTold(t *testing.T) {
	const lost, back = "connection lost, reconnecting…", "connection is back after 5s"
	for name, tc := range map[string]struct {
		shown string        // on the terminal before; "-": there is none
		quiet bool          // -q
		gap   time.Duration // how long it takes
		want  string
	}{
		"a moment":    {"-", false, time.Second, ""},
		"a pause":     {"-", false, 5 * time.Second, lost + "\n" + back + "\n"},
		"a shell":     {"$ ", false, 5 * time.Second, "\r\n[" + lost + "]\r\n\r\n[" + back + "]\r\n"},
		"an editor":   {"\x1b[?1049h~", false, 5 * time.Second, "\x1b[22;0t\x1b]0;" + lost + "\x07\x1b[23;0t"},
		"left editor": {"\x1b[?1049h~\x1b[?1049l$", false, 5 * time.Second, "\r\n[" + lost + "]\r\n\r\n[" + back + "]\r\n"},
		"quiet":       {"-", true, 5 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var notes bytes.Buffer
				p := &pauses{notes: &notes, quiet: tc.quiet}
				if tc.shown != "-" {
					out := p.watch(io.Discard)
					for _, b := range []byte(tc.shown) { // sequences come in pieces
						out.Write([]byte{b})
					}
				}
				p.changed(resume.Change{Lost: true})
				time.Sleep(tc.gap)
				synctest.Wait()
				if !p.paused() {
					t.Error("it is not paused")
				}
				p.changed(resume.Change{Gap: tc.gap})
				time.Sleep(time.Minute)
				if notes.String() != tc.want {
					t.Errorf("%q", notes.String())
				}
			})
		})
	}
}

func TestTheEndOfAConnectionIsTheReason(t *testing.T) {
	p := &pauses{notes: io.Discard}
	gone := fault.New(fault.NotFound, "the session is gone")
	p.changed(resume.Change{Over: true, Err: gone})
	var cause error
	p.serve(false, func(err error) { cause = err })
	if cause != gone || p.why(io.EOF) != error(gone) || p.why(nil) != nil {
		t.Errorf("%v, %v", cause, p.why(io.EOF))
	}
}
