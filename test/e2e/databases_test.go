package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"teleport/test/cluster"
	"teleport/test/pgserver"
)

// shop is a cluster whose agent fronts a PostgreSQL, which the guide's way of
// mutual TLS lets alice into.
type shop struct {
	*cluster.Cluster
	server *pgserver.Server
	agent  *cluster.Process
	alice  *cluster.Person
	token  string // of the role db
}

const shopRole = `kind: role
version: v7
metadata: {name: shop}
spec:
  allow:
    db_labels: {env: test}
    db_users: [alice]
    db_names: [orders, copy]
`

func newShop(t *testing.T, o cluster.Opts) *shop {
	t.Helper()
	s := &shop{Cluster: cluster.New(t, o), server: pgserver.Start(t)}
	s.server.SQL(t, "postgres", "create role alice login; create role bob login; create database orders owner alice; create database copy owner alice;")
	s.server.SQL(t, "orders", "create table items (id int primary key, name text); insert into items select i, 'item '||i from generate_series(1,1000) i; alter table items owner to alice;")
	s.mutualTLS(t)
	s.token = s.Token(t, "db")
	s.agent = s.AddAgent(t, "db-1", s.fronts)
	s.TctlIn(shopRole, "create", "-f").OK(t)
	s.alice = s.User(t, "alice", []string{"shop"}, nil)
	s.alice.Login(t)
	reached(t, s.alice, "orders-db")
	return s
}

// mutualTLS signs a certificate for the server, and pastes the lines that tctl
// prints into its configuration.
func (s *shop) mutualTLS(t *testing.T) {
	t.Helper()
	out := filepath.Join(s.server.Dir, "server")
	said := s.Tctl("auth", "sign", "--format=db", "--host=localhost", "--host=127.0.0.1", "--out="+out, "--ttl=2190h").OK(t)
	for _, name := range []string{".key", ".crt", ".cas"} {
		s.server.Own(t, out+name)
	}
	conf := regexp.MustCompile(`(?m)^  (ssl[a-z_]* = .*)$`).FindAllStringSubmatch(said, -1)
	hba := regexp.MustCompile(`(?m)^  (hostssl .*)$`).FindAllStringSubmatch(said, -1)
	if len(conf) != 4 || len(hba) != 2 {
		t.Fatalf("tctl auth sign does not say how: %s", said)
	}
	lines := func(found [][]string) (text string) {
		for _, m := range found {
			text += m[1] + "\n"
		}
		return text
	}
	s.server.Kill()
	s.server.Configure(t, lines(hba), lines(conf))
	s.server.Run(t)
}

// fronts makes an agent's configuration one of the database service.
func (s *shop) fronts(d cluster.Doc) {
	d.Set("ssh_service.enabled", false).Set("db_service.enabled", true)
	d.Set("teleport.join_params.token_name", s.token)
	d.Set("db_service.databases", []any{map[string]any{"name": "orders-db", "description": "Orders of the shop", "protocol": "postgres",
		"uri": "localhost:" + s.server.Port, "static_labels": map[string]any{"env": "test"}}})
	d.Set("db_service.resources", []any{map[string]any{"labels": map[string]any{"team": "shop"}}})
}

