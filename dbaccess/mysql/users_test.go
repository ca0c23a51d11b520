package mysql_test

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/mysql"
	"teleport/types"
	"teleport/types/event"
)

// setUpMaker lets "maker" make users, with the roles reader and writer. bob is made
// by nobody of us, and dave is somebody from one host alone.
const setUpMaker = `create or replace user maker@'%' require subject '/CN=maker'; grant create user on *.* to maker@'%'; grant select, update on mysql.* to maker@'%';
drop role if exists reader; drop role if exists writer; create role reader; create role writer;
grant select on shop.* to reader; grant select, insert, create routine on shop.* to writer;
grant reader to maker@'%' with admin option; grant writer to maker@'%' with admin option;
create or replace user bob@'%'; create or replace user dave@'10.0.0.1';
`

func startMaker(t testing.TB, users ...string) (*dbtest.PKI, types.DatabaseSpec) {
	t.Helper()
	pki, spec := startServer(t)
	for _, u := range users {
		shared.server.SQL(t, fmt.Sprintf("drop user if exists '%s'@'%%'; drop role if exists 'teleport-role-%s'", u, u))
	}
	shared.server.SQL(t, setUpMaker)
	spec.AdminUser = &types.DatabaseAdmin{Name: "maker"}
	return pki, spec
}

func makes(mode types.DBUserMode, roles ...string) func(*types.RoleSpec) {
	return func(r *types.RoleSpec) {
		r.Allow.DBUsers, r.Allow.DBRoles, r.Options.CreateDBUserMode = nil, roles, mode
	}
}

// userOf tells what the server has of a user: whether it is locked, and the roles of
// its role.
func userOf(t testing.TB, name string) string {
	t.Helper()
	return strings.TrimSpace(shared.server.SQL(t, fmt.Sprintf(`select concat(coalesce(json_value(priv, '$.account_locked'), '0'), ' ',
		coalesce((select group_concat(role order by role) from mysql.roles_mapping where host = '' and user = 'teleport-role-%[1]s'), ''))
		from mysql.global_priv where user = '%[1]s' and host = '%%'`, name)))
}

// madeClient runs the mariadb client.
func madeClient(addr net.Addr, user, script string) string {
	host, port, _ := net.SplitHostPort(addr.String())
	c := exec.Command("mariadb", "--no-defaults", "--skip-ssl", "-f", "-N", "-B", "-h", host, "-P", port, "-u", user)
	c.Env, c.Stdin = []string{"PATH=/usr/bin:/bin"}, strings.NewReader(script)
	out, _ := c.CombinedOutput()
	return string(out)
}

func ended(w *dbtest.World, n int) func() bool {
	return func() bool { return len(w.Log.Events(event.TypeDBEnd)) == n }
}

func TestUsersAreMade(t *testing.T) {
	for _, c := range []struct {
		name         string
		mode         types.DBUserMode
		user, script string
		says, left   string
		gone         bool
	}{
		{"kept", types.DBUserKeep, "anna", "select count(*) from shop.t; select current_user();", "100\nanna@%\n", "1", false},
		{"dropped", types.DBUserDrop, "erik@example.com", "select count(*) from shop.t;", "100\n", "", true},
		{"owns something", types.DBUserDrop, "carl", "use shop; create procedure mine() select 1; select 'made';", "made\n", "1", false},
		{"nothing that was not granted", types.DBUserKeep, "dora", "delete from shop.t;", "denied", "1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pki, spec := startMaker(t, c.user)
			w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
			w.Role(makes(c.mode, "writer", "reader"))
			if out := madeClient(w.Listen(c.user, types.DatabaseRoute{User: c.user}), c.user, c.script); !strings.Contains(out, c.says) {
				t.Errorf("it says %q", out)
			}
			w.Await(ended(w, 1))
			if got := strings.Replace(userOf(t, c.user), "true", "1", 1); got != c.left {
				t.Errorf("it leaves %q, want %q", got, c.left)
			}
			made, left := w.Log.Events(event.TypeDBUserCreate), w.Log.Events(event.TypeDBUserEnd)
			if len(made) != 1 || len(left) != 1 {
				t.Fatalf("%d made, %d left", len(made), len(left))
			}
			m, l := made[0].(*event.DBUserCreate), left[0].(*event.DBUserEnd)
			if !m.Success || m.Username != c.user || fmt.Sprint(m.DBRoles) != "[reader writer]" || !l.Success || l.Delete != c.gone || l.Code != event.CodeDBUserEnd {
				t.Errorf("%+v\n%+v", m, l)
			}
		})
	}
}

