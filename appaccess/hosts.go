package appaccess

import (
	"net"
	"net/netip"
	"slices"
	"syscall"

	"teleport/fault"
	"teleport/netx"
)

// Hosts are the addresses at which apps may be, whatever their documents name. Those
// of a cloud's own services are not meant.
type Hosts struct {
	Allowed []netip.Prefix // none: all that are not denied
	Denied  []netip.Prefix
}

// Dialer dials what is allowed: it is the address that a name was resolved to which
// counts, at the moment of each dial.
func (h Hosts) Dialer() netx.Dialer {
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error { return h.check(address) }}
}

func (h Hosts) check(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "an app is at no address")
	}
	addr := at.Addr().Unmap().WithZone("")
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if in(h.Denied) || len(h.Allowed) > 0 && !in(h.Allowed) {
		return fault.New(fault.Denied, "this agent may not reach the address of the app").WithHint("app_service of its file has allowed_hosts or denied_hosts")
	}
	return nil
}
