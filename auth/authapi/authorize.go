package authapi

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	"teleport/access"
	"teleport/api/rpc"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// verifier reads identities from client certificates. Bridge certificates are
// for agents and are refused here.
type verifier struct {
	trust func() *cert.Trust
	now   func() time.Time
}

func (v *verifier) Verify(chain []*x509.Certificate) (*types.Identity, error) {
	return tlscert.Verify(chain[:1], v.trust(), v.now(), types.IdentityUser, types.IdentityHost)
}

func (v *verifier) Generation() string { return v.trust().Fingerprint() }

// Authorize implements rpc.Authorizer.
func (a *API) Authorize(ctx context.Context, c rpc.Caller, p rpc.Permission) error {
	if err := a.standing(c); err != nil {
		if pinnedElsewhere(c) {
			e := &event.AccessDenied{User: who(c), Connection: from(c), Reasons: []string{access.CodeIPMismatch}}
			e.Error, e.Message = err.Error(), fault.Message(err)
			if emitErr := a.emit(ctx, e); emitErr != nil {
				return emitErr
			}
		}
		return err
	}
	id := c.Identity
	switch p.Level {
	case rpc.LevelSystem:
		if p.AdmitsSystem(id) {
			return nil
		}
		return fault.New(fault.Denied, "%s may not do this; it is for processes with the role %s", id, p.Roles)
	case rpc.LevelUser:
		if id.Kind == types.IdentityUser || id.HasSystemRole(types.RoleAdmin) {
			return nil
		}
		return fault.New(fault.Denied, "this is for users; %s is none", id)
	case rpc.LevelRule:
		return a.rule(ctx, c, p.Kind, p.Verb, nil)
	case rpc.LevelResource:
		return nil // the handler decides, by kind and document
	}
	return fault.New(fault.Denied, "this procedure is not open to anybody")
}

// standing refuses callers that may do nothing at all: other clusters'
// identities, certificates for one resource, locked or deleted bearers, and
// those who come from another address than their certificate is pinned to.
func (a *API) standing(c rpc.Caller) error {
	id := c.Identity
	auth := &id.Authority
	switch {
	case id.Cluster != a.d.Cluster:
		return fault.New(fault.Denied, "%s is of another cluster", id)
	case auth.Route != nil || len(auth.Usage) > 0 || len(auth.ResourceIDs) > 0:
		return fault.New(fault.Denied, "this certificate is for one resource only").WithHint("use the certificate of your login")
	case pinnedElsewhere(c):
		return fault.New(fault.Denied, "this certificate may be used only from the address of its login").WithHint("log in again")
	}
	if id.Kind == types.IdentityUser {
		if e := a.d.Policy.Epoch(id.Name); e != nil && e.Deleted {
			return fault.New(fault.Denied, "the user %q no longer exists", id.Name)
		}
	}
	if a.strictAndStale() && !id.HasSystemRole(types.RoleAdmin) {
		return fault.New(fault.Unavailable, "locks cannot be checked now, and this cluster is strict about them")
	}
	// A locked proxy may not pass anybody on either: the caller's address is its word.
	subject, carrier, now := lockSubject(id), access.LockSubject{ServerID: c.ForwardedBy}, a.d.Now()
	for _, l := range a.d.Policy.Locks() {
		if access.LockInForce(l, subject, now) || c.ForwardedBy != "" && access.LockInForce(l, carrier, now) {
			return lockedBy(l)
		}
	}
	return nil
}

// pinnedElsewhere reports whether a certificate comes from another address than
// the one that it is pinned to: as when it was stolen.
func pinnedElsewhere(c rpc.Caller) bool {
	pin := c.Identity.Authority.PinnedIP
	return pin.IsValid() && pin.Unmap().WithZone("") != c.Addr.Addr().Unmap().WithZone("")
}

func (a *API) strictAndStale() bool {
	return a.d.Policy.Settings().Auth.LockingMode == "strict" && !a.d.Policy.Fresh(a.d.Now())
}

// lockSubject is what locks are held against when somebody calls the API.
func lockSubject(id *types.Identity) access.LockSubject {
	if id.Kind == types.IdentityHost {
		return access.LockSubject{ServerID: id.Name}
	}
	return access.LockSubject{User: id.Name, Roles: id.Authority.Roles, MFADevice: id.Proofs.MFADevice,
		Device: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests}
}

