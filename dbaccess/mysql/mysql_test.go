package mysql_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/mysql"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/test/cluster"
	"teleport/types"
	"teleport/types/event"
)

// client runs a program of MariaDB; out is what it printed, errors included.
func client(t *testing.T, program string, addr net.Addr, user, stdin string, args ...string) (out string, err error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr.String())
	c := exec.Command(program, append([]string{"--no-defaults", "--skip-ssl", "--protocol=TCP", "-h", host, "-P", port, "-u", user}, args...)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	c.Stdin = strings.NewReader(stdin)
	b, err := c.CombinedOutput()
	return string(b), err
}

// world is an agent before a real server, with a way for alice.
func world(t *testing.T) (*dbtest.World, net.Addr) {
	pki, spec := startServer(t)
	w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	return w, w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "shop"})
}

func TestMariaDBsClientsWork(t *testing.T) {
	_, addr := world(t)
	batch := []string{"-N", "-B"}
	for name, c := range map[string]struct {
		program, stdin, want string
		args                 []string
	}{
		"a query":              {"mariadb", "select name from t where id = 7;", "row 7\n", batch},
		"an error":             {"mariadb", "select nothing;", "ERROR 1054 (42S22) at line 1: Unknown column", batch},
		"a transaction":        {"mariadb", "begin; insert into t values (1000, 'x'); rollback; select count(*) from t;", "100\n", batch},
		"a procedure":          {"mariadb", "call twice();", "1\n2\n", batch},
		"use":                  {"mariadb", "use attic\nselect database();", "attic\n", batch},
		"prepare":              {"mariadb", "prepare p from 'select name from t where id = ?'; set @i = 8; execute p using @i;", "row 8\n", batch},
		"who I am":             {"mariadb", "select current_user(), (select variable_value from information_schema.session_status where variable_name = 'ssl_version');", "alice@%\tTLSv1.3", batch},
		"names of fields":      {"mariadb", "select id from t where id = 3;", "3\n", []string{"-N", "-B", "--auto-rehash"}},
		"a large result":       {"mariadb", "select repeat('x', 1000) from seq_1_to_20000;", strings.Repeat("x", 1000) + "\n", append(batch, "-q")},
		"a row of 17 MB":       {"mariadb", "select repeat('y', 17000000);", strings.Repeat("y", 17_000_000), append(batch, "--max-allowed-packet=64M")},
		"a statement of 17 MB": {"mariadb", "select length('" + strings.Repeat("z", 17_000_000) + "');", "17000000\n", append(batch, "--max-allowed-packet=64M")},
		"no local files":       {"mariadb", "load data local infile '/etc/hostname' into table t;", "ERROR", append(batch, "--local-infile=1")},
		"a password":           {"mariadb", "select 5;", "5\n", append(batch, "--password=whatever")},
		"status":               {"mariadb-admin", "", "Uptime", []string{"status"}},
		"processes":            {"mariadb-admin", "", "alice", []string{"processlist"}},
		"a dump":               {"mariadb-dump", "", "(1,'row 1')", []string{"shop"}},
		"fields of a table":    {"mariadb-show", "", "varchar(40)", []string{"shop", "t"}},
		"load":                 {"mysqlslap", "", "Average number of seconds", []string{"--concurrency=4", "--iterations=2", "--auto-generate-sql"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := client(t, c.program, addr, "alice", c.stdin, c.args...)
			if !strings.Contains(out, c.want) {
				t.Errorf("%v: %.300q, want %.100q", err, out, c.want)
			}
		})
	}
}

func TestGoProgramsWork(t *testing.T) {
	w, addr := world(t)
	db, err := sql.Open("mysql", "alice:secret@tcp("+addr.String()+")/shop?multiStatements=true&maxAllowedPacket=1048576")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var name string
	if err := db.QueryRow("select name from t where id = ?", 9).Scan(&name); err != nil || name != "row 9" {
		t.Errorf("%q, %v", name, err)
	}
	st, err := db.Prepare("insert into t values (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := st.Exec(2000+i, fmt.Sprint("new ", i)); err != nil {
			t.Error(err)
		}
	}
	if _, err := st.Exec(2000, strings.Repeat("long", 1_000_000)); err == nil { // by COM_STMT_SEND_LONG_DATA
		t.Error("a name of 4 MB was taken")
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	rows, err := db.Query("select 1; select id from t where id >= 2000 order by id; update t set name = 'x' where id >= 2000")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []int
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				t.Error(err)
			}
			got = append(got, n)
		}
	}
	if want := []int{1, 2000, 2001, 2002}; !slices.Equal(got, want) || rows.Err() != nil {
		t.Errorf("%v, %v", got, rows.Err())
	}
	executed := w.Log.Events(event.TypeMySQLExecute)
	if e := executed[len(executed)-1].(*event.MySQLExecute); e.Count != 2 {
		t.Errorf("%d parameters", e.Count)
	}
	if n := len(w.Log.Events(event.TypeMySQLLongData)); n == 0 {
		t.Error("long data is not told")
	}
}

