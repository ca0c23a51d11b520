package dbaccess

import (
	"context"
	"slices"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// UserMaker is an engine that can make users in its databases.
type UserMaker interface {
	// Admin logs in to the database of admin as admin.User, who makes users there.
	// Of admin only what concerns the way to the database counts: it has no client.
	Admin(ctx context.Context, admin *Session) (UserAdmin, error)
}

// UserAdmin is a connection of the database's admin user. It is used by one
// goroutine at a time, and closed after the first error but ErrUserInUse.
//
// Agents share a user: what one does to it is done under a lock of the database,
// which ends with the connection. A user of the database that carries no mark of
// ours is nobody's to touch, and refused with fault.Conflict.
type UserAdmin interface {
	// Activate makes the user, or makes it ready again, with exactly these roles, and
	// holds it as in use until Deactivate or Close. Where another agent does too, the
	// user is left as it is, and it is fault.Conflict when its roles are others.
	Activate(ctx context.Context, u MadeUser) error
	// Deactivate takes the user's roles away and its right to log in; with u.Drop it
	// then drops it, where it owns nothing. It reports whether the user is gone, and
	// does nothing where another agent has the user in use.
	Deactivate(ctx context.Context, u MadeUser) (gone bool, err error)
	// Close ends the connection.
	Close() error
}

// MadeUser is a user as the agent makes it.
type MadeUser struct {
	Name  string
	Roles []string // sorted, each once
	Drop  bool     // at the end, if it owns nothing
}

// ErrUserInUse is what UserAdmin.Deactivate returns when another agent has the user
// in use: the last one out deactivates it.
var ErrUserInUse = fault.New(fault.Conflict, "another agent has sessions of the user")

// usersWithin bounds what a slow database may cost whoever waits for a user.
const usersWithin = 30 * time.Second

// madeKey is a user of a database.
type madeKey struct{ database, user string }

// made is a user that sessions of this agent share. The connection that made it
// lives as long as they do: at the end of the last one roles or a lock may allow no
// other, and with an agent that dies the database sees that nobody holds the user.
type made struct {
	turn     chan struct{} // holds one token; whoever has it may use the rest
	sessions int
	user     MadeUser
	admin    UserAdmin
	waiting  int // for the turn, or with it; guarded by Service.mu
}

// takeTurn returns the user of that key, which is the caller's until endTurn.
func (s *Service) takeTurn(ctx context.Context, k madeKey) (*made, error) {
	s.mu.Lock()
	m := s.made[k]
	if m == nil {
		m = &made{turn: make(chan struct{}, 1)}
		m.turn <- struct{}{}
		s.made[k] = m
	}
	m.waiting++
	s.mu.Unlock()
	select {
	case <-m.turn:
		return m, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		m.waiting--
		return nil, fault.Wrap(context.Cause(ctx), fault.Timeout, "the user %s of the database is being made", k.user)
	}
}

func (s *Service) endTurn(k madeKey, m *made) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.turn <- struct{}{}
	if m.waiting--; m.waiting == 0 && m.sessions == 0 {
		delete(s.made, k)
	}
}

// automatic is how the session's user is made; "" where it is not.
func (s *Session) automatic() types.DBUserMode {
	if l := s.decision.Limits.Database; l != nil {
		return l.Automatic
	}
	return ""
}

// canMake checks what makes users impossible whatever roles say.
func (s *Session) canMake() error {
	db := s.database
	switch _, can := s.svc.cfg.Engines[db.Spec.Protocol].(UserMaker); {
	case s.automatic() == "":
		return nil
	case !can || db.Spec.InCloud():
		return fault.New(fault.Unimplemented, "your roles have the users of %s made automatically (create_db_user_mode), which is not done for databases of its kind", db.Metadata.Name)
	case s.identity.Cluster != s.svc.cfg.Cluster:
		// Somebody else may have that name here.
		return fault.New(fault.Denied, "the users of %s are not made for people of the cluster %s", db.Metadata.Name, s.identity.Cluster)
	}
	return nil
}

