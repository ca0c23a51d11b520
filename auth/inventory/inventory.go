// Package inventory knows which processes of the cluster are alive and what
// they front. Each process holds one control stream to one auth service. A
// presence document (node, proxy, instance) is written when its process
// connects or changes, and removed when its lease has run out; pings are
// answered from memory. So the store sees O(connects) writes, not O(beats).
//
// With several auth services, an instance document names the one that holds the
// stream and an epoch that grows with each connection: the higher epoch wins,
// and whoever cleans up compares it first. Each auth service keeps one lease,
// its own auth_server document; when that expires, the others remove what it
// held.
package inventory

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"teleport/audit"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Default intervals.
const (
	DefaultPing  = 15 * time.Second
	DefaultLease = 60 * time.Second
)

// Deps are what an Inventory works with. Store, Events, Log and Self are
// required.
type Deps struct {
	Store  *store.Store
	Events audit.Emitter
	Log    *slog.Logger
	// Self is this auth service as others see it: name (host UUID), host name,
	// address, version. It is kept in the store under this service's lease.
	Self *types.AuthServer
	// Ping is how often processes ping; Lease is how long a silent one, and this
	// service's own document, stays. Zero: the defaults.
	Ping, Lease time.Duration
	Now         func() time.Time // nil: time.Now
}

// Inventory holds the control streams of one auth service. Safe for concurrent
// use. Serve runs beside the streams.
type Inventory struct {
	d         Deps
	self      string
	instances store.Collection[*types.Instance]
	nodes     store.Collection[*types.Node]
	databases store.Collection[*types.DatabaseServer]
	apps      store.Collection[*types.AppServer]
	auths     store.Collection[*types.AuthServer]
	trackers  store.Collection[*types.SessionTracker]

	mu      sync.Mutex
	streams map[streamKey]*control
	owners  map[string]*control // by UUID: the stream that owns the documents of a process
	// lost are instances whose stream broke here: removed unless they are back
	// (here or elsewhere) within the lease.
	lost map[string]lostInstance
	// orphans are instances that no live auth service holds, since when.
	orphans map[string]time.Time
	names   nameIndex

	// Sessions whose process is not here: since when. Unsettled says that some may
	// stand in the store that nobody carries any more.
	strays    map[streamKey]time.Time
	unsettled bool
	settled   time.Time // when the store was last looked through for them
}

// streamKey tells generations of a process apart: while an old one drains, both
// hold a stream.
type streamKey struct {
	uuid       string
	generation uint64
}

type lostInstance struct {
	epoch uint64
	since time.Time
}

// New returns an inventory without streams.
func New(d Deps) *Inventory {
	if d.Ping == 0 {
		d.Ping = DefaultPing
	}
	if d.Lease == 0 {
		d.Lease = DefaultLease
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Inventory{
		d: d, self: d.Self.Metadata.Name,
		instances: store.Of[*types.Instance](d.Store),
		nodes:     store.Of[*types.Node](d.Store),
		databases: store.Of[*types.DatabaseServer](d.Store), apps: store.Of[*types.AppServer](d.Store),
		auths:     store.Of[*types.AuthServer](d.Store),
		streams:   map[streamKey]*control{},
		owners:    map[string]*control{},
		lost:      map[string]lostInstance{},
		orphans:   map[string]time.Time{},
		names:     newNameIndex(0),
		trackers:  store.Of[*types.SessionTracker](d.Store),
		strays:    map[streamKey]time.Time{},
		unsettled: true,
	}
}

// Connected counts the streams that this service holds.
func (i *Inventory) Connected() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.streams)
}

// Present reports whether that generation of a process holds a stream to this
// service, or to another one that lives.
func (i *Inventory) Present(ctx context.Context, uuid string, generation uint64) (bool, error) {
	i.mu.Lock()
	_, here := i.streams[streamKey{uuid, generation}]
	i.mu.Unlock()
	if here {
		return true, nil
	}
	inst, err := i.instances.Get(ctx, uuid)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return inst.Spec.Generation == generation && inst.Spec.AuthServer != i.self, nil
}