func TestTheLogHasEveryStatementInOrder(t *testing.T) {
	w, addr := world(t)
	long := "select length('" + strings.Repeat("long", 4_250_000) + "') as x /* hidden */"
	script := "select 1;\nselect no_such;\ninsert into t values (3000, 'y');\n" + long + ";\nuse attic\ncall shop.twice();\ndelete from shop.t where id = 3000;\nselect 'grün', _latin1 x'e4';\n"
	out, err := client(t, "mariadb", addr, "alice", script, "--force", "--comments", "-N", "-B", "--max-allowed-packet=64M")
	if err != nil && !strings.Contains(out, "no_such") {
		t.Fatalf("%v: %.1000s", err, out)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
	var got []string
	for _, e := range w.Log.Events() {
		switch e := e.(type) {
		case *event.DBStart:
			got = append(got, "start "+e.DBUser+"@"+e.Name+" by "+e.Decision.Role)
		case *event.DBQuery:
			got = append(got, e.Text)
			if e.Bytes != 0 && (e.Bytes != len(long) || len(e.SHA256) != 64) {
				t.Errorf("cut at %d of %d, sha256 %q", len(e.Text), e.Bytes, e.SHA256)
			}
		case *event.MySQLInitDB:
			got = append(got, "use "+e.Schema)
		case *event.DBResult:
			got = append(got, fmt.Sprint("→ ", e.Command, " ", e.Rows, " ", e.Code))
		case *event.DBEnd:
			got = append(got, "end "+e.Name)
		}
	}
	if i := slices.Index(got, "select 1"); i > 0 { // what the client asks by itself
		got = slices.Delete(got, 1, i)
	}
	want := []string{"start alice@shop by db", "select 1", "→ QUERY 1 ", "select no_such", "→ QUERY 0 1054", "insert into t values (3000, 'y')", "→ QUERY 1 ",
		long[:32<<10], "→ QUERY 1 ", "SELECT DATABASE()", "→ QUERY 1 ", "use attic", "→ INIT_DB 0 ", "call shop.twice()", "→ QUERY 1 ", "→ QUERY 1 ", "→ QUERY 0 ",
		"delete from shop.t where id = 3000", "→ QUERY 1 ", "select 'grün', _latin1 x'e4'", "→ QUERY 1 ", "end attic"}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the line %d is another: %d and %d lines, got %.200q", i, len(got), len(want), got[min(i, len(got)):])
		}
	}
}

func TestClientsAreRefusedInTheirOwnWords(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
	shared.server.SQL(t, "create or replace user locked@'%' account lock; create or replace user often@'%' require subject '/CN=often' with max_connections_per_hour 1;")
	w.Role(func(r *types.RoleSpec) {
		r.Allow.DBUsers = append(r.Allow.DBUsers, "nobody", "carol", "locked", "often")
		r.Deny.DBNames = []string{"attic"}
	})
	for name, c := range map[string]struct {
		route types.DatabaseRoute
		user  string
		stdin string
		args  []string
		want  string
	}{
		"no role":                {types.DatabaseRoute{User: "mallory"}, "mallory", "select 1", nil, "ERROR 1045 (28000): access denied: the database user mallory is not allowed"},
		"another than the route": {types.DatabaseRoute{User: "alice"}, "mallory", "select 1", nil, "ERROR 1045 (28000): the certificate is for the database user alice"},
		"no user in the route":   {types.DatabaseRoute{}, "alice", "select 1", nil, "the certificate names no database user"},
		"unknown to it":          {types.DatabaseRoute{User: "nobody"}, "nobody", "select 1", nil, "ERROR 1045 (28000): the database shop says: Access denied for user 'nobody'"},
		"locked":                 {types.DatabaseRoute{User: "locked"}, "locked", "select 1", nil, "ERROR 4151 (HY000): the database shop says: Access denied, this account is locked"},
		"too often":              {types.DatabaseRoute{User: "often"}, "often", "select 1", nil, "ERROR 1226 (42000): the database shop says: User 'often' has exceeded the 'max_connections_per_hour' resource (current value: 1)"},
		"another's certificate":  {types.DatabaseRoute{User: "carol"}, "carol", "select 1", nil, "the database shop says: Access denied for user 'carol'"},
		"a denied database":      {types.DatabaseRoute{User: "alice"}, "alice", "select 1", []string{"attic"}, "denies the database name attic"},
		"use of a denied one":    {types.DatabaseRoute{User: "alice"}, "alice", "use attic", nil, "denies the database name attic"},
		"an unknown database":    {types.DatabaseRoute{User: "alice"}, "alice", "select 1", []string{"cellar"}, "ERROR 1049 (42000): the database shop says: Unknown database 'cellar'"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "too often" {
				_, _ = client(t, "mariadb", w.Listen("alice", c.route), c.user, c.stdin, c.args...)
			}
			out, err := client(t, "mariadb", w.Listen("alice", c.route), c.user, c.stdin, c.args...)
			if err == nil || !strings.Contains(out, c.want) || strings.Contains(out, "'@'") {
				t.Errorf("%v: %q, want %q", err, out, c.want)
			}
		})
	}
	if n := len(w.Log.Events(event.TypeMySQLInitDB)); n != 1 {
		t.Errorf("%d changes of the database", n)
	}
}

