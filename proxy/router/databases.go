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

// DatabaseServers is the databases that agents front; *store.Replica is one.
type DatabaseServers interface {
	DatabaseServers() []*types.DatabaseServer
}

// Databases finds an agent that fronts a database. Safe for concurrent use.
type Databases struct {
	servers DatabaseServers
	tunnels Dialer
}

// Dialer opens a stream to an agent through its tunnel; *tunnel.Registry is one.
type Dialer interface {
	Agent(uuid string) (tunnel.AgentInfo, error)
	LastSeen(uuid string) time.Time
	Dial(ctx context.Context, uuid string, h tunframe.Header) (net.Conn, tunframe.Reply, error)
}

// NewDatabases makes a router of databases.
func NewDatabases(servers DatabaseServers, tunnels Dialer) *Databases {
	return &Databases{servers, tunnels}
}

// Resolve returns the database of a name that some live agent fronts and the
// caller may know of; otherwise fault.NotFound.
func (d *Databases) Resolve(name string, visible func(*types.Database) bool) (*types.Database, error) {
	for _, s := range d.servers.DatabaseServers() {
		if db := &s.Spec.Database; db.Metadata.Name == name && visible(db) {
			return db, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no database %q, or you may not see it", name).WithHint("tsh db ls lists what you can reach")
}

// ResolveServer returns a database at one agent, by the name of its document
// (types.ServerName). Clients go on with their streams by it.
func (d *Databases) ResolveServer(name string, visible func(*types.DatabaseServer) bool) (*types.DatabaseServer, error) {
	for _, s := range d.servers.DatabaseServers() {
		if s.Metadata.Name == name && visible(s) {
			return s, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no agent of that name fronts a database, or you may not see it")
}

// DialServer opens a stream to the one agent of a document. An agent that has left
// is dial.ErrDeparted.
func (d *Databases) DialServer(ctx context.Context, s *types.DatabaseServer, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	h.Kind, h.Name = types.KindDatabase, s.Spec.Database.Metadata.Name
	conn, reply, err := d.tunnels.Dial(ctx, s.Spec.HostID, h)
	if err == nil || reply.Kind != "" {
		return conn, reply, err
	}
	if _, away := d.tunnels.Agent(s.Spec.HostID); away != nil && !d.tunnels.LastSeen(s.Spec.HostID).IsZero() {
		err = fault.Wrap(dial.ErrDeparted, fault.Unavailable, "the agent %s has left", s.Spec.Hostname)
	}
	return nil, reply, err
}

// Dial opens a stream to one of the agents that front a database, those that find
// it healthy first. Among equals each user has an order of their own that stays
// the same, so that users spread over the agents, and what belongs to a session
// and comes as a connection of its own, such as a cancel request, finds the agent
// that holds it; before all others comes the one that the header names. One that is
// away or refuses the dial before the first byte leaves it to the next.
func (d *Databases) Dial(ctx context.Context, db *types.Database, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	var agents []*types.DatabaseServer
	for _, s := range d.servers.DatabaseServers() {
		if s.Spec.Database.Metadata.Name == db.Metadata.Name {
			agents = append(agents, s)
		}
	}
	slices.SortFunc(agents, func(a, b *types.DatabaseServer) int {
		return cmp.Or(meant(h, b)-meant(h, a), a.Status.TargetHealth.Rank()-b.Status.TargetHealth.Rank(), cmp.Compare(rank(h.Gateway, a), rank(h.Gateway, b)), cmp.Compare(a.Spec.HostID, b.Spec.HostID))
	})
	var last error = fault.New(fault.Unavailable, "no agent fronts the database %s at the moment", db.Metadata.Name)
	var reply tunframe.Reply
	for _, s := range agents {
		conn, r, err := d.tunnels.Dial(ctx, s.Spec.HostID, h)
		if err == nil {
			return conn, r, nil
		}
		if last, reply = err, r; r.Kind != "" && !passes(fault.Kind(r.Kind)) || ctx.Err() != nil {
			break
		}
	}
	return nil, reply, fault.Wrap(last, fault.KindOf(last), "%s", fault.Message(last))
}

// meant is 1 for the agent that a dial is about.
func meant(h tunframe.Header, s *types.DatabaseServer) int {
	if s.Spec.HostID == h.AgentUUID {
		return 1
	}
	return 0
}

// rank is where an agent stands in the order of one user (rendezvous hashing):
// an agent that comes or goes moves only those whose first it is.
func rank(g *tunframe.Gateway, s *types.DatabaseServer) uint64 {
	h := fnv.New64a()
	if g != nil {
		_, _ = io.WriteString(h, g.Cluster+"\x00"+g.User+"\x00")
	}
	_, _ = io.WriteString(h, s.Metadata.Name)
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
