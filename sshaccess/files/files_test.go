package files_test

import (
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"teleport/sshaccess/files"
	"teleport/types/event"
)

func str(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
func num(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func packet(kind byte, id uint32, parts ...[]byte) []byte {
	body := append([]byte{kind}, num(id)...)
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(num(uint32(len(body))), body...)
}

// feed gives a stream in pieces of n bytes.
func feed(t *testing.T, f func([]byte) error, b []byte, n int) {
	t.Helper()
	for len(b) > 0 {
		k := min(n, len(b))
		if err := f(b[:k]); err != nil {
			t.Fatal(err)
		}
		b = b[k:]
	}
}

func TestWatch(t *testing.T) {
	for _, piece := range []int{1, 7, 1 << 20} {
		var got []files.Op
		w := files.NewWatch(func(o files.Op) error { got = append(got, o); return nil })
		up := func(b []byte) { feed(t, w.FromClient, b, piece) }
		down := func(b []byte) { feed(t, w.FromServer, b, piece) }
		up([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3})
		down([]byte{0, 0, 0, 5, 2, 0, 0, 0, 3})
		up(packet(3, 1, str("/a"), num(26), num(0)))
		down(packet(102, 1, str("h")))
		up(packet(6, 2, str("h"), num(0), num(0), str(string(make([]byte, 30000)))))
		down(packet(101, 2, num(0), str(""), str("")))
		up(packet(5, 3, str("h"), num(0), num(0), num(100)))
		down(packet(103, 3, str(string(make([]byte, 60)))))
		up(packet(4, 4, str("h")))
		down(packet(101, 4, num(0), str(""), str("")))
		up(packet(13, 5, str("/etc/passwd")))
		down(packet(101, 5, num(3), str("no"), str("")))
		up(packet(200, 6, str("posix-rename@openssh.com"), str("/x"), str("/y")))
		down(packet(101, 6, num(0), str(""), str("")))
		want := []files.Op{
			{Action: event.SFTPOpen, Path: "/a", Flags: 26},
			{Action: event.SFTPRemove, Path: "/etc/passwd", Err: "no"},
			{Action: event.SFTPRename, Path: "/x", Target: "/y"},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pieces of %d: %+v", piece, got)
		}
		if s := w.Summary(); s.Uploaded != 30000 || s.Downloaded != 60 || len(s.Files) != 1 || s.Files[0].Path != "/a" {
			t.Errorf("%+v", s)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":     {0, 0, 0, 0},
		"huge":      {0xff, 0, 0, 0, 3},
		"short":     packet(3, 1, num(100)),
		"not a one": packet(3, 1)[:8],
	} {
		w := files.NewWatch(func(files.Op) error { return nil })
		err := w.FromClient(b)
		if name != "not a one" && err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	w := files.NewWatch(func(files.Op) error { return nil })
	if w.FromServer(packet(101, 9, num(0), str(""), str(""))) == nil {
		t.Error("a reply to nothing was taken")
	}
	full := errors.New("disk full")
	w = files.NewWatch(func(files.Op) error { return full })
	feed(t, w.FromClient, packet(14, 1, str("/d"), num(0)), 100)
	if err := w.FromServer(packet(101, 1, num(0), str(""), str(""))); !errors.Is(err, full) {
		t.Errorf("%v: a reply passed that was not recorded", err)
	}
}

func FuzzWatch(f *testing.F) {
	f.Add(packet(3, 1, str("/a"), num(26), num(0)), packet(102, 1, str("h")))
	f.Add(packet(6, 2, str("h"), num(0), num(0), str("data")), packet(101, 2, num(0), str(""), str("")))
	f.Add([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}, []byte{0, 0, 0, 5, 2, 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, up, down []byte) {
		w := files.NewWatch(func(files.Op) error { return nil })
		_ = w.FromClient(up)
		_ = w.FromServer(down)
		_ = w.FromClient(down)
		if s := w.Summary(); s.Uploaded < 0 || s.Downloaded < 0 {
			t.Errorf("%+v", s)
		}
	})
}

// An id that is used again while it is in flight would let an operation pass
// without its event.
func TestRequestIDInFlight(t *testing.T) {
	var got []files.Op
	w := files.NewWatch(func(o files.Op) error { got = append(got, o); return nil })
	up := func(b []byte) { feed(t, w.FromClient, b, 1<<20) }
	up(packet(13, 7, str("/etc/passwd")))
	if err := w.FromClient(packet(7, 7, str("/tmp"))); err == nil {
		t.Error("a request under an id in flight passed")
	}
	feed(t, w.FromServer, packet(101, 7, num(0), str(""), str("")), 1<<20)
	if want := []files.Op{{Action: event.SFTPRemove, Path: "/etc/passwd"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
	fresh := files.NewWatch(func(files.Op) error { return nil })
	for range 3 { // an id is free again after its answer
		feed(t, fresh.FromClient, packet(7, 1, str("/tmp")), 1<<20)
		feed(t, fresh.FromServer, packet(101, 1, num(0), str(""), str("")), 1<<20)
	}
}

func TestUnansweredRequestsAreTold(t *testing.T) {
	var got []files.Op
	w := files.NewWatch(func(o files.Op) error { got = append(got, o); return nil })
	feed(t, w.FromClient, packet(13, 2, str("/b")), 1<<20)
	feed(t, w.FromClient, packet(13, 1, str("/a")), 1<<20)
	feed(t, w.FromClient, packet(7, 3, str("/quiet")), 1<<20)
	for range 2 {
		if err := w.End(); err != nil {
			t.Fatal(err)
		}
	}
	want := []files.Op{{Action: event.SFTPRemove, Path: "/a", Err: files.NoAnswer}, {Action: event.SFTPRemove, Path: "/b", Err: files.NoAnswer}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
}
