package router

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"

	"teleport/fault"
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
	tunnels Tunnels
}

// NewDatabases makes a router of databases.
func NewDatabases(servers DatabaseServers, tunnels Tunnels) *Databases {
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

// Dial opens a stream to one of the agents that front a database, those that find
// it healthy first, in random order among equals. One that is away or refuses the
// dial before the first byte leaves it to the next.
func (d *Databases) Dial(ctx context.Context, db *types.Database, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	var agents []*types.DatabaseServer
	for _, s := range d.servers.DatabaseServers() {
		if s.Spec.Database.Metadata.Name == db.Metadata.Name {
			agents = append(agents, s)
		}
	}
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	slices.SortStableFunc(agents, func(a, b *types.DatabaseServer) int { return health(a) - health(b) })
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

// health orders agents by what they see of the database.
func health(s *types.DatabaseServer) int {
	switch s.Status.TargetHealth.Status {
	case types.HealthHealthy:
		return 0
	case types.HealthUnhealthy:
		return 2
	}
	return 1
}

// passes reports whether a refusal is about this agent, and not about the caller.
func passes(k fault.Kind) bool {
	return k == fault.Unavailable || k == fault.NotFound || k == fault.Timeout || k == fault.Limit || k == fault.Internal
}
