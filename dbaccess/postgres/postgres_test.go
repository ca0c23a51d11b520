package postgres_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/postgres"
	"teleport/types"
	"teleport/types/event"
)

// psql runs the real client; out is what it printed, errors included.
func psql(t *testing.T, addr net.Addr, user, stdin string, args ...string) (out string, err error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr.String())
	c := exec.Command("psql", append([]string{"-X", "-A", "-t", "-h", host, "-p", port, "-U", user, "-d", "postgres"}, args...)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "PGCONNECT_TIMEOUT=20"}
	c.Stdin = strings.NewReader(stdin)
	b, err := c.CombinedOutput()
	return string(b), err
}

func TestPsqlWorksThroughTheAgent(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	for name, c := range map[string]struct{ stdin, want string }{
		"a query":           {"select name from t where id = 7;", "row 7\n"},
		"an error":          {"select nothing;", `column "nothing" does not exist`},
		"a transaction":     {"begin; insert into t values (1000, 'x'); rollback; select count(*) from t;", "100\n"},
		"several at once":   {"select 1 \\; select 2;", "1\n2\n"},
		"a description":     {`\d t`, "id|integer"},
		"copy out":          {`\copy (select id from t where id < 4 order by id) to stdout`, "1\n2\n3\n"},
		"copy in":           {"create temp table u (id int);\n\\copy u from stdin\n1\n2\n\\.\nselect sum(id) from u;", "3\n"},
		"notify":            {"listen c; notify c, 'hello'; select 1;", `with payload "hello"`},
		"a prepared one":    {"prepare p as select name from t where id = $1; execute p(8);", "row 8\n"},
		"who I am":          {"select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid();", "alice|t\n"},
		"a large result":    {"select count(*), sum(length(x)) from (select repeat('x', 1000) x from generate_series(1, 20000)) y;", "20000|20000000\n"},
		"rows of megabytes": {"select length(repeat('x', 5000000));\nselect repeat('y', 5000000);", strings.Repeat("y", 5000000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := psql(t, addr, "alice", c.stdin)
			if !strings.Contains(out, c.want) {
				t.Errorf("%v: %.300q, want %.100q", err, out, c.want)
			}
		})
	}
}

func TestTheLogHasEveryStatementInOrder(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	long := "select '" + strings.Repeat("long", 20_000) + "' as x /* hidden */;"
	script := "select 1;\nselect no_such;\ninsert into t values (2000, 'y');\n" + long + "\ndelete from t where id = 2000;\n"
	if out, err := psql(t, addr, "alice", script); err != nil && !strings.Contains(out, "no_such") {
		t.Fatalf("%v: %s", err, out)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
	var got []string
	for _, e := range w.Log.Events() {
		switch e := e.(type) {
		case *event.DBStart:
			got = append(got, "start "+e.DBUser+"@"+e.Name+" by "+e.Decision.Role)
		case *event.DBQuery:
			got = append(got, strings.TrimSpace(e.Text))
			if e.Bytes != 0 && (e.Bytes != len(long) || len(e.SHA256) != 64) {
				t.Errorf("cut at %d of %d, sha256 %q", len(e.Text), e.Bytes, e.SHA256)
			}
		case *event.DBResult:
			got = append(got, fmt.Sprint("→ ", e.Command, " ", e.Rows, e.Code))
		case *event.DBEnd:
			got = append(got, "end")
		}
	}
	want := []string{"start alice@postgres by db", "select 1;", "→ SELECT 1", "select no_such;", "→  042703", "insert into t values (2000, 'y');", "→ INSERT 1",
		long[:32<<10], "→ SELECT 1", "delete from t where id = 2000;", "→ DELETE 1", "end"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %.3000q\nwant %.3000q", got, want)
	}
}

func TestPsqlIsRefusedInItsOwnWords(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(r *types.RoleSpec) { r.Allow.DBUsers = append(r.Allow.DBUsers, "nobody") })
	open := w.Listen("alice", types.DatabaseRoute{})
	for name, c := range map[string]struct {
		user string
		args []string
		want string
	}{
		"another user":     {"mallory", nil, "has mallory in db_users"},
		"another database": {"alice", []string{"-d", "template1"}, "has template1 in db_names"},
		"an unknown to it": {"nobody", nil, `role "nobody" does not exist`},
		"replication":      {"alice", []string{"-d", "dbname=postgres replication=database"}, "replication protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := psql(t, open, c.user, "select 1;", c.args...)
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("%v: %q, want %q", err, out, c.want)
			}
		})
	}
	narrow := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	if out, err := psql(t, narrow, "nobody", "select 1;"); err == nil || !strings.Contains(out, "the certificate is for the database user alice") {
		t.Errorf("%v: %q", err, out)
	}
}