func TestSessionsShareAMadeUser(t *testing.T) {
	pki, spec := startMaker(t, "anna")
	one, other := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials), dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
	for _, w := range []*dbtest.World{one, other} {
		w.Role(makes(types.DBUserKeep, "reader", "writer"))
	}
	route := types.DatabaseRoute{User: "anna"}
	feed, script := io.Pipe()
	host, port, _ := net.SplitHostPort(one.Listen("anna", route).String())
	first := exec.Command("mariadb", "--no-defaults", "--skip-ssl", "-h", host, "-P", port, "-u", "anna")
	first.Stdin = feed
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Process.Kill(); script.Close() })
	one.Await(func() bool { return len(one.Log.Events(event.TypeDBStart)) == 1 })
	for i, w := range []*dbtest.World{one, other} {
		if out := madeClient(w.Listen("anna", route), "anna", "select count(*) from shop.t"); out != "100\n" {
			t.Fatalf("%d: %s", i, out)
		}
		w.Await(ended(w, 1))
		narrow := types.DatabaseRoute{User: "anna", Roles: []string{"reader"}}
		if out := madeClient(w.Listen("anna", narrow), "anna", "select 1"); !strings.Contains(out, "in use with other roles") {
			t.Errorf("%d: with other roles: %s", i, out)
		}
		if got := userOf(t, "anna"); !strings.HasSuffix(got, " reader,writer") || strings.HasPrefix(got, "1") || strings.HasPrefix(got, "true") {
			t.Errorf("%d: the user is %q", i, got)
		}
	}
	script.Close()
	_ = first.Wait()
	one.Await(ended(one, 2))
	if got := strings.Replace(userOf(t, "anna"), "true", "1", 1); got != "1" {
		t.Errorf("the last one leaves %q", got)
	}
	if n := len(one.Log.Events(event.TypeDBUserEnd)) + len(other.Log.Events(event.TypeDBUserEnd)); n != 1 {
		t.Errorf("%d deactivations", n)
	}
}

func TestUsersThatAreNotMade(t *testing.T) {
	for name, c := range map[string]struct {
		user string
		role func(*types.RoleSpec)
		says string
	}{
		"somebody else's":      {"bob", makes(types.DBUserDrop, "reader"), "was not made by an agent"},
		"one of another host":  {"dave", makes(types.DBUserKeep, "reader"), "was not made by an agent"},
		"the superuser":        {"root", makes(types.DBUserKeep, "reader"), "was not made by an agent"},
		"the admin":            {"maker", makes(types.DBUserKeep, "reader"), "nobody is let in as that"},
		"the admin by a role":  {"maker", func(r *types.RoleSpec) { r.Allow.DBUsers = []string{"*"} }, "nobody is let in as that"},
		"a role's name":        {"reader", makes(types.DBUserKeep, "writer"), "was not made by an agent"},
		"the mark":             {"teleport-role-anna", makes(types.DBUserKeep, "reader"), "cannot be a user"},
		"a quote":              {"o'brien", makes(types.DBUserKeep, "reader"), "cannot be a user"},
		"another's subject":    {"anna/CN=bob", makes(types.DBUserKeep, "reader"), "cannot be a user"},
		"a role that is none":  {"fred", makes(types.DBUserKeep, "missing"), "the database shop says to its admin_user: Invalid role specification"},
		"a role with a quote":  {"fred", makes(types.DBUserKeep, "reader' to 'bob"), "cannot be a user or role"},
		"everybody for a role": {"fred", makes(types.DBUserKeep, "PUBLIC"), "is not the name of a role"},
	} {
		t.Run(name, func(t *testing.T) {
			pki, spec := startMaker(t, "fred")
			w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
			w.Role(c.role)
			if out := madeClient(w.Listen(c.user, types.DatabaseRoute{User: c.user}), c.user, "select 1"); !strings.Contains(out, c.says) {
				t.Errorf("it says %q", out)
			}
			w.Await(func() bool { return len(w.Log.Events(event.TypeDBStart)) == 1 })
			for _, e := range w.Log.Events(event.TypeDBUserCreate, event.TypeDBEnd) {
				if m, ok := e.(*event.DBUserCreate); !ok || m.Success || m.Code != event.CodeDBUserCreateFail {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// What an agent that died left behind, at whichever step, the next session makes what
// its roles say.
func TestAUserThatADeadAgentLeftIsTakenOver(t *testing.T) {
	for name, left := range map[string]string{
		"in use":          "create role 'teleport-role-anna'; create user anna@'%' require subject '/CN=anna'; grant writer to 'teleport-role-anna'; grant 'teleport-role-anna' to anna@'%'",
		"its role alone":  "create role 'teleport-role-anna'",
		"not yet granted": "create role 'teleport-role-anna'; create user anna@'%' account lock",
	} {
		t.Run(name, func(t *testing.T) {
			pki, spec := startMaker(t, "anna")
			shared.server.SQL(t, left+"; grant 'teleport-role-anna' to maker@'%' with admin option")
			w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
			w.Role(makes(types.DBUserKeep, "reader"))
			out := madeClient(w.Listen("anna", types.DatabaseRoute{User: "anna"}), "anna", "select count(*) from shop.t; insert into shop.t values (600, 'x');")
			if !strings.Contains(out, "100\n") || !strings.Contains(out, "denied") {
				t.Errorf("it says %q", out)
			}
			w.Await(ended(w, 1))
			if got := strings.Replace(userOf(t, "anna"), "true", "1", 1); got != "1" {
				t.Errorf("it leaves %q", got)
			}
		})
	}
}