func TestADatabaseThatIsDownOrAnother(t *testing.T) {
	pki := dbtest.NewPKI(t)
	spec := types.DatabaseSpec{Protocol: "mysql", URI: "127.0.0.1:" + cluster.FreePort(t)}
	w := dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	out, err := client(t, "mariadb", w.Listen("alice", types.DatabaseRoute{User: "alice"}), "alice", "select 1")
	if err == nil || !strings.Contains(out, "the database shop does not answer") {
		t.Errorf("%v: %q", err, out)
	}
	pki, spec = startServer(t)
	spec.TLS.ServerName = "other.test"
	w = dbtest.New(t, mysql.Engine{}, spec, pki.Credentials)
	w.Role(func(*types.RoleSpec) {})
	out, err = client(t, "mariadb", w.Listen("alice", types.DatabaseRoute{User: "alice"}), "alice", "select 1")
	if err == nil || !strings.Contains(out, "the database shop shows no certificate that its tls settings trust") {
		t.Errorf("%v: %q", err, out)
	}
}

func TestCtrlCStopsAStatement(t *testing.T) {
	_, addr := world(t)
	host, port, _ := net.SplitHostPort(addr.String())
	c := exec.Command("timeout", "-s", "INT", "1", "mariadb", "--no-defaults", "--skip-ssl", "-h", host, "-P", port, "-u", "alice", "-e", "select sleep(60)")
	out, _ := c.CombinedOutput()
	if !bytes.Contains(out, []byte("Query execution was interrupted")) && !bytes.Contains(out, []byte("query killed")) {
		t.Errorf("%s", out)
	}
}

// TestANumberIsOnesOwn has clients that know their connections by numbers of a
// proxy's: one stops what another of the same person's does on the same database,
// and nobody else's.
func TestANumberIsOnesOwn(t *testing.T) {
	w, addr := world(t)
	const number = 3405691582
	open := func(addr net.Addr, attributes string) *sql.DB {
		db, err := sql.Open("mysql", "alice@tcp("+addr.String()+")/shop?connectionAttributes="+attributes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	sleeper := open(addr, fmt.Sprint(mysqlwire.NumberAttribute, ":", number, ",program_name:sleeper"))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = sleeper.Exec("do sleep(600)") // a sleep that is stopped is no error
	}()
	w.Await(func() bool {
		return slices.ContainsFunc(w.Log.Events(event.TypeDBQuery), func(e event.Event) bool { return e.(*event.DBQuery).Text == "do sleep(600)" })
	})
	kill := fmt.Sprint("KILL QUERY ", number)
	bob := open(w.Listen("bob", types.DatabaseRoute{User: "alice", Name: "shop"}), "")
	if _, err := bob.Exec(kill); err == nil || !strings.Contains(err.Error(), fmt.Sprint("Unknown thread id: ", number)) {
		t.Errorf("bob's: %v", err)
	}
	if _, err := open(addr, "").Exec(kill); err != nil {
		t.Errorf("alice's other: %v", err)
	}
	<-ended
	if err := sleeper.Close(); err != nil {
		t.Error(err)
	}
	w.Await(func() bool {
		_, err := open(addr, "").Exec(kill)
		return err != nil // the number went with the session
	})
}

// sleeper is a mariadb that waits for the server.
func sleeper(t *testing.T, w *dbtest.World, addr net.Addr) (c *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr.String())
	c, out = exec.Command("mariadb", "--no-defaults", "--skip-ssl", "-h", host, "-P", port, "-u", "alice", "-e", "select sleep(60)"), new(bytes.Buffer)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	w.Await(func() bool { return sleeping(t) == "1\n" })
	return c, out
}

// sleeping is how many statements of sleepers the server runs.
func sleeping(t *testing.T) string {
	return shared.server.SQL(t, "select count(*) from information_schema.processlist where info like 'select sleep%'")
}

// Whoever vanishes may have been cut before the agent heard why: what they asked
// for stops.
func TestAClientThatVanishesLeavesNothingRunning(t *testing.T) {
	w, addr := world(t)
	c, _ := sleeper(t, w, addr)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	w.Await(func() bool { return sleeping(t) == "0\n" })
}

func TestALockCutsTheClient(t *testing.T) {
	w, addr := world(t)
	c, out := sleeper(t, w, addr)
	w.Policy.Change(func() {
		l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "left the company"}}
		l.Metadata.Name = "l"
		w.Policy.LockList = append(w.Policy.LockList, l)
	})
	_ = c.Wait()
	if !strings.Contains(out.String(), "left the company") {
		t.Errorf("%s", out.String())
	}
	// What it asked for stops too.
	w.Await(func() bool { return sleeping(t) == "0\n" })
}
