package tunframe

import (
	"net/netip"
	"unicode"
	"unicode/utf8"

	"teleport/fault"
)

// Verb says whether a dial opens a new stream or attaches to a living one.
type Verb string

// The verbs of a dial.
const (
	Open   Verb = "open"
	Attach Verb = "attach"
)

// Carrier names how a dialled stream travels between proxy and agent.
type Carrier string

// The carriers. Any leaves the choice to the proxy.
const (
	CarrierAny     Carrier = ""
	CarrierChannel Carrier = "channel" // a channel of the SSH tunnel
	CarrierData    Carrier = "data"    // a TLS connection that the agent dialled back
	CarrierDirect  Carrier = "direct"  // the proxy dialled the agent's listener
)

// Gateway is the identity that came through the proxy's gate: whose TLS client
// certificate the proxy verified. The agent refuses a stream whose inner
// identity is another user's or cluster's. The hash is for the audit log
// (session.start): it cannot be compared, as the certificate inside is an SSH
// certificate. A jump host's client shows no X.509 certificate and leaves it empty.
type Gateway struct {
	Cluster    string `json:"cluster"`
	User       string `json:"user"`
	CertSHA256 string `json:"cert_sha256"` // hex of SHA-256 over the DER of the certificate
}

// Header opens a dial: it names a resource, never an address. The client fills
// Cluster, Kind, Name, Trace, Stream, Verb and Carrier; everything else is set
// by the proxy, which overwrites what a client put there.
type Header struct {
	V    int  `json:"v"`
	Must Bits `json:"must,omitempty"`

	Cluster string `json:"cluster,omitempty"` // empty: the proxy's own
	Kind    string `json:"kind"`              // resource kind, as in types
	Name    string `json:"name"`              // resource name, UUID, registered address or label selector

	AgentUUID  string         `json:"agent_uuid,omitempty"`
	Generation uint64         `json:"generation,omitempty"` // of the agent process; 0: the newest
	Gateway    *Gateway       `json:"gateway,omitempty"`
	Client     netip.AddrPort `json:"client,omitzero"` // the true address of the client
	ProxyUUID  string         `json:"proxy_uuid,omitempty"`

	Trace   string  `json:"trace,omitempty"`  // W3C traceparent
	Stream  string  `json:"stream,omitempty"` // hex of 128 random bits; names the stream when attaching
	Verb    Verb    `json:"verb"`
	Carrier Carrier `json:"carrier,omitempty"`
	// Resume is the version of package resume that the client would speak on the
	// stream; 0: it does not.
	Resume int `json:"resume,omitempty"`
}

func (h *Header) envelope() (int, Bits) { return h.V, h.Must }

func (h *Header) check() error {
	switch {
	case h.Verb != Open && h.Verb != Attach:
		return fault.New(fault.Invalid, "dial header: verb %q is neither open nor attach", clip(string(h.Verb)))
	case h.Verb == Attach && h.Stream == "":
		return fault.New(fault.Invalid, "dial header: attach names no stream")
	case h.Resume < 0:
		return fault.New(fault.Invalid, "dial header: resume is %d", h.Resume)
	case h.Kind == "" || h.Name == "":
		return fault.New(fault.Invalid, "dial header: it names no resource")
	case h.Carrier != CarrierAny && h.Carrier != CarrierChannel && h.Carrier != CarrierData && h.Carrier != CarrierDirect:
		return fault.New(fault.Invalid, "dial header: carrier %q is unknown", clip(string(h.Carrier)))
	}
	fields := []field{{"cluster", h.Cluster, 255}, {"kind", h.Kind, 64}, {"name", h.Name, 1024},
		{"agent_uuid", h.AgentUUID, 64}, {"proxy_uuid", h.ProxyUUID, 64}, {"trace", h.Trace, 128}, {"stream", h.Stream, 64}}
	if g := h.Gateway; g != nil {
		fields = append(fields, field{"gateway.cluster", g.Cluster, 255}, field{"gateway.user", g.User, 255},
			field{"gateway.cert_sha256", g.CertSHA256, 64})
		if g.User == "" || g.Cluster == "" {
			return fault.New(fault.Invalid, "dial header: the gateway identity has no user or no cluster")
		}
	}
	return checkFields("dial header", fields)
}

// EndsAt says which process ends the protocol that the client speaks.
type EndsAt string

