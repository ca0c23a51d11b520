package dial

import (
	"net"

	"teleport/fault"
	"teleport/netx"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// KindForward is the kind of a header that precedes a client's own TLS to the
// auth service.
const KindForward = "auth"

// WriteForward opens a pass-through on a connection from a proxy to the auth
// service (host mTLS, ALPN teleport-forward). There is no reply: the client's
// TLS hello may follow at once.
func WriteForward(c net.Conn, proxyUUID string, client net.Addr, trace string) error {
	addr := netx.AddrPort(client)
	if !addr.IsValid() {
		return fault.New(fault.Internal, "a forwarded client has no address")
	}
	h := New(KindForward, KindForward)
	h.ProxyUUID, h.Client, h.Trace = proxyUUID, addr, trace
	return WriteHeader(c, &h)
}

// ReadForward reads what WriteForward wrote, at the auth service. proxy is the
// verified identity of the TLS peer. The connection returned begins with the
// client's own TLS and reports the client's address.
func ReadForward(c net.Conn, proxy *types.Identity) (net.Conn, *Header, error) {
	if !proxy.HasSystemRole(types.RoleProxy) {
		return nil, nil, fault.New(fault.Denied, "only a proxy may forward clients; %s is none", proxy)
	}
	h, err := ReadHeader(c)
	if err != nil {
		return nil, nil, err
	}
	if h.Kind != KindForward || h.Verb != tunframe.Open || h.ProxyUUID != proxy.Name || !h.Client.IsValid() {
		return nil, nil, fault.New(fault.Invalid, "the forward header is not one of proxy %q", proxy.Name)
	}
	return netx.WithRemoteAddr(c, tcpAddr(h.Client)), h, nil
}
