package postgres_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"teleport/cert/certtest"
	"teleport/dbaccess"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/postgres"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// startMaker runs a server in which "maker" makes users, with the roles reader and
// writer. bob is made by nobody of us.
func startMaker(t testing.TB) (*peer, types.DatabaseSpec) {
	t.Helper()
	p, spec := startServer(t)
	p.run.SQL(t, "postgres", "create role maker login createrole; create role reader; create role writer; create role bob login; grant select on t to reader; grant insert on t to writer;")
	spec.AdminUser = &types.DatabaseAdmin{Name: "maker"}
	return p, spec
}

// makes lets users be made with the given roles of the database.
func makes(mode types.DBUserMode, roles ...string) func(*types.RoleSpec) {
	return func(r *types.RoleSpec) {
		r.Allow.DBUsers, r.Allow.DBRoles, r.Options.CreateDBUserMode = nil, roles, mode
	}
}

// user tells what the server has of a user: whether it may log in, and its roles.
func (p *peer) user(t testing.TB, name string) string {
	return strings.TrimSpace(p.run.SQL(t, "postgres", fmt.Sprintf(`select rolcanlogin || ' ' || coalesce((select string_agg(r.rolname, ',' order by r.rolname)
		from pg_auth_members m join pg_roles r on r.oid = m.roleid where m.member = u.oid), '') from pg_roles u where rolname = $$%s$$`, name)))
}

// held is a psql that stays, fed through in.
func held(t *testing.T, addr net.Addr, user string) (in io.WriteCloser, wait func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("psql", "-X", "-q", "-h", host, "-p", port, "-U", user, "-d", "postgres")
	if in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return in, func() { in.Close(); _ = c.Wait() }
}

func ended(w *dbtest.World, n int) func() bool {
	return func() bool { return len(w.Log.Events(event.TypeDBEnd)) == n }
}

