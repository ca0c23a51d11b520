package ca

import (
	"context"
	"errors"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
)

// Users is where accounts live; store.Collection[*types.User] is one.
type Users interface {
	Get(ctx context.Context, name string) (*types.User, error)
}

// Roles is where roles live; store.Collection[*types.Role] is one.
type Roles interface {
	Get(ctx context.Context, name string) (*types.Role, error)
}

// StorePolicy answers from the cluster's documents.
type StorePolicy struct {
	Users    Users
	Roles    Roles
	Locks    func(ctx context.Context) ([]*types.Lock, error)
	Settings func(ctx context.Context) (access.Settings, error)
	Now      func() time.Time
}

var _ Policy = StorePolicy{}

// Account implements Policy. A role that does not exist any more is left out: it
// can neither allow nor be shown.
func (p StorePolicy) Account(ctx context.Context, user string) (Account, error) {
	u, err := p.Users.Get(ctx, user)
	if err != nil {
		return Account{}, err
	}
	now := p.Now()
	if s := u.Status; s.IsLocked && (s.LockExpires == nil || now.Before(*s.LockExpires)) {
		return Account{}, fault.New(fault.Denied, "the account of user %q is locked", user).WithHint("an administrator can unlock it")
	}
	if u.Spec.Expires != nil && !now.Before(*u.Spec.Expires) {
		return Account{}, fault.New(fault.Denied, "the account of user %q has expired", user)
	}
	var roles []*types.Role
	for _, name := range u.Spec.Roles {
		r, err := p.Roles.Get(ctx, name)
		if errors.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return Account{}, err
		}
		roles = append(roles, r)
	}
	if len(roles) == 0 {
		return Account{}, fault.New(fault.Denied, "user %q has no roles", user).WithHint("give the user a role: tctl users update %s --set-roles=access", user)
	}
	settings, err := p.Settings(ctx)
	if err != nil {
		return Account{}, err
	}
	return accountOf(u, roles, settings), nil
}

func accountOf(u *types.User, roles []*types.Role, s access.Settings) Account {
	o := access.MergeOptions(roles, s)
	a := Account{
		Traits: cloneTraits(u.Spec.Traits), Logins: access.RoleLogins(roles, u.Spec.Traits),
		DefaultTTL: s.Auth.DefaultSessionTTL.Std(), MaxTTL: o.MaxSessionTTL, PinIP: o.PinSourceIP,
		PermitPTY: o.PTY, PermitAgent: o.ForwardAgent, PermitX11: o.X11,
		PermitPortForward: o.PortForwardLocal || o.PortForwardRemote,
	}
	for _, r := range roles {
		a.Roles = append(a.Roles, r.Metadata.Name)
	}
	if u.Spec.Expires != nil {
		a.Expires = *u.Spec.Expires
	}
	return a
}

// CheckLocks implements Policy. Locks on a login or a resource are for those who
// decide about its use.
func (p StorePolicy) CheckLocks(ctx context.Context, id *types.Identity) error {
	locks, err := p.Locks(ctx)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the locks cannot be read, so no certificate is issued")
	}
	s := access.LockSubject{
		Roles: id.Authority.Roles, MFADevice: id.Proofs.MFADevice, Device: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests,
	}
	if id.Kind == types.IdentityHost {
		s.ServerID = id.Name
	} else {
		s.User = id.Name
	}
	now := p.Now()
	for _, l := range locks {
		if access.LockInForce(l, s, now) {
			return fault.New(fault.Denied, "%s", access.LockText(l))
		}
	}
	return nil
}
