// Package dial names a resource and gets a net.Conn to it, both ends. A client
// opens TLS to a proxy, sends a header that names kind and resource (never an
// address) and reads a reply; the proxy sends the header on to the agent that
// fronts the resource; the agent answers it, and from then on both directions
// are raw bytes. The same header precedes a client's own TLS when a proxy
// passes it on to the auth service, which so learns the client's address.
package dial

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/telemetry"
	"teleport/tunnel/tundial"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// The words of a dial, defined with their codec in tunframe.
type (
	Header  = tunframe.Header
	Reply   = tunframe.Reply
	Gateway = tunframe.Gateway
)

// HeaderTimeout bounds the wait for a header, and Timeout the wait for a reply
// where the caller's context has no deadline.
const (
	HeaderTimeout = 10 * time.Second
	Timeout       = 30 * time.Second
)

// New makes a header that opens a stream to a resource of the proxy's own cluster.
func New(kind, name string) Header {
	return Header{V: tunframe.Version, Kind: kind, Name: name, Verb: tunframe.Open}
}

// WriteHeader sends h.
func WriteHeader(c net.Conn, h *Header) error { return tunframe.Write(c, h) }

// ReadHeader reads a header within HeaderTimeout and leaves c without a deadline.
func ReadHeader(c net.Conn) (*Header, error) {
	if err := c.SetReadDeadline(time.Now().Add(HeaderTimeout)); err != nil {
		return nil, err
	}
	h := new(Header)
	if err := tunframe.Read(c, h); err != nil {
		return nil, err
	}
	return h, c.SetReadDeadline(time.Time{})
}

// WriteReply sends r.
func WriteReply(c net.Conn, r Reply) error {
	r.V = tunframe.Version
	return tunframe.Write(c, &r)
}

// Refuse tells the other end why, within HeaderTimeout, and closes c. Only
// kind, message and hint of the fault travel, never its cause.
func Refuse(c net.Conn, why error) error {
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(HeaderTimeout)); err != nil {
		return err
	}
	r := tunframe.Refusal(why)
	r.Departed = errors.Is(why, ErrDeparted)
	return WriteReply(c, r)
}

// ErrDeparted is within the error of a dial to an agent that had a tunnel to
// this proxy and left: its process has ended, as others of its kind come back
// at once.
var ErrDeparted = errors.New("the agent has left")

// ReadReply reads a reply before the deadline of ctx (Timeout, if it has none)
// and leaves c without a deadline. A refusal comes back as a fault.
func ReadReply(ctx context.Context, c net.Conn) (Reply, error) {
	return tundial.ReadReply(ctx, c)
}

// Inbound is a dial that has arrived at an agent. Exactly one of Accept and
// Refuse must be called before bytes flow. Its RemoteAddr is the *net.TCPAddr
// of the client, as the proxy saw it.
type Inbound struct {
	net.Conn
	Header Header
	// Proxy is the verified identity of the proxy that carries the stream.
	Proxy   *types.Identity
	Carrier tunframe.Carrier
}

// FromTunnel makes an Inbound of what a tunnel delivered. It refuses a header
// that names another proxy than the one that carries it, or no client address.
func FromTunnel(in tundial.Incoming) (*Inbound, error) {
	return inbound(in.Conn, in.Header, in.Proxy, in.Carrier)
}

// ReadInbound reads the header that a proxy sends over a connection to an
// agent's own listener (direct mode). proxy is the verified identity of the TLS
// peer and must have the system role Proxy.
func ReadInbound(c net.Conn, proxy *types.Identity) (*Inbound, error) {
	h, err := ReadHeader(c)
	if err != nil {
		return nil, err
	}
	return inbound(c, *h, proxy, tunframe.CarrierDirect)
}

func inbound(c net.Conn, h Header, proxy *types.Identity, carrier tunframe.Carrier) (*Inbound, error) {
	switch {
	case !proxy.HasSystemRole(types.RoleProxy):
		return nil, fault.New(fault.Denied, "only a proxy may dial an agent; %s is none", proxy)
	case h.ProxyUUID != proxy.Name:
		return nil, fault.New(fault.Denied, "the dial header names proxy %q and came from %q", h.ProxyUUID, proxy.Name)
	case !h.Client.IsValid():
		return nil, fault.New(fault.Invalid, "the dial header has no client address")
	}
	return &Inbound{Conn: netx.WithRemoteAddr(c, tcpAddr(h.Client)), Header: h, Proxy: proxy, Carrier: carrier}, nil
}

// NetConn returns the connection below.
func (in *Inbound) NetConn() net.Conn { return in.Conn }

// Accept tells the client that bytes may flow, with what r says of this end.
func (in *Inbound) Accept(r Reply) error {
	r.Kind, r.Message, r.Hint = "", "", ""
	r.Carrier = in.Carrier
	if r.EndsAt == "" {
		r.EndsAt = tunframe.EndsAtAgent
	}
	return WriteReply(in.Conn, r)
}

// Refuse tells the client why not and closes the connection.
func (in *Inbound) Refuse(why error) error { return Refuse(in.Conn, why) }

// tcpAddr makes the address form that SSH servers and audit events expect.
func tcpAddr(a netip.AddrPort) *net.TCPAddr { return net.TCPAddrFromAddrPort(a) }

// LogEnd tells of a dial that ended with an error: loudly, unless that is how a
// client or a role ends one.
func LogEnd(ctx context.Context, log *slog.Logger, h Header, err error) {
	level := slog.LevelWarn
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, netx.ErrIdle),
		fault.KindOf(err) == fault.Canceled, fault.KindOf(err) == fault.Denied:
		level = slog.LevelInfo
	}
	log.Log(ctx, level, "dial ended with an error", "kind", h.Kind, "name", h.Name, "client", h.Client, telemetry.KeyErr, err)
}
