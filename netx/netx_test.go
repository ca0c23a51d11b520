package netx

import (
	"net"
	"slices"
	"testing"
)

// ring is a connection around itself.
type ring struct{ net.Conn }

func (r *ring) NetConn() net.Conn { return r }

func TestLayers(t *testing.T) {
	bottom, other := net.Pipe()
	defer bottom.Close()
	defer other.Close()
	middle := WithRemoteAddr(bottom, bottom.RemoteAddr())
	outer := WithRemoteAddr(middle, bottom.RemoteAddr())
	if got := slices.Collect(Layers(outer)); !slices.Equal(got, []net.Conn{outer, middle, bottom}) {
		t.Errorf("%v", got)
	}
	if got := slices.Collect(Layers(nil)); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
	if got := slices.Collect(Layers(&ring{})); len(got) != mostLayers {
		t.Errorf("of a ring: %d", len(got))
	}
	for c := range Layers(outer) { // who has found what it looks for leaves
		if c != outer {
			t.Error("it begins elsewhere")
		}
		break
	}
}