// Serve keeps this service's lease and removes what nobody holds any more,
// until ctx ends; then it gives the lease up. A store that does not answer is
// tried again: presence heals by itself.
func (i *Inventory) Serve(ctx context.Context) error {
	tick := time.NewTicker(i.d.Lease / 4)
	defer tick.Stop()
	for {
		if err := i.beat(ctx); err != nil && ctx.Err() == nil {
			i.d.Log.WarnContext(ctx, "presence could not be kept", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return i.leave(context.WithoutCancel(ctx))
		}
	}
}

// leave removes this service's own document. The instances that it holds stay:
// they connect elsewhere, or to the successor, within the lease.
func (i *Inventory) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := i.auths.Delete(ctx, i.self, ""); err != nil && !errors.Is(err, fault.NotFound) {
		i.d.Log.WarnContext(ctx, "this service's presence could not be removed", "error", err)
	}
	return nil
}

// beat is one turn of Serve.
func (i *Inventory) beat(ctx context.Context) error {
	if err := i.extend(ctx); err != nil {
		return err
	}
	all, err := i.instances.All(ctx)
	if err != nil {
		return err
	}
	if err := i.sweep(ctx, all); err != nil {
		return err
	}
	if err := i.loadNames(ctx); err != nil {
		return err
	}
	i.retryRefused()
	return nil
}

// extend writes this service's document with a new expiry: the one write per
// beat, whatever the number of processes.
func (i *Inventory) extend(ctx context.Context) error {
	doc := *i.d.Self
	expires := i.d.Now().Add(i.d.Lease)
	doc.Metadata.Expires, doc.Metadata.Revision = &expires, ""
	_, err := i.auths.Upsert(ctx, &doc)
	return err
}

// sweep removes instances whose stream is gone for longer than the lease, and
// ends streams that a higher epoch elsewhere has superseded.
func (i *Inventory) sweep(ctx context.Context, all []*types.Instance) error {
	servers, err := i.auths.All(ctx)
	if err != nil {
		return err
	}
	alive := map[string]bool{i.self: true}
	for _, a := range servers {
		alive[a.Metadata.Name] = true
	}
	for _, inst := range i.overdue(all, alive) {
		if err := i.remove(ctx, inst.Metadata.Name, inst.Spec.Epoch); err != nil {
			return err
		}
	}
	return i.sweepSessions(ctx, alive)
}

// overdue finds instances to remove, and kicks superseded streams.
func (i *Inventory) overdue(all []*types.Instance, alive map[string]bool) []*types.Instance {
	now := i.d.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []*types.Instance
	seen := map[string]bool{}
	for _, inst := range all {
		name := inst.Metadata.Name
		owner := i.owners[name]
		switch {
		case owner != nil && owner.epoch >= inst.Spec.Epoch:
		case owner != nil:
			owner.kick(errSuperseded)
		case alive[inst.Spec.AuthServer] && inst.Spec.AuthServer != i.self:
		default:
			since, known := i.orphans[name]
			if l, ok := i.lost[name]; ok && l.epoch == inst.Spec.Epoch {
				since, known = l.since, true
			}
			if !known {
				since = now
			}
			seen[name] = true
			i.orphans[name] = since
			if now.Sub(since) >= i.d.Lease {
				out = append(out, inst)
			}
		}
	}
	for name := range i.orphans {
		if !seen[name] {
			delete(i.orphans, name)
			delete(i.lost, name)
		}
	}
	return out
}

// remove deletes a process's documents, unless a higher epoch has taken over.
func (i *Inventory) remove(ctx context.Context, uuid string, epoch uint64) error {
	inst, err := i.instances.Get(ctx, uuid)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil || inst.Spec.Epoch != epoch {
		return err
	}
	// Deleting by revision claims the clean-up; whoever connected meanwhile has
	// changed the revision and keeps its documents.
	err = i.instances.Delete(ctx, uuid, inst.Metadata.Revision)
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := i.announcedBy(ctx, uuid)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := i.d.Store.Delete(ctx, key.kind, "", key.name, ""); err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	i.mu.Lock()
	delete(i.lost, uuid)
	delete(i.orphans, uuid)
	i.names.drop(uuid)
	i.mu.Unlock()
	return nil
}
