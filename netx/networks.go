package netx

import (
	"net/netip"
	"slices"
)

// Networks is a list of addresses and networks. An empty list holds no address.
type Networks []netip.Prefix

// Contain reports whether one of the networks holds a. A v4 address that is
// mapped into v6 is the v4 address; a zone does not count.
func (n Networks) Contain(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a) })
}
