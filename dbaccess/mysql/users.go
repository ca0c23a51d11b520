package mysql

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
)

var _ dbaccess.UserMaker = Engine{}

// rolePrefix and a user's name are the role of a user whom an agent made: it is the
// mark of that user, and its one default role, which the others are granted to.
const rolePrefix = "teleport-role-"

const (
	// maxMade is of a made user's name in bytes, so that its role has a name too.
	maxMade = 64
	// mostAgents hold a user at once.
	mostAgents = 16
	// maxAnswer is of the rows that a query about a user may bring.
	maxAnswer = 10_000
)

// users is a connection of the admin user.
type users struct {
	v    *server
	s    *dbaccess.Session
	held string // the lock that says that this agent holds the user
}

// Admin implements dbaccess.UserMaker. Only MariaDB's users are made: MySQL's roles
// are of another kind.
func (Engine) Admin(ctx context.Context, admin *dbaccess.Session) (dbaccess.UserAdmin, error) {
	v, err := open(ctx, admin)
	if err != nil {
		return nil, adminFault(admin, err)
	}
	if !strings.Contains(v.greeting.Version, "MariaDB") {
		err = fault.New(fault.Unimplemented, "users are made in MariaDB, and the database %s is %.40q", admin.Database().Metadata.Name, v.greeting.Version)
	} else {
		_, err = v.login(ctx, admin, &mysqlwire.Login{Capabilities: v.greeting.Capabilities & offered &^ without, Charset: charsetUTF8})
	}
	if err != nil {
		v.Close()
		return nil, adminFault(admin, err)
	}
	a := &users{v: v, s: admin}
	// What texts mean does not hang on how the server is set.
	if err := a.do(ctx, "set session sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'"); err != nil {
		v.Close()
		return nil, err
	}
	return a, nil
}

// without are capabilities that change how answers end, and what "mysql.proc" means.
const without = mysqlwire.DeprecateEOF | mysqlwire.NoSchema

const charsetUTF8 = 45 // utf8mb4_general_ci

// Close implements dbaccess.UserAdmin. With the connection its locks end.
func (a *users) Close() error { return a.v.Close() }

// Activate implements dbaccess.UserAdmin.
func (a *users) Activate(ctx context.Context, u dbaccess.MadeUser) error {
	if err := checkNames(u); err != nil {
		return err
	}
	return a.alone(ctx, u.Name, func() error {
		state, err := a.state(ctx, u.Name)
		if err != nil {
			return err
		}
		if state.exists && !state.ours {
			return dbaccess.NotOurs(u.Name)
		}
		used, err := a.usedElsewhere(ctx, u.Name)
		switch {
		case err != nil:
			return err
		case used && state.exists && !slices.Equal(state.roles, u.Roles):
			return dbaccess.OtherRoles(u.Name)
		case !used || !state.exists:
			if err := a.do(ctx, ready(u, state)...); err != nil {
				return err
			}
		}
		return a.hold(ctx, u.Name)
	})
}

// ready makes the user, or takes it over as it was left. None of this can be undone
// as one: so the role is there before the user, and until everything is in place
// the user is locked.
func ready(u dbaccess.MadeUser, s state) []string {
	user, own := account(u.Name), text(rolePrefix+u.Name)
	lines := []string{"create role if not exists " + own, "create user if not exists " + user + " account lock"}
	lines = append(lines, revoked(u.Name, s.roles)...)
	for _, r := range u.Roles {
		lines = append(lines, "grant "+text(r)+" to "+own)
	}
	return append(lines, "grant "+own+" to "+user, "set default role "+own+" for "+user,
		"alter user "+user+" require subject "+text("/CN="+u.Name)+" account unlock")
}

