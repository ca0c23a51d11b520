package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"teleport/test/cluster"
	"teleport/test/myserver"
)

// stall is a cluster whose agent fronts a MariaDB, which the printed way of mutual
// TLS lets alice into.
type stall struct {
	*cluster.Cluster
	server *myserver.Server
	port   string // of the proxy, for MySQL
	alice  *cluster.Person
}

// stallRole names no db_names: MySQL's are not policed.
const stallRole = `kind: role
version: v7
metadata: {name: stall}
spec:
  allow:
    db_labels: {env: test}
    db_users: [alice, nobody]
`

func newStall(t *testing.T) *stall {
	t.Helper()
	port := "127.0.0.1:" + cluster.FreePort(t)
	s := &stall{Cluster: cluster.New(t, cluster.Opts{Config: func(process string, conf cluster.Doc) {
		if process == "auth" {
			conf.Set("proxy_service.mysql_listen_addr", port).Set("proxy_service.mysql_public_addr", port)
		}
	}}), server: myserver.Start(t), port: port}
	s.mutualTLS(t)
	s.server.SQL(t, "create database orders; use orders; create table items (id int primary key, name text);"+
		"insert into items select seq, concat('item ', seq) from seq_1_to_1000;")
	token := s.Token(t, "db")
	s.AddAgent(t, "db-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("db_service.enabled", true).Set("teleport.join_params.token_name", token)
		d.Set("db_service.resources", []any{map[string]any{"labels": map[string]any{"env": "test"}}})
		d.Set("db_service.databases", []any{map[string]any{"name": "stall-db", "protocol": "mysql", "uri": "localhost:" + s.server.Port,
			"static_labels": map[string]any{"env": "test"}}})
	})
	s.TctlIn(stallRole, "create", "-f").OK(t)
	s.alice = s.User(t, "alice", []string{"stall"}, nil)
	s.alice.Login(t)
	reached(t, s.alice, "stall-db")
	return s
}

// mutualTLS signs a certificate for the server, and does what tctl prints: alice
// may do everything there.
func (s *stall) mutualTLS(t *testing.T) {
	t.Helper()
	out := filepath.Join(s.server.Dir, "server")
	said := s.Tctl("auth", "sign", "--format=db", "--host=localhost", "--host=127.0.0.1", "--out="+out, "--ttl=2190h").OK(t)
	var options []string
	for _, m := range regexp.MustCompile(`(?m)^  (require_secure_transport|ssl-[a-z]+) = (.*)$`).FindAllStringSubmatch(said, -1) {
		options = append(options, "--"+m[1]+"="+m[2])
	}
	create := regexp.MustCompile(`CREATE USER 'alice'@'%' .*;`).FindString(said)
	if len(options) != 4 || create == "" {
		t.Fatalf("tctl auth sign does not say how: %s", said)
	}
	s.server.SQL(t, create+"grant all on *.* to 'alice'@'%';")
	for _, name := range []string{".key", ".crt", ".cas"} {
		s.server.Own(t, out+name)
	}
	s.server.Kill()
	s.server.Run(t, options...)
}

// connect runs the real client by tsh db connect.
func (s *stall) connect(user, stdin string, more ...string) cluster.Result {
	return s.alice.TshIn(stdin, append([]string{"db", "connect", "stall-db", "--db-user=" + user, "--db-name=orders", "--", "-N", "-B"}, more...)...)
}

func TestMariaDBThroughTheCluster(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	for name, c := range map[string]struct{ stdin, want string }{
		"who":       {"select current_user(), database();", "alice@%\torders\n"},
		"describe":  {"describe items;", "id\tint(11)"},
		"prepared":  {"prepare p from 'select name from items where id = ?'; set @i = 8; execute p using @i;", "item 8\n"},
		"an error":  {"select nothing;", "ERROR 1054 (42S22)"},
		"ten times": {"select repeat('x', 1000000) from seq_1_to_10;", strings.Repeat("x", 1_000_000)},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.connect("alice", c.stdin)
			if out := r.Stdout + r.Stderr; !strings.Contains(out, c.want) {
				t.Errorf("%.2000q, want %.200q", out, c.want)
			}
		})
	}
	for user, want := range map[string]string{"bob": "no role that matches it has bob in db_users", "nobody": "the database stall-db says: Access denied for user 'nobody'"} {
		if r := s.connect(user, "select 1;"); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %s, want %q", user, r, want)
		}
	}
	contains(t, s.alice.Tsh("db", "exec", "select max(id) from items", "--dbs=stall-db", "--db-user=alice", "--db-name=orders", "--no-confirm").OK(t), "stall-db: |    1000 |\n")
	r := s.alice.Tsh("db", "exec", "select nothing", "--dbs=stall-db", "--db-user=alice", "--db-name=orders", "--no-confirm").Exit(t, 1)
	contains(t, r.Stderr, "1 failed\n  stall-db: ERROR 1054 (42S22)")
	t.Run("a tunnel", s.tunnel)
	s.Events(t, 1, "db.session.mysql.statements.prepare", "alice")
	for _, want := range []string{"describe items", "KILL QUERY", "insert into items values (2000, 'two')"} {
		s.queried(t, func(text string) bool { return strings.Contains(text, want) }, want)
	}
}

// queried waits for a statement in the log, which the agent ships in its own time.
func (s *stall) queried(t *testing.T, is func(string) bool, what string) {
	t.Helper()
	cluster.Until(t, within, what+" in the log", func() bool {
		return slices.ContainsFunc(s.Events(t, 1, "db.session.query", "alice"), func(e map[string]any) bool { return is(fmt.Sprint(e["db_query"])) })
	})
}

// tunnel does what programs do with tsh proxy db.
func (s *stall) tunnel(t *testing.T) {
	port := cluster.FreePort(t)
	live := s.alice.StartTsh(t, "proxy", "db", "stall-db", "--tunnel", "--db-user=alice", "--db-name=orders", "--port="+port)
	live.WaitFor(t, "--port="+port)
	run := func(program string, args ...string) cluster.Result {
		return s.alice.Run(cluster.Command{Path: cluster.Need(t, program, "mariadb-client"),
			Args: append([]string{"--no-defaults", "--skip-ssl", "--protocol=TCP", "-h127.0.0.1", "-P" + port, "-ualice"}, args...)})
	}
	dump := run("mariadb-dump", "orders").OK(t)
	contains(t, dump, "CREATE TABLE `items`", "(1000,'item 1000')")
	run("mariadb", "-e", "create database copy").OK(t)
	restore := s.alice.Run(cluster.Command{Path: cluster.Need(t, "mariadb", "mariadb-client"), Stdin: dump,
		Args: []string{"--no-defaults", "--skip-ssl", "--protocol=TCP", "-h127.0.0.1", "-P" + port, "-ualice", "copy"}})
	restore.OK(t)
	contains(t, run("mariadb", "-N", "-e", "select count(*) from copy.items").OK(t), "1000")
	run("mysqlslap", "--concurrency=4", "--iterations=1", "--auto-generate-sql").OK(t)

	db, err := sql.Open("mysql", "alice@tcp(127.0.0.1:"+port+")/orders")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("insert into items values (2000, 'two')"); err != nil {
		t.Error(err)
	}
	var name string
	if err := db.QueryRow("select name from items where id = ?", 2000).Scan(&name); err != nil || name != "two" {
		t.Errorf("%q, %v", name, err)
	}
	s.cancels(t, "--no-defaults", "--skip-ssl", "-h127.0.0.1", "-P"+port, "-ualice")
}
