package assembly

import (
	"context"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/proxy/proxyd"
	"teleport/store"
	"teleport/telemetry"
	"teleport/types"
	"teleport/types/event"
)

// followLocks ends the tunnels of agents that a lock names, with all that flows
// in them.
func (x *proxyParts) followLocks(ctx context.Context) error {
	changes, stop := x.p.replica.Subscribe()
	defer stop()
	for {
		for _, l := range x.p.replica.Locks() {
			uuid := l.Spec.Target.ServerID
			if err := lockedHost([]*types.Lock{l}, uuid); uuid != "" && err != nil {
				x.registry.Close(uuid, fault.Message(err))
			}
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil
		}
	}
}

// dialRefused records who was refused a resource at the gate. There is nothing
// left to refuse when that fails.
func (p *Process) dialRefused(ctx context.Context, r proxyd.Refusal) {
	id, d := r.Caller.Identity, r.Decision
	e := &event.AuthFail{User: event.User{User: id.Name, UserKind: 1, UserCluster: id.Cluster, UserRoles: id.Authority.Roles,
		Impersonator: id.Proofs.Impersonator, AccessRequests: id.Proofs.AccessRequests},
		ResourceKind: r.Kind, ResourceName: r.Name,
		Connection: event.Connection{RemoteAddr: r.Caller.Addr.String(), Protocol: "dial"},
		Decision: &event.Decision{Action: string(access.ActionDial), Policy: d.Policy, Roles: id.Authority.Roles, Traits: id.Authority.Traits,
			ClientAddr: r.Caller.Addr.Addr().String(), Expires: id.Authority.Expires, At: time.Now()}}
	if r.Err != nil {
		e.Error, e.Decision = fault.Message(r.Err), nil
	}
	if r.Resource != nil {
		e.ServerID = r.Resource.Head().Name()
	}
	for _, why := range d.Reasons {
		e.Decision.Reasons = append(e.Decision.Reasons, why.Code)
	}
	if len(d.Reasons) > 0 {
		e.Error = d.Reasons[0].Text
	}
	if labels := labelsOf(e, r.Resource); e.Decision != nil {
		e.Decision.Labels = labels
	}
	if err := p.writer.Emit(ctx, e); err != nil {
		p.log.Warn("a refused dial was not recorded", telemetry.KeyErr, err)
	}
}

// labelsOf tells an event on what host or to what app a dial went, and returns its
// labels.
func labelsOf(e *event.AuthFail, to types.Resource) map[string]string {
	switch x := to.(type) {
	case *types.Node:
		e.ServerHostname, e.ServerLabels = x.Spec.Hostname, x.AllLabels()
	case types.Fronted:
		e.ServerLabels = x.AllLabels()
	}
	return e.ServerLabels
}

// sessionsOn lists the live sessions of a node, as the copy of the policy knows them.
func (p *Process) sessionsOn(node string) []*types.SessionTracker {
	var list []*types.SessionTracker
	for _, t := range store.Every[*types.SessionTracker](p.replica) {
		if t.Spec.HostID == node {
			list = append(list, t)
		}
	}
	return list
}
