package authserver

import (
	"net/netip"
	"testing"
)

func TestShare(t *testing.T) {
	s := &share{most: 3, each: 2}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	same := netip.MustParseAddr("2001:db8::ffff") // one customer
	for i, want := range []bool{true, true, false} {
		if s.take(a) != want {
			t.Fatalf("attempt %d of one client: its share is not two", i+1)
		}
	}
	if !s.take(b) || s.take(same) {
		t.Fatal("there are more than three in all")
	}
	s.give(a)
	if !s.take(same) || s.take(b) {
		t.Fatal("the network's share is not two")
	}
	for _, x := range []netip.Addr{a, b, same} {
		s.give(x)
	}
	if s.all != 0 || len(s.count) != 0 {
		t.Errorf("left: %d, %v", s.all, s.count)
	}
}