// psql runs the real client by tsh db connect.
func (s *shop) psql(stdin string, more ...string) cluster.Result {
	return s.alice.TshIn(stdin, append([]string{"db", "connect", "orders-db", "--db-user=alice", "--db-name=orders", "--", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"}, more...)...)
}

// proxied opens tsh proxy db and returns where it listens.
func (s *shop) proxied(t *testing.T, args ...string) (live *cluster.Live, port string) {
	t.Helper()
	port = cluster.FreePort(t)
	live = s.alice.StartTsh(t, append([]string{"proxy", "db", "orders-db", "--tunnel", "--db-user=alice", "--db-name=orders", "--port=" + port}, args...)...)
	live.WaitFor(t, "127.0.0.1:"+port)
	return live, port
}

func (s *shop) run(t *testing.T, stdin, program, pkg string, args ...string) cluster.Result {
	t.Helper()
	return s.alice.Run(cluster.Command{Path: cluster.Need(t, program, pkg), Args: args, Stdin: stdin})
}

// TestPsqlThroughTheCluster does what people do with psql.
func TestPsqlThroughTheCluster(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	contains(t, s.alice.Tsh("db", "ls").OK(t), "orders-db", "postgres", "Orders of the shop", "env=test")
	contains(t, s.alice.Tsh("db", "ls", "--format=json").OK(t), `"uri": "localhost:`)
	contains(t, s.alice.Tsh("db", "ls", "env=test", "--search=shop", `--query=name == "orders-db"`).OK(t), "orders-db")
	if out := s.alice.Tsh("db", "ls", "env=other").OK(t); strings.Contains(out, "orders-db") {
		t.Errorf("%s", out)
	}
	for name, c := range map[string]struct{ stdin, want string }{
		"who":       {"select current_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid();", "alice|orders|t\n"},
		"describe":  {`\d items`, "id|integer"},
		"copy out":  {`\copy (select id from items where id < 3 order by id) to stdout`, "1\n2\n"},
		"copy in":   {"create temp table u (id int);\n\\copy u from stdin\n1\n2\n\\.\nselect sum(id) from u;", "3\n"},
		"notify":    {"listen c; notify c, 'hello'; select 1;", `with payload "hello"`},
		"a program": {"prepare p as select name from items where id = $1; execute p(8);", "item 8\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.psql(c.stdin)
			if out := r.OK(t) + r.Stderr; !strings.Contains(out, c.want) {
				t.Errorf("%.2000q, want %q", out, c.want)
			}
		})
	}
	t.Run("a hundred megabytes", func(t *testing.T) {
		out := s.psql("", "-c", "select repeat('x', 1048575) from generate_series(1,100)").OK(t)
		if len(out) != 100<<20 || strings.Trim(out, "x\n") != "" {
			t.Errorf("%d bytes", len(out))
		}
	})
	t.Run("refused", func(t *testing.T) { s.refusals(t) })
}

func (s *shop) refusals(t *testing.T) {
	for name, c := range map[string]struct{ user, database, want string }{
		"another user":       {"bob", "orders", "no role that matches it has bob in db_users"},
		"another database":   {"alice", "postgres", "no role that matches it has postgres in db_names"},
		"one that is not":    {"alice", "copy2", "no role that matches it has copy2 in db_names"},
		"the administrator":  {"postgres", "orders", "no role that matches it has postgres in db_users"},
		"no database at all": {"alice", "", "no role that matches it has alice in db_names"},
	} {
		r := s.alice.Tsh("db", "connect", "orders-db", "--db-user="+c.user, "--db-name="+c.database, "--", "-X", "-c", "select 1").Exit(t, 2)
		if !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: %s", name, r.Stderr)
		}
	}
	contains(t, s.alice.Tsh("db", "connect", "no-such-db", "--db-user=alice").Exit(t, 5).Stderr, "no-such-db", "tsh db ls")
	contains(t, s.alice.Tsh("db", "connect", "orders-db").Exit(t, 2).Stderr, "--db-user")
	// Who may not see it hears nothing else of it.
	carol := s.User(t, "carol", []string{"editor"}, nil)
	carol.Login(t)
	s.TctlIn(strings.Replace(shopRole, "env: test", "env: other", 1), "create", "-f").OK(t)
	s.Tctl("users", "update", "carol", "--set-roles=shop").OK(t)
	carol.Login(t)
	contains(t, carol.Tsh("db", "connect", "orders-db", "--db-user=alice").Exit(t, 5).Stderr, "or you may not see it")
	cluster.Until(t, within, "the refusals in the log", func() bool {
		return slices.ContainsFunc(s.Events(t, 5, "db.session.start", "alice"), func(e map[string]any) bool { return e["code"] == "TDB00W" && e["db_user"] == "bob" })
	})
}

// TestTheAuditLogOfADatabase runs a script, and finds each statement in order.
func TestTheAuditLogOfADatabase(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	script := []string{"select 1;", "insert into items values (5000, 'x');", "update items set name = 'y' where id = 5000;", "delete from items where id = 5000;", "select no_such_column;"}
	r := s.psql(strings.Join(script, "\n"))
	if r.Code != 3 || !strings.Contains(r.Stderr, "no_such_column") {
		t.Fatalf("%s", r)
	}
	end := s.Events(t, 1, "db.session.end", "alice")[0]
	var said []string
	for _, e := range s.Events(t, len(script), "db.session.query", "alice") {
		said = append(said, e["db_query"].(string))
		if e["sid"] != end["sid"] || e["db_service"] != "orders-db" || e["db_user"] != "alice" || e["db_name"] != "orders" {
			t.Errorf("%v", e)
		}
	}
	if !slices.Equal(said, script) {
		t.Errorf("the log has %q", said)
	}
	var rows []string
	for _, e := range s.Events(t, len(script), "db.session.result", "alice") {
		command, _ := e["command"].(string)
		code, _ := e["error_code"].(string)
		rows = append(rows, fmt.Sprintf("%s %v %s", command, e["affected_records"], code))
	}
	if want := []string{"SELECT 1 ", "INSERT 1 ", "UPDATE 1 ", "DELETE 1 ", " 0 42703"}; !slices.Equal(rows, want) {
		t.Errorf("the results are %q", rows)
	}
	id := end["sid"].(string)
	cluster.Until(t, within, "the recording is stored", func() bool {
		return strings.Contains(s.Tctl("recordings", "ls").Stdout, id) && strings.Contains(s.Tctl("recordings", "search", "no_such_column").Stdout, id)
	})
	eve := s.User(t, "eve", []string{"auditor"}, nil)
	eve.Login(t)
	contains(t, eve.Tsh("recordings", "ls").OK(t), id+" db ", "alice@orders-db")
	contains(t, eve.Tsh("play", id).OK(t), "  alice is connected to orders-db as alice, database orders, through ", "  insert into items values (5000, 'x');\n", "  → INSERT, 1 row\n",
		"  ✗ 42703: column \"no_such_column\" does not exist\n", "  the connection ended\n")
	contains(t, eve.Tsh("recordings", "export", "--format=json", id).OK(t), `"db_query":"delete from items where id = 5000;"`)
}

// TestProgramsThroughTheLocalProxy are pg_dump, pg_restore and one of ours with pgx.
func TestProgramsThroughTheLocalProxy(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	proxy, port := s.proxied(t)
	dump := filepath.Join(s.alice.Home, "orders.dump")
	s.run(t, "", "pg_dump", "postgresql-client-15", "-Fc", "-f", dump, "-h", "127.0.0.1", "-p", port, "-U", "alice", "-d", "orders").OK(t)
	_, other := s.proxied(t, "--db-name=copy")
	s.run(t, "", "pg_restore", "postgresql-client-15", "-h", "127.0.0.1", "-p", other, "-U", "alice", "-d", "copy", dump).OK(t)
	if got := s.server.SQL(t, "copy", "select count(*), max(name) from items"); got != "1000|item 999\n" {
		t.Errorf("restored %q", got)
	}
	paste := regexp.MustCompile(`(?m)^  (psql .*)\n  (postgres://.*)$`).FindStringSubmatch(proxy.Out.String())
	if paste == nil {
		t.Fatalf("nothing to paste: %s", proxy.Out)
	}
	for _, line := range []string{paste[1], "psql '" + paste[2] + "'"} {
		if out := s.run(t, "", "sh", "dash", "-c", line+" -X -A -t -c 'select current_user'").OK(t); out != "alice\n" {
			t.Errorf("%s: %q", line, out)
		}
	}
	s.program(t, port)
	// The certificate is for this database and this user, whatever the client asks for.
	contains(t, s.run(t, "", "psql", "postgresql-client-15", "host=127.0.0.1 port="+port+" user=alice dbname=copy").Exit(t, 2).Stderr, "the certificate is for the database name orders")
	contains(t, s.run(t, "", "psql", "postgresql-client-15", "host=127.0.0.1 port="+port+" user=bob dbname=orders").Exit(t, 2).Stderr, "the certificate is for the database user alice")
}

// program pipelines, copies and listens.
func (s *shop) program(t *testing.T, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := pgx.Connect(ctx, "postgres://alice@127.0.0.1:"+port+"/orders?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	batch := &pgx.Batch{}
	for i := range 100 {
		batch.Queue("select name from items where id = $1", i+1)
	}
	results := c.SendBatch(ctx, batch)
	for i := range 100 {
		var name string
		if err := results.QueryRow().Scan(&name); err != nil || name != fmt.Sprintf("item %d", i+1) {
			t.Fatalf("%d: %q %v", i, name, err)
		}
	}
	if err := results.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "create temp table many (id int, text text)"); err != nil {
		t.Fatal(err)
	}
	n, err := c.CopyFrom(ctx, pgx.Identifier{"many"}, []string{"id", "text"}, pgx.CopyFromSlice(50_000, func(i int) ([]any, error) { return []any{i, "row"}, nil }))
	if err != nil || n != 50_000 {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := c.Exec(ctx, "listen news"); err != nil {
		t.Fatal(err)
	}
	s.server.SQL(t, "orders", "notify news, 'fresh'")
	if note, err := c.WaitForNotification(ctx); err != nil || note.Payload != "fresh" {
		t.Errorf("%v %v", note, err)
	}
	// An error in the middle of a pipeline fails what follows it, and no more.
	batch = &pgx.Batch{}
	batch.Queue("select 1")
	batch.Queue("select no_such")
	batch.Queue("select 2")
	if err := c.SendBatch(ctx, batch).Close(); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("%v", err)
	}
	var one int
	if err := c.QueryRow(ctx, "select 1").Scan(&one); err != nil || one != 1 {
		t.Errorf("%d %v", one, err)
	}
}

// TestStatementsAreStopped presses Ctrl-C in a terminal, and locks alice.
func TestStatementsAreStopped(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	m := newTmux(t, &world{Cluster: s.Cluster, alice: s.alice})
	m.do("new-session", "-d", "-x", "100", "-y", "30", filepath.Join(s.Bin(), "tsh")+" db connect orders-db --db-user=alice --db-name=orders; echo ended with $?; cat").OK(t)
	m.see(t, "orders=>")
	m.keys(t, `\set PROMPT1 'next> '`, "Enter")
	m.see(t, "next>")
	m.keys(t, `select pg_sleep(600)\;`, "Enter")
	s.sleeps(t, "1")
	m.keys(t, "C-c")
	m.see(t, "canceling statement due to user request")
	m.keys(t, `select 'still', 'here'\;`, "Enter")
	m.see(t, "still    | here")
	m.keys(t, `begin; insert into items values (7000, 'lost'); select pg_sleep(600)\;`, "Enter")
	s.sleeps(t, "1")
	s.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
	m.see(t, "laptop stolen")
	s.sleeps(t, "0")
	if got := s.server.SQL(t, "orders", "select count(*) from items where id = 7000"); got != "0\n" {
		t.Errorf("a cut transaction was committed: %q", got)
	}
	contains(t, s.alice.Tsh("db", "connect", "orders-db", "--db-user=alice", "--db-name=orders").Exit(t, 4).Stderr, "laptop stolen")
}

// sleeps waits until the server has that many sleeping statements.
func (s *shop) sleeps(t *testing.T, n string) {
	t.Helper()
	cluster.Until(t, within, n+" sleeping statements", func() bool {
		return s.server.SQL(t, "postgres", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == n+"\n"
	})
}

// TestDatabasesAsDocuments registers databases, and has the agent front those
// with its labels.
func TestDatabasesAsDocuments(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	doc := func(name, team, server string) string {
		return fmt.Sprintf("kind: db\nversion: v3\nmetadata: {name: %s, labels: {env: test, team: %s}}\nspec: {protocol: postgres, uri: 'localhost:%s', tls: {server_name: '%s'}}\n", name, team, s.server.Port, server)
	}
	for _, d := range []string{doc("strange", "others", "localhost"), doc("second", "shop", "localhost"), doc("wrong-name", "shop", "db.example.com")} {
		s.TctlIn(d, "create", "-f").OK(t)
	}
	ask := func(name string) cluster.Result {
		return s.alice.Tsh("db", "connect", name, "--db-user=alice", "--db-name=orders", "--", "-X", "-A", "-t", "-c", "select count(*) from items")
	}
	cluster.Until(t, within, "the registered database", func() bool { return ask("second").Stdout == "1000\n" })
	cluster.Until(t, within, "the other one", func() bool { return ask("wrong-name").Code == 2 })
	contains(t, ask("wrong-name").Exit(t, 2).Stderr, "no certificate that its tls settings trust", "not db.example.com")
	contains(t, ask("strange").Exit(t, 5).Stderr, "there is no database")
	contains(t, s.Tctl("access", "plan", "--delete=shop").OK(t), "4 databases", "alice in copy, alice in orders", "orders-db, second, strange, wrong-name")
	contains(t, s.Tctl("get", "db").OK(t), "name: second", "name: strange", "team: others")
	servers := s.Tctl("get", "db_server").OK(t)
	contains(t, servers, "name: orders-db."+s.agent.UUID(t), "name: second."+s.agent.UUID(t))
	listed := s.Tctl("db", "ls").OK(t)
	contains(t, listed, "Host", "orders-db", "second", "postgres")
	if strings.Contains(servers+listed, "strange") {
		t.Errorf("%s%s", servers, listed)
	}
	s.Tctl("rm", "db/second").OK(t)
	cluster.Until(t, within, "the end of the removed one", func() bool {
		return !strings.Contains(s.Tctl("get", "db_server").OK(t), "second")
	})
	cluster.Until(t, within, "the proxy to know that too", func() bool { return ask("second").Code == 5 })
	s.server.Kill()
	contains(t, ask("orders-db").Exit(t, 2).Stderr, "psql: error:", "the database orders-db does not answer")
	s.server.Run(t)
	if got := ask("orders-db").OK(t); got != "1000\n" {
		t.Errorf("%q", got)
	}
	s.agent.Signal(t, syscall.SIGTERM)
	cluster.Until(t, within, "the end of the agent's presence", func() bool { return !strings.Contains(s.alice.Tsh("db", "ls").OK(t), "orders-db") })
}

// TestTwoAgentsFrontOneDatabase cancels a statement, whichever agent has it, and
// loses one agent after the other.
func TestTwoAgentsFrontOneDatabase(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	s.token = s.Token(t, "db")
	other := s.AddAgent(t, "db-2", s.fronts)
	s.announces(t, s.agent, other)
	if out := s.alice.Tsh("db", "ls", "--format=names").OK(t); out != "orders-db\n" {
		t.Errorf("it is listed as %q", out)
	}
	_, port := s.proxied(t)
	psql := func(args ...string) *cluster.Live {
		return s.alice.Go(t, cluster.Need(t, "psql", "postgresql-client-15"), append([]string{"-X", "-A", "-t", "-h", "127.0.0.1", "-p", port, "-U", "alice", "-d", "orders"}, args...)...)
	}
	stop := func() {
		t.Helper()
		live := psql("-c", "select pg_sleep(600)")
		s.sleeps(t, "1")
		if err := live.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		live.Wait(t)
		contains(t, live.Errs.String(), "canceling statement due to user request")
		s.sleeps(t, "0")
	}
	agents := []*cluster.Process{s.agent, other}
	for _, sessions := range []int{1, 4} { // up to now
		stop()
		var starts []map[string]any
		cluster.Until(t, within, "the starts of all sessions", func() bool {
			starts = slices.DeleteFunc(s.Events(t, sessions, "db.session.start", "alice"), func(e map[string]any) bool { return e["db_user"] != "alice" })
			return len(starts) >= sessions
		})
		at := starts[len(starts)-1]["server_id"]
		i := slices.IndexFunc(agents, func(p *cluster.Process) bool { return p.UUID(t) == at })
		if i < 0 {
			t.Fatalf("the session was at %v", at)
		}
		agents[i].Kill9(t)
		live := psql("-c", "select 'still here'")
		if code := live.Wait(t); code != 0 || live.Out.String() != "still here\n" {
			t.Errorf("after the loss of %s: %d %s", agents[i].Name, code, live.Errs)
		}
		stop()
		agents[i].Start(t)
		s.announces(t, s.agent, other)
	}
}

// announces waits until the agents' tunnels stand and their databases are listed.
func (s *shop) announces(t *testing.T, agents ...*cluster.Process) {
	t.Helper()
	cluster.Until(t, within, "the databases of all agents", func() bool {
		servers := s.Tctl("get", "db_server").OK(t)
		for _, a := range agents {
			if !strings.Contains(servers, "orders-db."+a.UUID(t)) {
				return false
			}
		}
		return true
	})
}

// TestALoginEndsUnderALocalProxy keeps tsh proxy db open over the end of the
// log-in: connections wait for the next one.
func TestALoginEndsUnderALocalProxy(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	s.alice.Login(t, "--ttl=1", "--force")
	proxy, port := s.proxied(t)
	ask := func() *cluster.Live {
		return s.alice.Go(t, cluster.Need(t, "psql", "postgresql-client-15"), "-X", "-A", "-t", "-h", "127.0.0.1", "-p", port, "-U", "alice", "-d", "orders", "-c", "select 'through'")
	}
	if live := ask(); live.Wait(t) != 0 {
		t.Fatalf("%s", live.Errs)
	}
	aMinuteLater(t, func(t *testing.T) {
		cluster.Until(t, within, "the end of the log-in", func() bool { return s.alice.Tsh("db", "ls").Code != 0 })
		waits := ask()
		cluster.Until(t, within, "word of it", func() bool { return strings.Contains(proxy.Errs.String(), "connections wait until you log in again") })
		if waits.Ended() {
			t.Errorf("it did not wait: %s", waits.Errs)
		}
		s.alice.Login(t)
		if code := waits.Wait(t); code != 0 || waits.Out.String() != "through\n" {
			t.Errorf("%d %s", code, waits.Errs)
		}
	})
}
