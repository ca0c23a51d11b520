package access

import (
	"net/netip"
	"strconv"
	"time"

	"teleport/types"
)

// View is the policy that decisions are made from: a watched copy of roles,
// locks, settings and user epochs. *store.Replica is one.
type View interface {
	Roles(names []string) []*types.Role
	Locks() []*types.Lock
	Settings() Settings
	Epoch(user string) *types.UserEpochSpec
	Fresh(now time.Time) bool
	Revision() uint64
}

// Ask begins a request: everything that a view and the caller say, before what
// is asked for. The caller adds action and resource, or kind and verb.
func Ask(v View, id *types.Identity, client netip.Addr, now time.Time) Request {
	return Request{
		Identity: id, ClientAddr: client, Roles: v.Roles(id.Authority.Roles), Locks: v.Locks(), LocksStale: !v.Fresh(now),
		Settings: v.Settings(), Policy: strconv.FormatUint(v.Revision(), 10), Epoch: v.Epoch(id.Name), Now: now,
	}
}
