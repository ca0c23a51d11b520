package netx_test

import (
	"net/netip"
	"testing"

	"teleport/netx"
)

func TestNetworksContain(t *testing.T) {
	n := netx.Networks{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
	for addr, want := range map[string]bool{"10.1.2.3": true, "10.2.0.1": false, "192.0.2.7": true, "192.0.2.8": false,
		"::ffff:10.1.2.3": true, "2001:db8::1%eth0": true, "2001:db9::1": false, "::1": false} {
		if got := n.Contain(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if (netx.Networks{}).Contain(netip.MustParseAddr("10.1.2.3")) || n.Contain(netip.Addr{}) {
		t.Error("an empty list, or no address at all, counts as held")
	}
}