// Deactivate implements dbaccess.UserAdmin.
func (a *users) Deactivate(ctx context.Context, u dbaccess.MadeUser) (gone bool, err error) {
	err = a.alone(ctx, u.Name, func() error {
		if a.held != "" {
			if _, err := a.ask(ctx, "select release_lock("+text(a.held)+")"); err != nil {
				return err
			}
			a.held = ""
		}
		used, err := a.usedElsewhere(ctx, u.Name)
		if err != nil {
			return err
		}
		if used {
			return dbaccess.ErrUserInUse
		}
		state, err := a.state(ctx, u.Name)
		if err != nil || !state.exists || !state.ours {
			gone = err == nil && !state.exists
			return err
		}
		user := account(u.Name)
		if err := a.do(ctx, append([]string{"alter user " + user + " account lock"}, revoked(u.Name, state.roles)...)...); err != nil || !u.Drop {
			return err
		}
		if owns, err := a.owns(ctx, u.Name); err != nil || owns {
			return err
		}
		err = a.do(ctx, "drop user "+user, "drop role "+text(rolePrefix+u.Name))
		gone = err == nil
		return err
	})
	return gone, err
}

// owns reports whether something runs in the user's name. MariaDB would let it drop.
func (a *users) owns(ctx context.Context, name string) (bool, error) {
	n, err := a.ask(ctx, fmt.Sprintf("select (select count(*) from mysql.proc where definer = %[1]s) + (select count(*) from mysql.event where definer = %[1]s)"+
		" + (select count(*) from information_schema.views where definer = %[1]s) + (select count(*) from information_schema.triggers where definer = %[1]s)", text(name+"@%")))
	return err != nil || len(n) != 1 || n[0] != "0", err
}

// alone does something to the user while no other agent does.
func (a *users) alone(ctx context.Context, user string, do func() error) error {
	name := text(lockName(user, "c"))
	got, err := a.ask(ctx, "select get_lock("+name+", 20)")
	if err != nil {
		return err
	}
	if len(got) != 1 || got[0] != "1" {
		return fault.New(fault.Timeout, "another agent makes the user %s of the database", user)
	}
	err = do()
	_, unlock := a.ask(ctx, "select release_lock("+name+")") // in vain where the connection has ended, and the lock with it
	return cmp.Or(err, unlock)
}

// hold says that this agent uses the user.
func (a *users) hold(ctx context.Context, user string) error {
	for i := range mostAgents {
		name := lockName(user, fmt.Sprint(i))
		got, err := a.ask(ctx, "select get_lock("+text(name)+", 0)")
		if err != nil {
			return err
		}
		if len(got) == 1 && got[0] == "1" {
			a.held = name
			return nil
		}
	}
	return fault.New(fault.Limit, "the user %s of the database is in use by %d agents", user, mostAgents)
}

// usedElsewhere reports whether an agent holds the user: a connection of the admin
// user, as locks are anybody's to take. It is asked when this agent does not.
func (a *users) usedElsewhere(ctx context.Context, user string) (bool, error) {
	var each []string
	for i := range mostAgents {
		each = append(each, "is_used_lock("+text(lockName(user, fmt.Sprint(i)))+")")
	}
	got, err := a.ask(ctx, "select id from information_schema.processlist where user = substring_index(current_user(), '@', 1) and id in ("+strings.Join(each, ", ")+")")
	return len(got) > 0 || err != nil, err
}

// state is what the server has of a user.
type state struct {
	exists, ours bool
	roles        []string // sorted
}

// state reads it. A user of that name from some other host is somebody else's, as
// the server might take it for ours. One whose making was cut short is locked, and
// its role is there.
func (a *users) state(ctx context.Context, name string) (state, error) {
	var out state
	accounts, err := a.ask(ctx, "select concat(host, ' ', coalesce(json_value(priv, '$.account_locked'), '0')) from mysql.global_priv where user = "+text(name))
	if err != nil {
		return out, err
	}
	own := text(rolePrefix + name)
	marks, err := a.ask(ctx, "select 'granted' from mysql.roles_mapping where host = '%' and user = "+text(name)+" and role = "+own+
		" union select 'there' from mysql.global_priv where host = '' and user = "+own)
	if err != nil {
		return out, err
	}
	out.exists = len(accounts) > 0
	out.ours = len(accounts) == 1 && strings.HasPrefix(accounts[0], "% ") && slices.Contains(marks, "there") &&
		(slices.Contains(marks, "granted") || accounts[0] == "% 1" || accounts[0] == "% true")
	out.roles, err = a.ask(ctx, "select role from mysql.roles_mapping where host = '' and user = "+own)
	slices.Sort(out.roles)
	return out, err
}

