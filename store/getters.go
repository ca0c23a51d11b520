package store

import (
	"time"

	"teleport/access"
	"teleport/cert"
	"teleport/types"
)

// Role returns a live role or nil. A role that this version does not fully
// understand is returned as one that allows nothing and denies everything: the
// part that is not understood may be a restriction.
func (r *Replica) Role(name string) *types.Role {
	d := r.current.Load().tables[types.KindRole].find("", name)
	if d == nil || !d.liveAt(r.now) {
		return nil
	}
	role, _ := d.res.(*types.Role)
	return role
}

// Roles resolves names; a missing role is absent.
func (r *Replica) Roles(names []string) []*types.Role {
	roles := make([]*types.Role, 0, len(names))
	for _, n := range names {
		if role := r.Role(n); role != nil {
			roles = append(roles, role)
		}
	}
	return roles
}

// Locks returns the locks in force. A lock that this version does not fully
// understand is in force by what it does understand of its target.
func (r *Replica) Locks() []*types.Lock { return list[*types.Lock](r, types.KindLock) }

// Nodes returns the live nodes in name order.
func (r *Replica) Nodes() []*types.Node { return list[*types.Node](r, types.KindNode) }

// Databases returns the registered databases in name order.
func (r *Replica) Databases() []*types.Database { return list[*types.Database](r, types.KindDatabase) }

// Apps returns the registered apps in name order.
func (r *Replica) Apps() []*types.App { return list[*types.App](r, types.KindApp) }

// AppServers returns the apps that live agents front, in name order.
func (r *Replica) AppServers() []*types.AppServer {
	return list[*types.AppServer](r, types.KindAppServer)
}

// DatabaseServers returns the databases that live agents front, in name order.
func (r *Replica) DatabaseServers() []*types.DatabaseServer {
	return list[*types.DatabaseServer](r, types.KindDatabaseServer)
}

// AppSession returns the session of a browser with an app.
func (r *Replica) AppSession(id string) (*types.AppSession, bool) {
	return Find[*types.AppSession](r, "", id)
}

// Proxies returns the live proxies in name order.
func (r *Replica) Proxies() []*types.Proxy { return list[*types.Proxy](r, types.KindProxy) }

// Settings returns the cluster's settings, zero where a kind is out of scope.
func (r *Replica) Settings() access.Settings { return r.current.Load().settings }

// RecordingKeys returns the public keys that recordings are encrypted to, and
// whether they have to be encrypted: also before any key is known, and before
// the settings are.
func (r *Replica) RecordingKeys() (keys []string, encrypt bool) {
	d, ok := first[*types.RecordingConfig](r.current.Load().tables[types.KindRecordingConfig])
	if !ok {
		return nil, true
	}
	if e := d.Spec.Encryption; e != nil && e.Enabled != nil && !*e.Enabled {
		return nil, false
	}
	for _, k := range d.Status.EncryptionKeys {
		keys = append(keys, k.PublicKey)
	}
	return keys, true
}

// Trust returns the cluster's authorities: one immutable value until they
// change, and one that trusts nobody before the first snapshot. When authorities
// arrive that cannot stand together, the last sound set stays.
func (r *Replica) Trust() *cert.Trust { return r.current.Load().trust }

// Epoch returns the user's epoch or nil.
func (r *Replica) Epoch(user string) *types.UserEpochSpec {
	d := r.current.Load().tables[types.KindUserEpoch].find("", user)
	if d == nil || !d.liveAt(r.now) {
		return nil
	}
	e, ok := d.res.(*types.UserEpoch)
	if !ok {
		return nil
	}
	return &e.Spec
}

// ClusterName is the cluster's name, "" before the first snapshot.
func (r *Replica) ClusterName() string { return r.current.Load().cluster }

// Unusable lists documents that this version does not fully understand.
func (r *Replica) Unusable() []Unusable {
	var list []Unusable
	for kind, t := range r.current.Load().tables {
		for _, d := range t.docs {
			if d.newer != "" {
				list = append(list, Unusable{kind, d.sub, d.name, d.newer})
			}
		}
	}
	return list
}

// Find returns a live document of a kind in the replica's scope.
func Find[T types.Resource](r *Replica, subKind, name string) (T, bool) {
	var none T
	kind, err := kindOf[T]()
	if err != nil {
		return none, false
	}
	d := r.current.Load().tables[kind].find(keySubKind(kind, subKind), name)
	if d == nil || !d.liveAt(r.now) {
		return none, false
	}
	doc, ok := d.res.(T)
	return doc, ok
}

// Every returns the live documents of a kind in the replica's scope, in name
// order.
func Every[T types.Resource](r *Replica) []T {
	kind, err := kindOf[T]()
	if err != nil {
		return nil
	}
	return list[T](r, kind)
}

// list returns a table's documents as T: one shared slice for as long as nothing
// in it changes or expires.
func list[T types.Resource](r *Replica, kind string) []T {
	t := r.current.Load().tables[kind]
	if t == nil {
		return nil
	}
	all, ok := t.list.Load().([]T)
	if !ok {
		all = make([]T, 0, len(t.docs))
		for _, d := range t.docs {
			if doc, ok := d.res.(T); ok {
				all = append(all, doc)
			}
		}
		all = all[:len(all):len(all)]
		t.list.Store(all)
	}
	now := time.Time{}
	if !t.firstExpiry.IsZero() {
		now = r.now()
	}
	if t.firstExpiry.IsZero() || now.Before(t.firstExpiry) {
		return all
	}
	var live []T
	for _, doc := range all {
		if at := expiry(doc); at.IsZero() || now.Before(at) {
			live = append(live, doc)
		}
	}
	return live
}