// What is wrong with the database is told in the client's own form, and the log
// has it as a session that did not begin.
func TestWhatIsWrongWithTheDatabaseIsSaid(t *testing.T) {
	good, spec := startServer(t)
	for name, c := range map[string]struct {
		edit func(*types.DatabaseSpec, *dbtest.PKI)
		want string
	}{
		"nothing":                  {func(*types.DatabaseSpec, *dbtest.PKI) {}, "1\n"},
		"the authority alone":      {func(s *types.DatabaseSpec, _ *dbtest.PKI) { s.TLS = types.DatabaseTLS{Mode: types.TLSVerifyCA} }, "1\n"},
		"it is not there":          {func(s *types.DatabaseSpec, _ *dbtest.PKI) { s.URI = "127.0.0.1:1" }, "the database shop does not answer"},
		"it speaks something else": {func(s *types.DatabaseSpec, _ *dbtest.PKI) { s.URI = silent(t) }, "the login to the database shop failed"},
		"another name":             {func(s *types.DatabaseSpec, _ *dbtest.PKI) { s.TLS.ServerName = "other.test" }, "no certificate that its tls settings trust: x509: certificate is valid for db.test"},
		"another authority":        {func(_ *types.DatabaseSpec, p *dbtest.PKI) { p.Servers = dbtest.NewAuthority(t, "others") }, "no certificate that its tls settings trust"},
		"another authority alone": {func(s *types.DatabaseSpec, p *dbtest.PKI) {
			p.Servers, s.TLS = dbtest.NewAuthority(t, "others"), types.DatabaseTLS{Mode: types.TLSVerifyCA}
		}, "no certificate that its tls settings trust"},
		"our authority is strange to it": {func(_ *types.DatabaseSpec, p *dbtest.PKI) { p.Users = dbtest.NewAuthority(t, "others") }, "does not take the agent's certificate"},
		"we are another user":            {func(_ *types.DatabaseSpec, p *dbtest.PKI) { p.Shows = "mallory" }, `the database shop says: certificate authentication failed for user "alice"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := *good.PKI, spec
			c.edit(&s, &p)
			w := dbtest.New(t, postgres.Engine{}, s, p.Credentials)
			w.Role(func(*types.RoleSpec) {})
			out, err := psql(t, w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"}), "alice", "select 1;")
			if !strings.Contains(out, c.want) || strings.HasSuffix(c.want, "\n") == (err != nil) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// silent is something that takes a connection and hangs up on the first words.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 8))
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestCtrlCStopsAStatement(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	c, out := sleeper(t, addr)
	w.Await(func() bool { return pki.sleeping(t) == "1\n" })
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if !strings.Contains(out.String(), "canceling statement due to user request") {
		t.Errorf("%s", out.String())
	}
}

// sleeper is a psql whose statement lasts.
func sleeper(t *testing.T, addr net.Addr) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("psql", "-X", "-A", "-t", "-h", host, "-p", port, "-U", "alice", "-d", "postgres", "-c", "begin; insert into t values (3000, 'lost');", "-c", "select pg_sleep(600)")
	out := &bytes.Buffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c, out
}

// Whoever vanishes may have been cut before the agent heard why: what they asked
// for stops.
func TestAClientThatVanishesLeavesNothingRunning(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	c, _ := sleeper(t, w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"}))
	w.Await(func() bool { return pki.sleeping(t) == "1\n" })
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	w.Await(func() bool { return pki.sleeping(t) == "0\n" })
}

func TestALockCutsPsql(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	c, out := sleeper(t, addr)
	w.Await(func() bool { return pki.sleeping(t) == "1\n" })
	w.Policy.Change(func() {
		l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "left the company"}}
		l.Metadata.Name = "l"
		w.Policy.LockList = append(w.Policy.LockList, l)
	})
	_ = c.Wait()
	if !strings.Contains(out.String(), "left the company") {
		t.Errorf("%s", out.String())
	}
	// What it asked for stops too, and is not done.
	w.Await(func() bool { return pki.sleeping(t) == "0\n" })
	if got := pki.run.SQL(t, "postgres", "select count(*) from t where id = 3000"); got != "0\n" {
		t.Errorf("it was done: %s", got)
	}
}
