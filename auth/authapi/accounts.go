package authapi

import (
	"context"
	"time"

	"teleport/access"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Accounts answers the issuer's questions: what a user's account allows now, and
// whether a lock bans an identity. Users and roles are read from the store
// itself, so that what was just written counts.
type Accounts struct {
	Store  *store.Store
	Policy access.View
	Now    func() time.Time
}

var _ ca.Policy = Accounts{}

// Account implements ca.Policy.
func (a Accounts) Account(ctx context.Context, user string) (ca.Account, error) {
	u, err := store.Of[*types.User](a.Store).Get(ctx, user)
	if err != nil {
		return ca.Account{}, err
	}
	now := a.Now()
	if s := u.Status; s.IsLocked && (s.LockExpires == nil || now.Before(*s.LockExpires)) {
		return ca.Account{}, fault.New(fault.Denied, "the account %q is locked", user).WithHint("an administrator can unlock it")
	}
	roles, err := a.roles(ctx, u.Spec.Roles)
	if err != nil {
		return ca.Account{}, err
	}
	settings := a.Policy.Settings()
	o := access.MergeOptions(roles, settings)
	out := ca.Account{Roles: u.Spec.Roles, Traits: u.Spec.Traits, Logins: access.RoleLogins(roles, u.Spec.Traits),
		DefaultTTL: settings.Auth.DefaultSessionTTL.Std(), MaxTTL: o.MaxSessionTTL, PinIP: o.PinSourceIP,
		PermitPTY: o.PTY, PermitAgent: o.ForwardAgent, PermitPortForward: o.PortForwardLocal || o.PortForwardRemote, PermitX11: o.X11}
	if u.Spec.Expires != nil {
		out.Expires = *u.Spec.Expires
	}
	epoch, err := store.Of[*types.UserEpoch](a.Store).Get(ctx, user)
	switch {
	case err == nil:
		out.LoginAfter = epoch.Spec.LoginAfter
	case fault.KindOf(err) != fault.NotFound:
		return ca.Account{}, err
	}
	return out, nil
}

// roles resolves role names. A role that is gone gives nothing; one that this
// version cannot read may hold a restriction, so nothing is issued.
func (a Accounts) roles(ctx context.Context, names []string) ([]*types.Role, error) {
	var out []*types.Role
	for _, name := range names {
		r, err := store.Of[*types.Role](a.Store).Get(ctx, name)
		if fault.KindOf(err) == fault.NotFound {
			continue
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.KindOf(err), "the role %q cannot be used: %s", name, fault.Message(err))
		}
		out = append(out, r)
	}
	return out, nil
}

// CheckLocks implements ca.Policy.
func (a Accounts) CheckLocks(_ context.Context, id *types.Identity) error {
	subject, now := lockSubject(id), a.Now()
	for _, l := range a.Policy.Locks() {
		if access.LockInForce(l, subject, now) {
			return lockedBy(l)
		}
	}
	if a.Policy.Settings().Auth.LockingMode == "strict" && !a.Policy.Fresh(now) {
		return fault.New(fault.Unavailable, "locks cannot be checked now, and this cluster is strict about them")
	}
	return nil
}
