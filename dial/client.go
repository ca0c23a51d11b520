package dial

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net"

	"teleport/fault"
	"teleport/resume"
	"teleport/tunnel/tunframe"
)

// Target is what a client asks for.
type Target struct {
	Cluster string // empty: the proxy's own
	Kind    string
	Name    string // resource name, UUID, registered address, or label selector k=v,k=v
	Trace   string
	// Agent is the UUID of the agent that holds what the dial is about, where several
	// front the resource; empty: any of them.
	Agent string
	// Stream attaches to a living stream; empty opens a new one.
	Stream string
	// Generation is of the agent's process that holds that stream.
	Generation uint64
	Carrier    tunframe.Carrier
	// Resume asks for a stream that can be attached to again.
	Resume bool
}

// TLSDialer opens TLS to a proxy with an ALPN name; *alpndial.Dialer is one.
type TLSDialer interface {
	Dial(ctx context.Context, alpn string, inner *tls.Config) (net.Conn, error)
}

// Client dials resources through a proxy. Safe for concurrent use.
type Client struct {
	// Proxy opens the TLS connection.
	Proxy TLSDialer
	// TLS returns the client configuration: the user's certificate, the host CA,
	// the name proxy.<cluster>. It is asked for each dial.
	TLS func(ctx context.Context) (*tls.Config, error)
}

// Dial returns a connection to the resource after the agent (or proxy) that
// ends its protocol has accepted. A refusal is a fault with the kind, message
// and hint that the other side gave. The connection has no deadline.
func (c *Client) Dial(ctx context.Context, t Target) (net.Conn, Reply, error) {
	h, err := t.Header()
	if err != nil {
		return nil, Reply{}, err
	}
	return c.Send(ctx, h, c.Proxy)
}

// Send dials through a given proxy with a given header.
func (c *Client) Send(ctx context.Context, h *Header, proxy TLSDialer) (net.Conn, Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	config, err := c.TLS(ctx)
	if err != nil {
		return nil, Reply{}, err
	}
	conn, err := proxy.Dial(ctx, tunframe.ALPNDial, config)
	if err != nil {
		return nil, Reply{}, err
	}
	reply, err := exchange(ctx, conn, h)
	if err != nil {
		conn.Close()
		return nil, reply, err
	}
	return conn, reply, nil
}

func exchange(ctx context.Context, conn net.Conn, h *Header) (Reply, error) {
	if d, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(d); err != nil {
			return Reply{}, err
		}
	}
	if err := WriteHeader(conn, h); err != nil {
		return Reply{}, fault.Wrap(err, fault.Unavailable, "the proxy closed the connection")
	}
	return ReadReply(ctx, conn)
}

// Header checks what is asked for and makes its header; it names a new stream
// where t names none.
func (t Target) Header() (*Header, error) {
	h := New(t.Kind, t.Name)
	h.Cluster, h.Trace, h.Carrier, h.Stream, h.AgentUUID = t.Cluster, t.Trace, t.Carrier, t.Stream, t.Agent
	if t.Stream != "" {
		h.Verb, h.Generation = tunframe.Attach, t.Generation
	} else {
		id, err := NewStreamID()
		if err != nil {
			return nil, err
		}
		h.Stream = id
	}
	if t.Resume {
		h.Resume = resume.Version
	}
	_, err := tunframe.Marshal(&h)
	return &h, err
}

// NewStreamID returns 128 random bits in hex.
func NewStreamID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}
