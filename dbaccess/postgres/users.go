package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"teleport/dbaccess"
	"teleport/fault"
)

var _ dbaccess.UserMaker = Engine{}

// marker is the role that every user is in whom an agent made.
const marker = "teleport-auto-user"

// maxName is of a name, in bytes. The server cuts a longer one, and it would be
// another's.
const maxName = 63

// SQLSTATEs.
const (
	duplicateObject = "42710"
	uniqueViolation = "23505"
	dependents      = "2BP01" // dependent_objects_still_exist
)

// users is a connection of the admin user.
type users struct {
	conn *pgconn.PgConn
	name string // of the database's document
}

// Admin implements dbaccess.UserMaker. Locks of the server are of one database
// each, so all agents log in to the same.
func (Engine) Admin(ctx context.Context, admin *dbaccess.Session) (dbaccess.UserAdmin, error) {
	c, err := configure(ctx, admin, cmp.Or(admin.Name(), "postgres"), map[string]string{"client_encoding": "UTF8", "search_path": "pg_catalog", "application_name": "teleport"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, loginFault(admin, err)
	}
	return &users{conn, admin.Database().Metadata.Name}, nil
}

// Close implements dbaccess.UserAdmin. With the connection its locks end.
func (a *users) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return a.conn.Close(ctx)
}

// Activate implements dbaccess.UserAdmin.
func (a *users) Activate(ctx context.Context, u dbaccess.MadeUser) error {
	if err := checkNames(u); err != nil {
		return err
	}
	return a.alone(ctx, u.Name, func() error {
		exists, ours, roles, err := a.state(ctx, u.Name)
		if err != nil {
			return err
		}
		if exists && !ours {
			return dbaccess.NotOurs(u.Name)
		}
		used, err := a.usedElsewhere(ctx, u.Name)
		switch {
		case err != nil:
			return err
		case used && exists && !slices.Equal(roles, u.Roles):
			return dbaccess.OtherRoles(u.Name)
		case !used || !exists:
			if err := a.ready(ctx, u, exists, roles); err != nil {
				return err
			}
		}
		_, err = a.ask(ctx, "select pg_advisory_lock_shared($1)", lockKey("in use", u.Name))
		return err
	})
}

// ready makes the user, or takes it over as it was left, in one transaction.
func (a *users) ready(ctx context.Context, u dbaccess.MadeUser, exists bool, had []string) error {
	if err := a.mark(ctx); err != nil {
		return err
	}
	lines := []string{"begin"}
	if exists {
		lines = append(append(lines, revoked(u.Name, had)...), "alter role "+quote(u.Name)+" login")
	} else {
		lines = append(lines, "create role "+quote(u.Name)+" login in role "+quote(marker))
	}
	for _, r := range u.Roles {
		lines = append(lines, "grant "+quote(r)+" to "+quote(u.Name))
	}
	return a.do(ctx, append(lines, "commit")...)
}

// mark makes the marker where it is missing.
func (a *users) mark(ctx context.Context) error {
	there, err := a.ask(ctx, "select 1 from pg_roles where rolname = $1", marker)
	if err != nil || len(there) > 0 {
		return err
	}
	err = a.do(ctx, "create role "+quote(marker)+" nologin")
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == duplicateObject || pg.Code == uniqueViolation) {
		return nil // another agent was faster
	}
	return err
}

// Deactivate implements dbaccess.UserAdmin.
func (a *users) Deactivate(ctx context.Context, u dbaccess.MadeUser) (gone bool, err error) {
	err = a.alone(ctx, u.Name, func() error {
		// A connection that came after the one that was cut holds nothing, which costs a warning.
		if _, err := a.ask(ctx, "select pg_advisory_unlock_shared($1)", lockKey("in use", u.Name)); err != nil {
			return err
		}
		used, err := a.usedElsewhere(ctx, u.Name)
		if err != nil {
			return err
		}
		if used {
			return dbaccess.ErrUserInUse
		}
		exists, ours, roles, err := a.state(ctx, u.Name)
		if err != nil || !exists || !ours {
			gone = err == nil && !exists
			return err
		}
		lines := append([]string{"begin"}, revoked(u.Name, roles)...)
		if err := a.do(ctx, append(lines, "alter role "+quote(u.Name)+" nologin", "commit")...); err != nil || !u.Drop {
			return err
		}
		err = a.do(ctx, "drop role "+quote(u.Name))
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == dependents {
			return nil // it owns something, and stays without a login
		}
		gone = err == nil
		return err
	})
	return gone, err
}