func lockedBy(l *types.Lock) error {
	return fault.New(fault.Denied, "%s", access.LockText(l)).WithHint("ask an administrator; the lock is %s", l.Metadata.Name)
}

// rule decides a verb on a kind for a caller, and records a refusal. subject is
// the document that a where clause looks at, nil where there is none.
func (a *API) rule(ctx context.Context, c rpc.Caller, kind, verb string, subject types.Resource) error {
	err := a.decideRule(c, kind, verb, subject)
	if err == nil {
		return nil
	}
	e := &event.AccessDenied{User: who(c), Connection: from(c), ResourceKind: kind, Verb: verb}
	e.Error, e.Message = err.Error(), fault.Message(err)
	if subject != nil {
		e.Name = shownName(kind, subject.Head().Metadata.Name)
	}
	if emitErr := a.emit(ctx, e); emitErr != nil {
		return emitErr
	}
	return err
}

// may is rule for questions that are not the caller's request itself: nothing is
// recorded.
func (a *API) may(c rpc.Caller, kind, verb string, subject types.Resource) bool {
	return a.decideRule(c, kind, verb, subject) == nil
}

func (a *API) decideRule(c rpc.Caller, kind, verb string, subject types.Resource) error {
	id := c.Identity
	if id.HasSystemRole(types.RoleAdmin) {
		return nil
	}
	if id.Kind == types.IdentityUser {
		r := a.request(c)
		r.Action, r.Kind, r.Verb, r.Subject = access.ActionRule, kind, verb, subject
		if d := access.Decide(r); d.Allow {
			return nil
		}
	}
	return fault.New(fault.Denied, "%s may not %s %s", id, verb, kind).
		WithHint("a role with a rule for the resource %q and the verb %q is needed", kind, verb)
}

// request is the part of a decision that does not depend on what is asked.
func (a *API) request(c rpc.Caller) access.Request {
	return access.Ask(a.d.Policy, c.Identity, c.Addr.Addr(), a.d.Now())
}

// selectedByLabels reports whether roles give access to resources of a kind by
// their labels, so that whoever may use one sees it without a rule.
func selectedByLabels(kind string) bool {
	switch kind {
	case types.KindNode, types.KindDatabase, types.KindDatabaseServer, types.KindApp, types.KindAppServer:
		return true
	}
	return false
}

// mayList decides whether a user sees a node, a database or an app in listings.
func (a *API) mayList(c rpc.Caller, doc types.Resource) bool {
	if c.Identity.Kind != types.IdentityUser {
		return false
	}
	r := a.request(c)
	r.Action, r.Resource = access.ActionList, doc
	switch d := doc.(type) {
	case *types.Node:
		r.Labels, r.HostID = d.AllLabels(), d.Metadata.Name
	case types.Fronted:
		r.Labels = d.AllLabels()
	case types.FrontedServer:
		r.Labels = d.Of().AllLabels()
		r.HostID, _ = d.Host()
	default:
		return false
	}
	return access.Decide(r).Allow
}

// mayAttend decides whether a user sees a live session without a rule for it: as
// its owner, as somebody who was invited, or as one who may join it.
func (a *API) mayAttend(c rpc.Caller, t *types.SessionTracker) bool {
	if c.Identity.Kind != types.IdentityUser {
		return false
	}
	if slices.Contains(t.Spec.Invited, c.Identity.Name) {
		return true
	}
	r := a.request(c)
	r.Action, r.Subject = access.ActionJoin, t
	return access.Decide(r).Allow
}

// who names the caller in events.
func who(c rpc.Caller) event.User {
	id := c.Identity
	switch {
	case id == nil:
		return event.User{}
	case id.Kind == types.IdentityUser:
		return event.User{User: id.Name, UserKind: 1, UserCluster: id.Cluster, UserRoles: id.Authority.Roles,
			Impersonator: id.Proofs.Impersonator, AccessRequests: id.Proofs.AccessRequests}
	}
	return event.User{User: id.Name + "." + id.Cluster, UserKind: 3, UserCluster: id.Cluster}
}

func from(c rpc.Caller) event.Connection {
	if !c.Addr.IsValid() {
		return event.Connection{}
	}
	return event.Connection{RemoteAddr: c.Addr.String()}
}

func (a *API) emit(ctx context.Context, e event.Event) error {
	if err := a.d.Events.Emit(ctx, e); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the audit log does not take events")
	}
	return nil
}
