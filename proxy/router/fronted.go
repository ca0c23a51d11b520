package router

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"net"
	"slices"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Fronted finds an agent that fronts a resource of one kind, such as a database: S
// is the documents by which agents announce those. Safe for concurrent use.
type Fronted[S types.FrontedServer] struct {
	kind    string
	hint    string // how people see what there is
	servers func() []S
	tunnels Dialer
}

// Dialer opens a stream to an agent through its tunnel; *tunnel.Registry is one.
type Dialer interface {
	Agent(uuid string) (tunnel.AgentInfo, error)
	LastSeen(uuid string) time.Time
	Dial(ctx context.Context, uuid string, h tunframe.Header) (net.Conn, tunframe.Reply, error)
}

// NewFronted makes a router of the resources of a kind, from what agents announce;
// hint tells people how to list them.
func NewFronted[S types.FrontedServer](kind, hint string, servers func() []S, tunnels Dialer) *Fronted[S] {
	return &Fronted[S]{kind, hint, servers, tunnels}
}

// called is what people call the kind.
func (f *Fronted[S]) called() string {
	if f.kind == types.KindDatabase {
		return "database"
	}
	return f.kind
}

// Resolve returns the resource of a name that some live agent fronts and the
// caller may know of; otherwise fault.NotFound.
func (f *Fronted[S]) Resolve(name string, visible func(types.Resource) bool) (types.Fronted, error) {
	for _, s := range f.servers() {
		if of := s.Of(); of.Head().Metadata.Name == name && visible(of) {
			return of, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no %s %q, or you may not see it", f.called(), name).WithHint("%s", f.hint)
}

// ResolveServer returns a resource at one agent, by the name of its document
// (types.ServerName). Clients go on with their streams by it.
func (f *Fronted[S]) ResolveServer(name string, visible func(types.Resource) bool) (types.FrontedServer, error) {
	for _, s := range f.servers() {
		if s.Head().Metadata.Name == name && visible(s) {
			return s, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no agent of that name fronts a resource of the kind %s, or you may not see it", f.kind)
}

// DialServer opens a stream to the one agent of a document. An agent that has left
// is dial.ErrDeparted.
func (f *Fronted[S]) DialServer(ctx context.Context, s types.FrontedServer, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	uuid, hostname := s.Host()
	h.Kind, h.Name = f.kind, s.Of().Head().Metadata.Name
	conn, reply, err := f.tunnels.Dial(ctx, uuid, h)
	if err == nil || reply.Kind != "" {
		return conn, reply, err
	}
	if _, away := f.tunnels.Agent(uuid); away != nil && !f.tunnels.LastSeen(uuid).IsZero() {
		err = fault.Wrap(dial.ErrDeparted, fault.Unavailable, "the agent %s has left", hostname)
	}
	return nil, reply, err
}

// Dial opens a stream to one of the agents that front a resource, those that find
// it healthy first. Among equals each user has an order of their own that stays
// the same, so that users spread over the agents, and what belongs to a session
// and comes as a connection of its own, such as a cancel request, finds the agent
// that holds it; before all others comes the one that the header names. One that is
// away or refuses the dial before the first byte leaves it to the next.
func (f *Fronted[S]) Dial(ctx context.Context, r types.Fronted, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	name := r.Head().Metadata.Name
	var agents []S
	for _, s := range f.servers() {
		if s.Of().Head().Metadata.Name == name {
			agents = append(agents, s)
		}
	}
	slices.SortFunc(agents, func(a, b S) int {
		return cmp.Or(meant(h, b)-meant(h, a), a.Health().Rank()-b.Health().Rank(), cmp.Compare(rank(h.Gateway, a), rank(h.Gateway, b)), cmp.Compare(hostOf(a), hostOf(b)))
	})
	var last error = fault.New(fault.Unavailable, "no agent fronts the %s %s at the moment", f.called(), name)
	var reply tunframe.Reply
	for _, s := range agents {
		conn, r, err := f.tunnels.Dial(ctx, hostOf(s), h)
		if err == nil {
			return conn, r, nil
		}
		if last, reply = err, r; r.Kind != "" && !passes(fault.Kind(r.Kind)) || ctx.Err() != nil {
			break
		}
	}
	return nil, reply, fault.Wrap(last, fault.KindOf(last), "%s", fault.Message(last))
}

func hostOf(s types.FrontedServer) string {
	uuid, _ := s.Host()
	return uuid
}

// meant is 1 for the agent that a dial is about.
func meant(h tunframe.Header, s types.FrontedServer) int {
	if hostOf(s) == h.AgentUUID {
		return 1
	}
	return 0
}

// rank is where an agent stands in the order of one user (rendezvous hashing):
// an agent that comes or goes moves only those whose first it is.
func rank(g *tunframe.Gateway, s types.FrontedServer) uint64 {
	h := fnv.New64a()
	if g != nil {
		_, _ = io.WriteString(h, g.Cluster+"\x00"+g.User+"\x00")
	}
	_, _ = io.WriteString(h, s.Head().Metadata.Name)
	return mix(h.Sum64())
}

// mix spreads the last bytes over the whole word, which FNV does not (the
// finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// passes reports whether a refusal is about this agent, and not about the caller.
func passes(k fault.Kind) bool {
	return k == fault.Unavailable || k == fault.NotFound || k == fault.Timeout || k == fault.Limit || k == fault.Internal
}
