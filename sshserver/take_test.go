package sshserver

import (
	"net/netip"
	"testing"
	"time"
)

func TestStrangersOfManyNetworks(t *testing.T) {
	s, now := NewStrangers(nil), time.Unix(1000, 0)
	told := 0
	for i := range 2 * networksMost {
		if s.Take(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5), now) {
			told++
		}
	}
	if told != totalBurst || s.untold != uint64(2*networksMost-totalBurst) || len(s.networks) > networksMost {
		t.Errorf("%d told, %d not, %d networks remembered", told, s.untold, len(s.networks))
	}
	if !s.Take(netip.AddrPort{}, now.Add(totalInterval)) {
		t.Error("no refill")
	}
}
