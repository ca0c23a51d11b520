package sshaccess

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"teleport/sshaccess/pty"
)

func TestResizesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []uint32
		r := resizes{tell: func(s pty.Size) { told = append(told, s.Columns) }}
		for i := range uint32(1000) { // a second of dragging
			r.note(pty.Size{Columns: i})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(told) < 5 || len(told) > 12 || told[0] != 0 || told[len(told)-1] != 999 {
			t.Errorf("told %v", told)
		}
		told = nil
		r.note(pty.Size{Columns: 1})
		r.note(pty.Size{Columns: 2})
		r.note(pty.Size{Columns: 3})
		r.close() // the session ends at once
		r.note(pty.Size{Columns: 4})
		time.Sleep(time.Second)
		synctest.Wait()
		if !reflect.DeepEqual(told, []uint32{1, 3}) {
			t.Errorf("told %v", told)
		}
	})
}