// makeUser makes the session's user ready, and tells the log.
func (s *Session) makeUser(ctx context.Context) error {
	u := MadeUser{Name: s.user, Roles: s.decision.Limits.Database.Roles, Drop: s.automatic() == types.DBUserDrop}
	ctx, cancel := context.WithTimeout(ctx, usersWithin)
	defer cancel()
	k := madeKey{s.database.Metadata.Name, u.Name}
	m, err := s.svc.takeTurn(ctx, k)
	if err != nil {
		return err
	}
	defer s.svc.endTurn(k, m)
	if m.sessions > 0 {
		if !slices.Equal(m.user.Roles, u.Roles) {
			return OtherRoles(u.Name)
		}
		m.sessions++
		m.user.Drop, s.made = u.Drop, true
		return nil
	}
	err = s.activate(ctx, m, u)
	e := &event.DBUserCreate{Username: u.Name, Status: event.Status{Success: err == nil}}
	code := event.CodeDBUserCreate
	if err != nil {
		e.Error, code = fault.Message(err), event.CodeDBUserCreateFail
	} else {
		m.sessions, m.user, s.made = 1, u, true // whatever the log says: the end undoes it
	}
	if told := s.Emit(ctx, e, event.TypeDBUserCreate, code); err == nil {
		err = told
	}
	return err
}

func (s *Session) activate(ctx context.Context, m *made, u MadeUser) error {
	admin, err := s.adminLogin(ctx)
	if err != nil {
		return err
	}
	if err := admin.Activate(ctx, u); err != nil {
		admin.Close()
		return err
	}
	m.admin = admin
	return nil
}

// adminLogin logs in as who makes users.
func (s *Session) adminLogin(ctx context.Context) (UserAdmin, error) {
	spec := s.database.Spec
	admin := &Session{svc: s.svc, id: s.id, in: s.in, database: s.database, identity: s.identity, shown: s.shown, makes: s,
		user: spec.AdminUser.Name, name: spec.AdminUser.DefaultDatabase}
	a, err := s.svc.cfg.Engines[spec.Protocol].(UserMaker).Admin(ctx, admin)
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "the agent cannot make your user in %s: %s", s.database.Metadata.Name, fault.Message(err))
	}
	return a, nil
}

// leaveUser ends the session's use of its user. The last one out takes the user's
// roles away, even from who was locked meanwhile.
func (s *Session) leaveUser() {
	if !s.made {
		return
	}
	s.made = false
	ctx, cancel := context.WithTimeout(context.Background(), usersWithin)
	defer cancel()
	k := madeKey{s.database.Metadata.Name, s.user}
	m, err := s.svc.takeTurn(ctx, k)
	if err != nil {
		s.svc.cfg.Log.Error("a user of a database was left as it was", "session", s.id, "error", err)
		return
	}
	defer s.svc.endTurn(k, m)
	if m.sessions--; m.sessions > 0 {
		return
	}
	gone, err := m.admin.Deactivate(ctx, m.user)
	m.admin.Close()
	if err != nil && err != ErrUserInUse {
		gone, err = s.deactivateAgain(ctx, m.user) // that connection may have been cut long ago
	}
	m.admin = nil
	if err == ErrUserInUse {
		return
	}
	e := &event.DBUserEnd{Username: s.user, Delete: gone, Status: event.Status{Success: err == nil}}
	code := event.CodeDBUserEnd
	if err != nil {
		e.Error, code = fault.Message(err), event.CodeDBUserEndFail
		s.svc.cfg.Log.Error("a user of a database could not be deactivated; its next session sets it right", "session", s.id, "error", err)
	}
	_ = s.Emit(ctx, e, event.TypeDBUserEnd, code)
}

func (s *Session) deactivateAgain(ctx context.Context, u MadeUser) (bool, error) {
	admin, err := s.adminLogin(ctx)
	if err != nil {
		return false, err
	}
	defer admin.Close()
	return admin.Deactivate(ctx, u)
}

// again decides the live session again. Who has roles of the database that a new
// session would not get is cut: what was granted is not taken back under them.
func (s *Session) again(now time.Time) access.Decision {
	d := access.Decide(s.ask(now, true))
	had := s.decision.Limits.Database
	if !d.Allow || had == nil || had.Automatic == "" {
		return d
	}
	has := d.Limits.Database
	if has == nil || has.Automatic == "" || slices.ContainsFunc(had.Roles, func(r string) bool { return !slices.Contains(has.Roles, r) }) {
		return access.Decision{Reasons: []access.Reason{{Code: access.CodeDBRoleNotAllowed, Text: "your roles in the database have changed: connect again"}}}
	}
	return d
}

// OtherRoles is what is said to whoever would share a user that has other roles.
func OtherRoles(user string) error {
	return fault.New(fault.Conflict, "the user %s is in use with other roles of the database", user).
		WithHint("ask for the same roles (--db-roles), or end the other sessions")
}

// NotOurs is what is said where a user exists that no agent made.
func NotOurs(user string) error {
	return fault.New(fault.Conflict, "the database has a user %s that was not made by an agent, so it is left alone", user).
		WithHint("drop or rename it there, or turn create_db_user_mode off")
}