// The ends of a protocol.
const (
	EndsAtAgent EndsAt = "agent"
	EndsAtProxy EndsAt = "proxy"
)

// MaxReplyProxies bounds the addresses in a reply.
const MaxReplyProxies = 16

// Reply answers a header: ok with what the client should know, or a refusal.
type Reply struct {
	V    int  `json:"v"`
	Must Bits `json:"must,omitempty"`

	Kind    fault.Kind `json:"kind,omitempty"`    // empty: ok
	Message string     `json:"message,omitempty"` // of a refusal; safe to show
	Hint    string     `json:"hint,omitempty"`

	EndsAt     EndsAt  `json:"ends_at,omitempty"`
	AgentUUID  string  `json:"agent_uuid,omitempty"` // who answers; tsh verifies the host certificate by it
	Generation uint64  `json:"generation,omitempty"`
	Hostname   string  `json:"hostname,omitempty"`
	Carrier    Carrier `json:"carrier,omitempty"`
	Resume     bool    `json:"resume,omitempty"` // the stream may be attached to again, and speaks package resume
	Keep       int     `json:"keep,omitempty"`   // seconds for which it is kept without a carrier
	// Departed is of a refusal: the agent had a tunnel to this proxy, and has left.
	Departed bool `json:"departed,omitempty"`
	// Proxies are other addresses at which the stream may be attached to.
	Proxies []string `json:"proxies,omitempty"`
}

func (r *Reply) envelope() (int, Bits) { return r.V, r.Must }

func (r *Reply) check() error {
	if r.Kind != "" && !r.Kind.Valid() {
		return fault.New(fault.Invalid, "dial reply: refusal kind %q is unknown", clip(string(r.Kind)))
	}
	if r.EndsAt != "" && r.EndsAt != EndsAtAgent && r.EndsAt != EndsAtProxy {
		return fault.New(fault.Invalid, "dial reply: ends_at %q is unknown", clip(string(r.EndsAt)))
	}
	if len(r.Proxies) > MaxReplyProxies || r.Keep < 0 {
		return fault.New(fault.Invalid, "dial reply: %d proxies, kept for %d s", len(r.Proxies), r.Keep)
	}
	fields := []field{{"message", r.Message, 8192}, {"hint", r.Hint, 1024},
		{"agent_uuid", r.AgentUUID, 64}, {"hostname", r.Hostname, 255}, {"carrier", string(r.Carrier), 16}}
	for _, addr := range r.Proxies {
		fields = append(fields, field{"proxies", addr, 255})
	}
	return checkFields("dial reply", fields)
}

// Err returns the refusal as a fault, or nil for ok.
func (r *Reply) Err() error {
	if r.Kind == "" {
		return nil
	}
	e := fault.New(r.Kind, "%s", r.Message)
	e.Hint = r.Hint
	return e
}

// Refusal makes the reply that tells a client why: kind, message and hint of
// the fault, never its cause.
func Refusal(err error) Reply {
	return Reply{V: Version, Kind: fault.KindOf(err), Message: cut(fault.Message(err), 8192), Hint: cut(fault.Hint(err), 1024)}
}

// field is one string of a message with its bound in bytes.
type field struct {
	name, value string
	max         int
}

// checkFields refuses what is too long, is no UTF-8 or holds control
// characters; new lines are allowed, as messages list candidates in lines.
func checkFields(what string, fields []field) error {
	for _, f := range fields {
		if len(f.value) > f.max {
			return fault.New(fault.Invalid, "%s: %s is longer than %d bytes", what, f.name, f.max)
		}
		if !utf8.ValidString(f.value) {
			return fault.New(fault.Invalid, "%s: %s is not UTF-8", what, f.name)
		}
		for _, c := range f.value {
			if unicode.IsControl(c) && c != '\n' {
				return fault.New(fault.Invalid, "%s: %s holds a control character", what, f.name)
			}
		}
	}
	return nil
}

// cut shortens s to at most n bytes on a rune boundary and drops what
// checkFields would refuse, so that a refusal can always be sent.
func cut(s string, n int) string {
	out := make([]byte, 0, min(len(s), n))
	for _, c := range s {
		if unicode.IsControl(c) && c != '\n' {
			c = ' '
		}
		if len(out)+utf8.RuneLen(c) > n {
			break
		}
		out = utf8.AppendRune(out, c)
	}
	return string(out)
}

// clip shortens outside text for a message.
func clip(s string) string { return cut(s, 32) }
