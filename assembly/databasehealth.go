package assembly

import (
	"context"
	"time"

	"teleport/healthcheck"
	"teleport/lifecycle"
	"teleport/store"
	"teleport/types"
)

// healthGather is how long a change of health waits for others: those of an agent
// that starts, or loses its network, come together, and are announced in one.
const healthGather = 200 * time.Millisecond

// watch has the databases checked as the cluster says. Before anything is known
// of that, nothing is.
func (f *frontedDatabases) watch(now []*types.Database) {
	select {
	case <-f.p.replica.Ready():
	default:
		return
	}
	configs := store.Every[*types.HealthCheckConfig](f.p.replica)
	targets := make([]healthcheck.Target, 0, len(now))
	for _, d := range now {
		addr, err := d.Spec.Address()
		if err != nil {
			continue // Validate has seen it
		}
		targets = append(targets, healthcheck.Target{Name: d.Metadata.Name, Addr: addr,
			Plan:  healthcheck.PlanFor(configs, types.KindDatabase, d.AllLabels(), f.p.decisions),
			Check: func(ctx context.Context) error { return f.check(ctx, d) }})
	}
	f.health.Set(targets)
}

// changes waits until there may be something to announce, and reports false when
// ctx ends first.
func (f *frontedDatabases) changes(ctx context.Context, policy <-chan struct{}) bool {
	select {
	case <-policy:
		return true
	case <-f.health.Changed():
		return lifecycle.Sleep(ctx, healthGather) == nil
	case <-ctx.Done():
		return false
	}
}
