package authapi

import (
	"context"
	"maps"
	"slices"
	"time"

	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// writeUser stores a user together with the epoch that every agent watches:
// whoever loses a role or trait has certificates that say too much, and live
// sessions that are decided again.
func (a *API) writeUser(ctx context.Context, c rpc.Caller, mode store.Mode, had, u *types.User) (types.Resource, error) {
	now := a.d.Now()
	if had == nil && u.Spec.CreatedBy == nil {
		u.Spec.CreatedBy = &types.CreatedBy{Time: now, User: c.Name()}
	}
	if u.Status.IsLocked && u.Status.LockedTime == nil {
		u.Status.LockedTime = &now
	}
	if !u.Status.IsLocked {
		u.Status = types.UserStatus{}
	}
	if mode == store.Upsert {
		// What was decided about is what is replaced, and nothing that came since.
		mode = store.Create
		if had != nil {
			mode, u.Metadata.Revision = store.Update, had.Metadata.Revision
		}
	}
	if err := a.checkRoles(ctx, had, u); err != nil {
		return nil, err
	}
	epoch, err := a.nextEpoch(ctx, had, u)
	if err != nil {
		return nil, err
	}
	err = a.d.Store.Apply(ctx, store.Write{Mode: mode, Doc: u}, store.Write{Mode: store.Upsert, Doc: epoch})
	switch {
	case fault.KindOf(err) == fault.AlreadyExists:
		return nil, fault.New(fault.AlreadyExists, "user %q exists already", u.Name()).
			WithHint("tctl users update changes roles and logins, tctl users reset makes a link for a new password")
	case err != nil:
		return nil, err
	}
	return a.users.Get(ctx, u.Metadata.Name)
}

// checkRoles refuses to give a role that does not exist: whoever makes a role of
// that name later would give it to somebody unseen. A role that the user has
// since before and that is gone stays as it is.
func (a *API) checkRoles(ctx context.Context, had, u *types.User) error {
	for _, name := range u.Spec.Roles {
		if had != nil && slices.Contains(had.Spec.Roles, name) {
			continue
		}
		_, err := store.Of[*types.Role](a.d.Store).Get(ctx, name)
		if fault.KindOf(err) == fault.NotFound {
			return fault.New(fault.Invalid, "there is no role named %q", name).WithHint("tctl get roles --format=text lists the roles")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nextEpoch is the epoch after a user changes from had to u. It moves when
// something was taken away, and when a name is given to a new person.
func (a *API) nextEpoch(ctx context.Context, had, u *types.User) (*types.UserEpoch, error) {
	epoch := newEpoch(u.Metadata.Name)
	current, err := store.Of[*types.UserEpoch](a.d.Store).Get(ctx, u.Metadata.Name)
	switch {
	case err == nil:
		epoch.Spec.NotBefore, epoch.Spec.LoginAfter = current.Spec.NotBefore, current.Spec.LoginAfter
	case fault.KindOf(err) != fault.NotFound:
		return nil, err
	}
	if had == nil || takesAway(had, u) {
		epoch.Spec.NotBefore = a.epochNow()
	}
	if had == nil {
		epoch.Spec.LoginAfter = epoch.Spec.NotBefore
	}
	epoch.Spec.Roles, epoch.Spec.Traits = slices.Clone(u.Spec.Roles), maps.Clone(u.Spec.Traits)
	return epoch, nil
}

// epochNow is the present, exactly: rounded down it would miss a certificate
// issued in the same second.
func (a *API) epochNow() time.Time { return a.d.Now().UTC().Round(0) }

func newEpoch(user string) *types.UserEpoch {
	return &types.UserEpoch{Header: types.Header{Kind: types.KindUserEpoch, Version: "v1",
		Metadata: types.Metadata{Name: user}}}
}

// takesAway reports whether a change removes a role or a trait value.
func takesAway(had, u *types.User) bool {
	for _, r := range had.Spec.Roles {
		if !slices.Contains(u.Spec.Roles, r) {
			return true
		}
	}
	for k, values := range had.Spec.Traits {
		for _, v := range values {
			if !slices.Contains(u.Spec.Traits[k], v) {
				return true
			}
		}
	}
	return false
}

// deleteUser removes a user with all that lets the user in. The epoch stays: it
// ends live sessions, and certificates that outlive their user mean nothing.
func (a *API) deleteUser(ctx context.Context, name, revision string) error {
	epoch := newEpoch(name)
	epoch.Spec.NotBefore, epoch.Spec.Deleted = a.epochNow(), true
	epoch.Spec.LoginAfter = epoch.Spec.NotBefore
	gone := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2",
		Metadata: types.Metadata{Name: name, Revision: revision}}}
	if err := a.d.Store.Apply(ctx, store.Write{Doc: gone}, store.Write{Mode: store.Upsert, Doc: epoch}); err != nil {
		return err
	}
	return a.d.Login.Forget(ctx, name)
}

// expireCertificates moves a user's epoch to now: after a reset, certificates
// issued before are no longer good, nor good for getting new ones.
func (a *API) expireCertificates(ctx context.Context, u *types.User) error {
	epoch := newEpoch(u.Metadata.Name)
	epoch.Spec.NotBefore = a.epochNow()
	epoch.Spec.LoginAfter = epoch.Spec.NotBefore
	epoch.Spec.Roles, epoch.Spec.Traits = u.Spec.Roles, u.Spec.Traits
	_, err := a.d.Store.Put(ctx, store.Upsert, epoch)
	return err
}