func revoked(user string, roles []string) (lines []string) {
	for _, r := range roles {
		lines = append(lines, "revoke "+text(r)+" from "+text(rolePrefix+user))
	}
	return lines
}

func (a *users) do(ctx context.Context, lines ...string) error {
	for _, l := range lines {
		if _, err := a.ask(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// ask runs a statement, and returns the values of its one column.
func (a *users) ask(ctx context.Context, statement string) (values []string, err error) {
	err = a.v.within(ctx, func() error {
		a.v.packets.sequence = 0
		if err := a.v.packets.write(append([]byte{byte(mysqlwire.Query)}, statement...)); err != nil {
			return err
		}
		b, err := a.next()
		if err != nil || b[0] == mysqlwire.HeadOK {
			return err
		}
		if n, err := mysqlwire.ParseColumns(b); err != nil || n != 1 {
			return cmp.Or(err, untrusted("the database says what cannot be read"))
		}
		for ends := 0; ends < 2; { // one after the columns, one after the rows
			if b, err = a.next(); err != nil {
				return err
			}
			if b[0] == mysqlwire.HeadEOF && len(b) <= mysqlwire.EOFSize {
				ends++
				continue
			}
			if ends == 0 {
				continue // the column's name
			}
			row, err := mysqlwire.ParseRow(b, 1)
			if err != nil || len(values) == maxAnswer {
				return cmp.Or(err, untrusted("the database says more than it was asked"))
			}
			values = append(values, row[0])
		}
		return nil
	})
	return values, adminFault(a.s, err)
}

// adminFault is what is said of an error of the admin's connection. Its number is no
// word on the person's own login.
func adminFault(admin *dbaccess.Session, err error) error {
	var known *fault.Error
	var theirs *serverError
	name := admin.Database().Metadata.Name
	switch {
	case errors.As(err, &theirs):
		return fault.New(fault.Denied, "the database %s says to its admin_user: %s", name, theirs.said)
	case err != nil && !errors.As(err, &known):
		return fault.Wrap(err, fault.Unavailable, "the database %s does not make users at the moment", name)
	}
	return err
}

// next is a packet of an answer.
func (a *users) next() ([]byte, error) {
	b, err := a.v.packets.read()
	if err == nil && b[0] == mysqlwire.HeadErr {
		return nil, a.v.refused(a.s, b)
	}
	return b, err
}

// nameChars are those of users and roles that are made or given: what every server
// and every sql_mode reads in one way, and what a certificate's subject has as it is.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@+ "

func checkNames(u dbaccess.MadeUser) error {
	for _, n := range append([]string{u.Name}, u.Roles...) {
		if n == "" || len(n) > maxMade || strings.Trim(n, nameChars) != "" || strings.Trim(n, " ") != n || strings.HasPrefix(n, rolePrefix) {
			return fault.New(fault.Invalid, "%.80q cannot be a user or role that is used in MariaDB: letters, digits, space and -_.@+, at most %d", n, maxMade)
		}
	}
	for _, n := range u.Roles {
		if upper := strings.ToUpper(n); upper == "NONE" || upper == "PUBLIC" {
			return fault.New(fault.Invalid, "%q is not the name of a role", n)
		}
	}
	return nil
}

// text writes a literal. Backslashes mean nothing in this connection.
func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func account(user string) string { return text(user) + "@'%'" }

// lockName is of a lock that all agents know.
func lockName(user, what string) string {
	sum := sha256.Sum256([]byte("teleport user\x00" + user))
	return "teleport-" + hex.EncodeToString(sum[:16]) + "-" + what
}