func TestUsersAreMade(t *testing.T) {
	p, spec := startMaker(t)
	for _, c := range []struct {
		name         string
		mode         types.DBUserMode
		user, script string
		says         string // psql
		left         string // in the server
		gone         bool
	}{
		{"kept", types.DBUserKeep, "anna", "select count(*) from t; select current_user;", "100\nanna\n", "false teleport-auto-user", false},
		{"dropped", types.DBUserDrop, `o"brien@example.com`, "select count(*) from t;", "100\n", "", true},
		{"owns something", types.DBUserDrop, "carl", "insert into t values (500, 'x'); create table pg_temp.x (i int); create schema authorization carl;", "", "false teleport-auto-user", false},
		{"nothing that was not granted", types.DBUserKeep, "dora", "delete from t;", "permission denied", "false teleport-auto-user", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.run.SQL(t, "postgres", "grant create on database postgres to writer")
			w := dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
			w.Role(makes(c.mode, "writer", "reader"))
			addr := w.Listen(c.user, types.DatabaseRoute{User: c.user, Name: "postgres"})
			out, _ := psql(t, addr, c.user, c.script)
			if !strings.Contains(out, c.says) {
				t.Errorf("psql says %q", out)
			}
			w.Await(ended(w, 1))
			if got := p.user(t, c.user); got != c.left {
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
	p, spec := startMaker(t)
	one, other := dbtest.New(t, postgres.Engine{}, spec, p.Credentials), dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
	for _, w := range []*dbtest.World{one, other} {
		w.Role(makes(types.DBUserKeep, "reader", "writer"))
	}
	route := types.DatabaseRoute{User: "anna", Name: "postgres"}
	_, leave := held(t, one.Listen("anna", route), "anna")
	one.Await(func() bool { return len(one.Log.Events(event.TypeDBStart)) == 1 })
	// Of the same agent, and of another one; both end before the first.
	for i, w := range []*dbtest.World{one, other} {
		if out, err := psql(t, w.Listen("anna", route), "anna", "select count(*) from t"); out != "100\n" {
			t.Fatalf("%d: %v %s", i, err, out)
		}
		w.Await(ended(w, 1))
		narrow := route
		narrow.Roles = []string{"reader"}
		if out, _ := psql(t, w.Listen("anna", narrow), "anna", "select 1"); !strings.Contains(out, "in use with other roles") {
			t.Errorf("%d: with other roles: %s", i, out)
		}
		if got := p.user(t, "anna"); got != "true reader,teleport-auto-user,writer" {
			t.Errorf("%d: the user is %q", i, got)
		}
	}
	leave()
	one.Await(ended(one, 2))
	if got := p.user(t, "anna"); got != "false teleport-auto-user" {
		t.Errorf("the last one leaves %q", got)
	}
	if n := len(one.Log.Events(event.TypeDBUserEnd)) + len(other.Log.Events(event.TypeDBUserEnd)); n != 1 {
		t.Errorf("%d deactivations", n)
	}
}

func TestUsersThatAreNotMade(t *testing.T) {
	p, spec := startMaker(t)
	long := strings.Repeat("x", 64)
	for name, c := range map[string]struct {
		user string
		role func(*types.RoleSpec)
		says string
	}{
		"somebody else's":     {"bob", makes(types.DBUserDrop, "reader"), "was not made by an agent"},
		"the superuser":       {"postgres", makes(types.DBUserKeep, "reader"), "was not made by an agent"},
		"the admin":           {"maker", makes(types.DBUserKeep, "reader"), "nobody is let in as that"},
		"the admin by a role": {"maker", func(r *types.RoleSpec) { r.Allow.DBUsers = []string{"*"} }, "nobody is let in as that"},
		"the marker":          {"teleport-auto-user", makes(types.DBUserKeep, "reader"), "cannot be a user"},
		"a name that is cut":  {long, makes(types.DBUserKeep, "reader"), "the certificate is for"},
		"a role that is none": {"erik", makes(types.DBUserKeep, "reader", "no such"), `says to its admin_user: role "no such" does not exist`},
		"a role above all":    {"erik", makes(types.DBUserKeep, "postgres"), "superuser"},
		"a role with a quote": {"erik", makes(types.DBUserKeep, `reader" to bob; --`), "does not exist"},
		"the marker's role":   {"erik", makes(types.DBUserKeep, "teleport-auto-user"), "cannot be a user or role"},
	} {
		t.Run(name, func(t *testing.T) {
			w := dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
			w.Role(c.role)
			before := p.user(t, c.user)
			out, _ := psql(t, w.Listen(c.user, types.DatabaseRoute{User: c.user, Name: "postgres"}), c.user, "select 1")
			if !strings.Contains(out, c.says) {
				t.Errorf("psql says %q", out)
			}
			w.Await(func() bool { return len(w.Log.Events(event.TypeDBStart)) == 1 })
			if got := p.user(t, c.user); got != before {
				t.Errorf("%q became %q", before, got)
			}
			for _, e := range w.Log.Events(event.TypeDBUserCreate, event.TypeDBEnd) {
				if m, ok := e.(*event.DBUserCreate); !ok || m.Success || m.Code != event.CodeDBUserCreateFail {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// A user whose agent died is as it was, and nobody holds it: the next session makes
// it what its roles say.
func TestAUserThatADeadAgentLeftIsTakenOver(t *testing.T) {
	p, spec := startMaker(t)
	p.run.SQL(t, "postgres", `create role "teleport-auto-user"; create role anna login in role "teleport-auto-user", writer;`)
	w := dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
	w.Role(makes(types.DBUserKeep, "reader"))
	addr := w.Listen("anna", types.DatabaseRoute{User: "anna", Name: "postgres"})
	if out, _ := psql(t, addr, "anna", "select count(*) from t; insert into t values (600, 'x')"); !strings.Contains(out, "100\n") || !strings.Contains(out, "permission denied") {
		t.Errorf("psql says %q", out)
	}
	w.Await(ended(w, 1))
	if got := p.user(t, "anna"); got != "false teleport-auto-user" {
		t.Errorf("it leaves %q", got)
	}
}

// The locks by which agents know of each other are anybody's to take: who does keeps
// nobody's roles alive.
func TestALockOfSomebodyElseHoldsNoUser(t *testing.T) {
	p, spec := startMaker(t)
	w := dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
	w.Role(makes(types.DBUserKeep, "reader"))
	_, leave := held(t, w.Listen("anna", types.DatabaseRoute{User: "anna", Name: "postgres"}), "anna")
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBStart)) == 1 })
	other := exec.Command("psql", "-X", "-q", "-h", p.run.Dir, "-p", p.run.Port, "-U", "postgres", "-c",
		"select pg_advisory_lock_shared(classid::bigint << 32 | objid::bigint), pg_sleep(600) from pg_locks where locktype = 'advisory'")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	w.Await(func() bool {
		return p.run.SQL(t, "postgres", "select count(*) from pg_locks where locktype = 'advisory'") == "2\n"
	})
	leave()
	w.Await(ended(w, 1))
	if got := p.user(t, "anna"); got != "false teleport-auto-user" {
		t.Errorf("it leaves %q", got)
	}
}

// onlyOnce logs nobody in a second time, as after a lock.
type onlyOnce struct {
	*dbtest.PKI
	asked map[string]int
}

func (o *onlyOnce) Certificate(ctx context.Context, l dbaccess.Login) (*tls.Certificate, error) {
	if o.asked[l.User]++; o.asked[l.User] > 1 {
		return nil, fault.New(fault.Denied, "locked")
	}
	return o.PKI.Certificate(ctx, l)
}

// Who is cut loses the roles too, though nobody would log in for them any more.
func TestWhoIsCutLosesTheRoles(t *testing.T) {
	p, spec := startMaker(t)
	w := dbtest.New(t, postgres.Engine{}, spec, func(*certtest.World) dbaccess.Credentials { return &onlyOnce{p.PKI, map[string]int{}} })
	w.Role(makes(types.DBUserKeep, "reader"))
	_, leave := held(t, w.Listen("anna", types.DatabaseRoute{User: "anna", Name: "postgres"}), "anna")
	defer leave()
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBStart)) == 1 })
	w.Role(makes(types.DBUserKeep, "writer"))
	w.Await(ended(w, 1))
	if got := p.user(t, "anna"); got != "false teleport-auto-user" {
		t.Errorf("it leaves %q", got)
	}
}
