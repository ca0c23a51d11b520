// Package inside is what services of an agent do alike whose clients speak TLS with
// the agent itself, inside of what the proxy passes on: end that TLS, say who the
// client is and that it is who came through the gate, and file what it opens where
// locks and drains find it. What the client may do there is decided by the service.
package inside

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/session"
	"teleport/types"
	"teleport/types/event"
)

// Door ends the TLS of the clients of one service. Safe for concurrent use.
type Door struct {
	kind string // of the resources
	what string // as people call them
	hint string // how to get a certificate for one
	tls  tlscert.Source
	conf *tls.Config
}

// NewDoor makes a door for the resources of a kind, which people call what; hint
// tells how to get a certificate for one. alpn are the protocols offered inside.
func NewDoor(kind, what, hint string, source tlscert.Source, alpn ...string) *Door {
	return &Door{kind: kind, what: what, hint: hint, tls: source,
		conf: tlscert.ServerConfig(source, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser, types.IdentityBridge}, ALPN: alpn})}
}

const handshakeTimeout = 10 * time.Second

// Secure ends the client's TLS.
func (d *Door) Secure(ctx context.Context, under net.Conn) (*tls.Conn, error) {
	conn := tls.Server(under, d.conf)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fault.Wrap(err, fault.Unauthenticated, "the TLS of the client failed")
	}
	return conn, nil
}

// Identify says who speaks inside, who must be who came through the gate, with a
// certificate for the resource that the dial names; and a bridge must be that of
// the proxy which carries it.
func (d *Door) Identify(in *dial.Inbound, shown tls.ConnectionState) (*types.Identity, error) {
	id, err := tlscert.Peer(shown, d.tls.Trust(), d.tls.Now(), types.IdentityUser, types.IdentityBridge)
	if err != nil {
		return nil, err
	}
	g, route := in.Header.Gateway, id.Authority.Route
	switch {
	case g == nil:
		return nil, fault.New(fault.Denied, "the dial does not say who came through the gate")
	case g.User != id.Name || g.Cluster != id.Cluster:
		return nil, fault.New(fault.Denied, "the identity inside the connection is not the one that came through the proxy")
	case id.Kind == types.IdentityBridge && id.Authority.ProxyUUID != in.Proxy.Name:
		return nil, fault.New(fault.Denied, "this certificate was made for another proxy")
	case route == nil || route.Kind != d.kind || route.Name != in.Header.Name:
		return nil, fault.New(fault.Denied, "the certificate is not for this %s", d.what).WithHint("%s", d.hint)
	}
	return id, nil
}

// Denied turns a no into the line that the person sees; nil for a yes.
func Denied(d access.Decision) error {
	if d.Allow {
		return nil
	}
	var texts []string
	for _, r := range d.Reasons {
		if r.Text != "" && !slices.Contains(texts, r.Text) {
			texts = append(texts, r.Text)
		}
	}
	if len(texts) == 0 {
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", strings.Join(texts, "; "))
}

// Client is the address that a dial's client has, which decisions look at.
func Client(in *dial.Inbound) netip.Addr {
	if ap := netx.AddrPort(in.RemoteAddr()); ap.IsValid() {
		return ap.Addr()
	}
	return netip.Addr{}
}

// User is who an identity is in events.
func User(id *types.Identity) event.User {
	return event.User{User: id.Name, UserKind: 1, UserCluster: id.Cluster, UserRoles: id.Authority.Roles, Impersonator: id.Proofs.Impersonator,
		AccessRequests: id.Proofs.AccessRequests}
}

// Gateway is which proxy a dial came through, in events.
func Gateway(in *dial.Inbound) *event.Gateway {
	return &event.Gateway{ProxyID: in.Proxy.Name, CertSHA256: in.Header.Gateway.CertSHA256, Stream: in.Header.Stream}
}

// Info begins what the registry of sessions knows of something that an identity
// opens on a host. The caller adds ids, kind, resource, limits, start and Decide.
func Info(in *dial.Inbound, id *types.Identity, hostID string) session.Info {
	hosts := []string{hostID, in.Proxy.Name}
	if p := id.Authority.ProxyUUID; p != "" && !slices.Contains(hosts, p) {
		hosts = append(hosts, p)
	}
	return session.Info{User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles, HostIDs: hosts, MFADevice: id.Proofs.MFADevice,
		DeviceID: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests, ClientAddr: in.RemoteAddr().String(), Identity: id}
}
