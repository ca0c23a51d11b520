package tunframe

import (
	"teleport/fault"
)

// Names of the SSH global requests of a tunnel. All but Hello are sent without
// asking for an answer.
const (
	RequestHello    = "tunnel-hello@teleport"    // agent → proxy, Hello; answered by Welcome
	RequestPing     = "tunnel-ping@teleport"     // both ways, empty: keeps the path open and shows life
	RequestDraining = "tunnel-draining@teleport" // both ways, empty: no new streams here, please
	RequestProxies  = "tunnel-proxies@teleport"  // proxy → agent, Proxies
	RequestData     = "tunnel-data@teleport"     // proxy → agent, DataRequest
	RequestNoData   = "tunnel-no-data@teleport"  // agent → proxy, DataRequest: these will not come
)

// Names of the SSH channels of a tunnel: a closed list, anything else is refused.
const (
	ChannelDial = "tunnel-dial@teleport" // proxy → agent; extra data is a Header; the stream begins with a Reply frame
	ChannelAuth = "tunnel-auth@teleport" // agent → proxy; the agent's own mTLS to the auth service
)

// ALPN names of the connections between our processes.
const (
	ALPNTunnel  = "teleport-reversetunnel"
	ALPNData    = "teleport-data"
	ALPNDial    = "teleport-dial"
	ALPNForward = "teleport-forward"
	ALPNDirect  = "teleport-direct" // a proxy at the listener of an agent
	ALPNSSH     = "teleport-proxy-ssh"
	ALPNStreams = "teleport-streams" // within a dial: many connections of one client (netx/mux)
	ALPNTCP     = "teleport-tcp"     // within a dial: the bytes of a tcp app
	ALPNAuth    = "teleport-auth@"   // followed by the cluster name
)

// ALPN names within which a client of a database speaks with the proxy as at its
// bare port, and shows its own certificate.
const (
	ALPNPostgres = "teleport-postgres"
	ALPNMySQL    = "teleport-mysql"
	ALPNRedis    = "teleport-redis"
)

// Hello introduces an agent. UUID, cluster and roles come from its certificate
// and are not repeated here.
type Hello struct {
	V          int      `json:"v"`
	Must       Bits     `json:"must,omitempty"`
	Generation uint64   `json:"generation"`         // of the process: a restarted agent counts up
	Services   []string `json:"services,omitempty"` // "ssh", "db" …: for display
	Release    string   `json:"release,omitempty"`  // version of the binary: for display
	Data       bool     `json:"data,omitempty"`     // it can dial data connections back
}

func (h *Hello) envelope() (int, Bits) { return h.V, h.Must }

func (h *Hello) check() error {
	if len(h.Services) > 32 {
		return fault.New(fault.Invalid, "tunnel hello: more than 32 services")
	}
	fields := []field{{"release", h.Release, 64}}
	for _, s := range h.Services {
		fields = append(fields, field{"services", s, 64})
	}
	return checkFields("tunnel hello", fields)
}

// Welcome answers Hello.
type Welcome struct {
	V       int     `json:"v"`
	Must    Bits    `json:"must,omitempty"`
	Release string  `json:"release,omitempty"`
	Proxies []Proxy `json:"proxies,omitempty"` // the discovery list, this proxy included
	Err     string  `json:"err,omitempty"`     // a refusal, safe to show
}

func (w *Welcome) envelope() (int, Bits) { return w.V, w.Must }

func (w *Welcome) check() error {
	if err := checkProxies(w.Proxies); err != nil {
		return err
	}
	return checkFields("tunnel welcome", []field{{"release", w.Release, 64}, {"err", w.Err, 1024}})
}

// Proxy is a live proxy as agents are told of it.
type Proxy struct {
	UUID string `json:"uuid"`
	Addr string `json:"addr,omitempty"` // host:port of this very process; empty: only the public address
}

// Proxies is the whole list of live proxies.
type Proxies struct {
	V       int     `json:"v"`
	Must    Bits    `json:"must,omitempty"`
	Proxies []Proxy `json:"proxies"`
}

func (p *Proxies) envelope() (int, Bits) { return p.V, p.Must }
func (p *Proxies) check() error          { return checkProxies(p.Proxies) }

// MaxProxies bounds a discovery list.
const MaxProxies = 64

func checkProxies(list []Proxy) error {
	if len(list) > MaxProxies {
		return fault.New(fault.Invalid, "discovery list: more than %d proxies", MaxProxies)
	}
	for _, p := range list {
		if p.UUID == "" {
			return fault.New(fault.Invalid, "discovery list: a proxy without a UUID")
		}
		if err := checkFields("discovery list", []field{{"uuid", p.UUID, 64}, {"addr", p.Addr, 255}}); err != nil {
			return err
		}
	}
	return nil
}

// DataRequest asks the agent to dial one data connection for each id, or, in
// the other direction, says that the ones listed will not come.
type DataRequest struct {
	V    int      `json:"v"`
	Must Bits     `json:"must,omitempty"`
	IDs  []DataID `json:"ids"`
}

func (d *DataRequest) envelope() (int, Bits) { return d.V, d.Must }

func (d *DataRequest) check() error {
	if len(d.IDs) == 0 || len(d.IDs) > 64 {
		return fault.New(fault.Invalid, "data request: %d ids is outside 1..64", len(d.IDs))
	}
	for _, id := range d.IDs {
		if err := id.check(); err != nil {
			return err
		}
	}
	return nil
}

// DataID is a one-time name of a data connection: 32 hex digits of 128 random bits.
type DataID string

func (id DataID) check() error {
	if len(id) != 32 {
		return fault.New(fault.Invalid, "data connection: the id has not 32 digits")
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fault.New(fault.Invalid, "data connection: the id is not lower-case hex")
		}
	}
	return nil
}

// DataHello opens a data connection: the agent's first frame inside the TLS.
// The proxy says nothing until it sends a Header for a dial.
type DataHello struct {
	V    int    `json:"v"`
	Must Bits   `json:"must,omitempty"`
	ID   DataID `json:"id"`
}

func (d *DataHello) envelope() (int, Bits) { return d.V, d.Must }
func (d *DataHello) check() error          { return d.ID.check() }
