package mysql

import (
	"fmt"
	"testing"

	"teleport/types"
)

// TestBound: types and long data are remembered as long as they count, and within
// bounds.
func TestBound(t *testing.T) {
	fresh, again := []byte("\x00\x01\x01\x00\xfc\x00\x05\x01x"), []byte("\x00\x00\x06\x01y")
	told := func(b *bound, body []byte) string {
		p := b.execute(7, 2, body)
		return fmt.Sprint(p.Count, " ", p.Types, " ", p.Values)
	}
	b := &bound{level: types.DBParametersValues}
	for i, step := range []struct {
		do   func()
		body []byte
		want string
	}{
		{func() {}, again, "2 [] []"}, // without types
		{func() {}, fresh, "2 [tinyint blob] [5 x]"},
		{func() {}, again, "2 [tinyint blob] [6 y]"},
		{func() { b.sent(7, 1) }, []byte("\x00\x00\x06"), "2 [tinyint blob] [6 (sent before)]"},
		{func() {}, again, "2 [tinyint blob] [6 y]"},
		{func() { b.sent(7, 1); b.reset(7) }, again, "2 [tinyint blob] [6 y]"},
		{func() {}, again[:3], "2 [tinyint] [6]"}, // cut
		{func() { b.forget(7) }, again, "2 [] []"},
		{func() { told(b, fresh); b.forgetAll() }, again, "2 [] []"},
	} {
		step.do()
		if got := told(b, step.body); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	for i := range uint32(2 * mostBound) {
		b.sent(i+10, 1)
	}
	for i := range uint32(2 * mostBound) {
		b.execute(i+10_000, 2, fresh)
	}
	if len(b.long) > mostBound || len(b.types) > mostBound {
		t.Errorf("%d and %d statements are kept", len(b.long), len(b.types))
	}
	off := &bound{}
	off.sent(7, 1)
	if got := told(off, fresh); got != "2 [] []" || off.long != nil || off.types != nil {
		t.Errorf("off: %s", got)
	}
}