// alone does something to the user while no other agent does.
func (a *users) alone(ctx context.Context, user string, do func() error) error {
	key := lockKey("change", user)
	if _, err := a.ask(ctx, "select pg_advisory_lock($1)", key); err != nil {
		return err
	}
	err := do()
	if a.conn.IsClosed() {
		return err
	}
	_, unlock := a.ask(ctx, "select pg_advisory_unlock($1)", key)
	return cmp.Or(err, unlock)
}

// usedElsewhere reports whether another connection of the admin user holds the
// user as in use. Locks are anybody's to take: those of others say nothing.
func (a *users) usedElsewhere(ctx context.Context, user string) (bool, error) {
	got, err := a.ask(ctx, "select 1 from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'advisory' and l.objsubid = 1 and l.granted"+
		" and l.database = (select oid from pg_database where datname = current_database()) and (l.classid::bigint << 32 | l.objid::bigint) = $1"+
		" and a.usename = current_user and pid <> pg_backend_pid()", lockKey("in use", user))
	return len(got) > 0 || err != nil, err
}

// state is what the server has of the user: its roles are sorted, without the
// marker.
func (a *users) state(ctx context.Context, user string) (exists, ours bool, roles []string, err error) {
	there, err := a.ask(ctx, "select 1 from pg_roles where rolname = $1", user)
	if err != nil || len(there) == 0 {
		return false, false, nil, err
	}
	roles, err = a.ask(ctx, "select distinct r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member where u.rolname = $1", user)
	slices.Sort(roles)
	if i, found := slices.BinarySearch(roles, marker); found {
		ours, roles = true, slices.Delete(roles, i, i+1)
	}
	return true, ours, roles, err
}

func revoked(user string, roles []string) (lines []string) {
	for _, r := range roles {
		lines = append(lines, "revoke "+quote(r)+" from "+quote(user))
	}
	return lines
}

// ask runs a query of one column, and returns its values.
func (a *users) ask(ctx context.Context, query, parameter string) ([]string, error) {
	r := a.conn.ExecParams(ctx, query, [][]byte{[]byte(parameter)}, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, a.fault(r.Err)
	}
	var out []string
	for _, row := range r.Rows {
		if len(row) == 1 {
			out = append(out, string(row[0]))
		}
	}
	return out, nil
}

// do runs statements, one after the other until one fails: what a transaction has
// begun is then undone.
func (a *users) do(ctx context.Context, lines ...string) error {
	for _, l := range lines {
		if _, err := a.conn.Exec(ctx, l).ReadAll(); err != nil {
			if lines[0] == "begin" && !a.conn.IsClosed() {
				_, _ = a.conn.Exec(ctx, "rollback").ReadAll() // the connection is closed soon
			}
			return a.fault(err)
		}
	}
	return nil
}

// fault says what the database said.
func (a *users) fault(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fault.Wrap(err, fault.Denied, "the database %s says to its admin_user: %s", a.name, dbaccess.WithoutAddresses(pg.Message))
	}
	return fault.Wrap(err, fault.Unavailable, "the database %s does not make users at the moment", a.name)
}

// checkNames refuses names that the server would take for others.
func checkNames(u dbaccess.MadeUser) error {
	for _, n := range append([]string{u.Name}, u.Roles...) {
		if n == "" || len(n) > maxName || !utf8.ValidString(n) || strings.ContainsRune(n, 0) || n == marker {
			return fault.New(fault.Invalid, "%.80q cannot be a user or role that is used in PostgreSQL", n)
		}
	}
	return nil
}

// quote writes an identifier. Names are checked before.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// lockKey is the number of a lock, which is of all agents.
func lockKey(what, user string) string {
	sum := sha256.Sum256([]byte("teleport user " + what + "\x00" + user))
	return strconv.FormatInt(int64(binary.BigEndian.Uint64(sum[:])), 10)
}
