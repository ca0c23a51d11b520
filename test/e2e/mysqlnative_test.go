package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"teleport/test/cluster"
)

// group is what tsh calls the database in option files.
func (s *stall) group() string { return s.Name + "-stall-db" }

// native runs a real program of MariaDB at the proxy's port, without tsh.
func (s *stall) native(t *testing.T, program string, args ...string) cluster.Result {
	t.Helper()
	return s.alice.Run(cluster.Command{Path: cluster.Need(t, program, "mariadb-client"), Args: append([]string{"--defaults-group-suffix=_" + s.group()}, args...)})
}

// files are those of alice's certificate.
func (s *stall) files(database string) (ca, crt, key string) {
	base := filepath.Join(s.alice.Home, ".tsh", "keys", "127.0.0.1", "alice-db", s.Name, database)
	return filepath.Join(s.alice.Home, ".tsh", "keys", "127.0.0.1", "cas", s.Name+".pem"), base + ".crt", base + ".key"
}

func (s *stall) logIn(t *testing.T) string {
	t.Helper()
	return s.alice.Tsh("db", "login", "stall-db", "--db-user=alice", "--db-name=orders").OK(t)
}

// sleeps waits until the server runs so many statements that sleep.
func (s *stall) sleeps(t *testing.T, n string) {
	t.Helper()
	cluster.Until(t, within, n+" that sleep", func() bool {
		return strings.TrimSpace(s.server.SQL(t, "select count(*) from information_schema.processlist where info like 'select sleep%'")) == n
	})
}

// TestMariaDBWithoutTsh logs in to a database, and leaves the rest to mariadb.
func TestMariaDBWithoutTsh(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	file, mine := filepath.Join(s.alice.Home, ".my.cnf"), "# mine\n[mysql]\nconnect-timeout=20"
	write(t, file, mine)
	contains(t, s.logIn(t), "Logged in to stall-db (mysql) as alice in orders, until ", "  mariadb --defaults-group-suffix=_"+s.group())
	if got, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(got), mine+"\n\n[client_"+s.group()+"]\n") {
		t.Errorf("%v %s", err, got)
	}
	contains(t, s.alice.Tsh("db", "ls").OK(t), "Allowed Users", "> stall-db mysql", " alice, nobody env=test", "\n  mariadb --defaults-group-suffix=_"+s.group())
	if out := s.native(t, "mariadb", "-N", "-B", "-e", "select current_user(), database()").OK(t); out != "alice@%\torders\n" {
		t.Errorf("%q", out)
	}
	t.Run("programs", s.programs)
	t.Run("the printed forms", s.printedForms)
	t.Run("Go", s.goProgram)
	t.Run("mysql2", s.mysql2)
	t.Run("Ctrl-C", func(t *testing.T) { s.cancels(t, "--defaults-group-suffix=_"+s.group()) })
	t.Run("refused", s.refusedNatively)
	t.Run("a passage", s.passage)
	contains(t, s.alice.Tsh("db", "logout", "stall-db").OK(t), "Logged out of the database stall-db.")
	if got, err := os.ReadFile(file); err != nil || string(got) != mine+"\n" {
		t.Errorf("%v %q", err, got)
	}
}

// programs are those that read groups without a database.
func (s *stall) programs(t *testing.T) {
	dump := s.native(t, "mariadb-dump", "orders").OK(t)
	contains(t, dump, "CREATE TABLE `items`", "(1000,'item 1000')")
	s.native(t, "mariadb", "-e", "create database copy").OK(t)
	s.alice.Run(cluster.Command{Path: cluster.Need(t, "mariadb", "mariadb-client"), Stdin: dump, Args: []string{"--defaults-group-suffix=_" + s.group(), "copy"}}).OK(t)
	contains(t, s.native(t, "mariadb", "-N", "-e", "select count(*) from copy.items").OK(t), "1000")
	contains(t, s.native(t, "mariadb-admin", "status").OK(t), "Uptime")
	contains(t, s.native(t, "mariadb-show", "orders").OK(t), "items")
	contains(t, s.native(t, "mysqlslap", "--concurrency=4", "--iterations=1", "--auto-generate-sql").OK(t), "Average number of seconds")
	if out := s.native(t, "mariadb", "-N", "-B", "-q", "-e", "select repeat('x', 1000000) from seq_1_to_20").OK(t); len(out) != 20*1_000_001 {
		t.Errorf("%d bytes", len(out))
	}
	contains(t, s.native(t, "mariadb", "-e", "select nothing").Exit(t, 1).Stderr, "ERROR 1054 (42S22)")
}

// printedForms are the lines of tsh db env and config.
func (s *stall) printedForms(t *testing.T) {
	shell := func(line string) string {
		t.Helper()
		return s.alice.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", line}}).OK(t)
	}
	const who = " -N -B -e 'select current_user()'"
	env := s.alice.Tsh("db", "env").OK(t)
	if want := "export MYSQL_GROUP_SUFFIX=_" + s.group() + "\n"; env != want {
		t.Errorf("%q, want %q", env, want)
	}
	if out := shell(env + "mariadb" + who); out != "alice@%\n" {
		t.Errorf("env: %q", out)
	}
	line := strings.TrimSpace(s.alice.Tsh("db", "config", "--format=cmd", "stall-db").OK(t))
	contains(t, line, "--ssl-verify-server-cert")
	if out := shell(line + who); out != "alice@%\n" {
		t.Errorf("config: %q", out)
	}
	contains(t, s.alice.Tsh("db", "config").OK(t), "Name:     stall-db\nHost:     127.0.0.1\n", "\nUser:     alice\nDatabase: orders\n")
}

// goProgram is one that has the certificate's files and nothing of tsh.
func (s *stall) goProgram(t *testing.T) {
	ca, crt, key := s.files("stall-db")
	own, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = "alice", "tcp", s.port, "orders"
	config.TLS = &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: roots, ServerName: "127.0.0.1"}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var name string
	if err := db.QueryRow("select name from items where id = ?", 8).Scan(&name); err != nil || name != "item 8" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := db.Exec("insert into items values (3000, ?)", strings.Repeat("long", 1000)); err != nil {
		t.Error(err)
	}
	if r, err := db.Exec("delete from items where id = 3000"); err != nil {
		t.Error(err)
	} else if n, _ := r.RowsAffected(); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// mysql2 is npm's, by the certificate's files.
func (s *stall) mysql2(t *testing.T) {
	dir := cluster.NPM(t, "../../dbaccess/mysql/testdata/mysql2")
	ca, crt, key := s.files("stall-db")
	host, port, _ := strings.Cut(s.port, ":")
	write(t, filepath.Join(dir, "native.mjs"), fmt.Sprintf(`import fs from 'node:fs';
import mysql from 'mysql2/promise';
const ssl = {ca: fs.readFileSync('%s'), cert: fs.readFileSync('%s'), key: fs.readFileSync('%s')};
const c = await mysql.createConnection({host: '%s', port: %s, user: 'alice', database: 'orders', ssl});
const [rows] = await c.execute('select name from items where id = ?', [7]);
console.log('row', rows[0].name);
const other = await mysql.createConnection({host: '%s', port: %s, user: 'alice', ssl});
const sleeping = c.query('select sleep(600) as woken').then(([r]) => r[0].woken, (e) => e.code);
await new Promise((r) => setTimeout(r, 300));
for (let stopped = false; !stopped;) {
  await other.query('KILL QUERY ' + c.threadId);
  stopped = await Promise.race([sleeping.then(() => true), new Promise((r) => setTimeout(r, 500, false))]);
}
console.log('stopped', await sleeping);
await c.end(); await other.end();
`, ca, crt, key, host, port, host, port))
	r := cluster.Run(cluster.Command{Path: cluster.Need(t, "node", "nodejs"), Args: []string{"native.mjs"}, Dir: dir, Env: os.Environ()})
	if said := r.OK(t); !regexp.MustCompile(`^row item 7\nstopped (1|ER_QUERY_INTERRUPTED)\n$`).MatchString(said) {
		t.Errorf("%q", said)
	}
}

// cancels presses Ctrl-C in a mariadb that speaks with the proxy.
func (s *stall) cancels(t *testing.T, args ...string) {
	t.Helper()
	live := s.alice.Go(t, cluster.Need(t, "mariadb", "mariadb-client"), append(args, "-e", "select sleep(600)")...)
	s.sleeps(t, "1")
	if err := live.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	live.Wait(t)
	if said := live.Out.String() + live.Errs.String(); !strings.Contains(said, "Query execution was interrupted") && !strings.Contains(said, "query killed") {
		t.Errorf("%s", said)
	}
	s.sleeps(t, "0")
	s.queried(t, regexp.MustCompile(`^KILL QUERY [0-9]{1,9} *$`).MatchString, "which of the database's own connections was stopped")
}

// refusedNatively shows certificates that are not for what is asked, and none.
func (s *stall) refusedNatively(t *testing.T) {
	s.TctlIn(fmt.Sprintf("kind: db\nversion: v3\nmetadata: {name: second, labels: {env: test}}\nspec: {protocol: mysql, uri: 'localhost:%s'}\n", s.server.Port), "create", "-f").OK(t)
	s.TctlIn("kind: db\nversion: v3\nmetadata: {name: other-kind, labels: {env: test}}\nspec: {protocol: postgres, uri: 'localhost:1'}\n", "create", "-f").OK(t)
	for _, name := range []string{"second", "other-kind"} {
		cluster.Until(t, within, name, func() bool { return s.alice.Tsh("db", "login", name, "--db-user=nobody", "--db-name=copy").Code == 0 })
	}
	_, crt, key := s.files("second")
	_, pgCrt, pgKey := s.files("other-kind")
	_, own, _ := s.files("stall-db")
	cluster.Until(t, within, "the proxy to know the other kind", func() bool { // auth knew it first
		return !strings.Contains(s.native(t, "mariadb", "--ssl-cert="+pgCrt, "--ssl-key="+pgKey, "-e", "select 1").Stderr, "there is no database")
	})
	login := filepath.Join(s.alice.Home, ".tsh/keys/127.0.0.1/alice")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"another user":                    {[]string{"--user=nobody"}, "the certificate is for the database user alice"},
		"a certificate of another":        {[]string{"--ssl-cert=" + crt, "--ssl-key=" + key}, "the certificate is for the database user nobody"},
		"one of another kind of database": {[]string{"--ssl-cert=" + pgCrt, "--ssl-key=" + pgKey}, "the database other-kind speaks postgres"},
		"a stolen certificate, no key":    {[]string{"--ssl-cert=" + own, "--ssl-key=" + key}, "SSL error"},
		"no certificate":                  {[]string{"--ssl-cert=", "--ssl-key="}, "ERROR 20"},
		"the log-in's own certificate":    {[]string{"--ssl-cert=" + login + ".crt", "--ssl-key=" + login + ".key"}, "the certificate is not for one database"},
		"no TLS":                          {[]string{"--skip-ssl", "--skip-ssl-verify-server-cert"}, "this port is for TLS with a certificate"},
		"another name of the proxy":       {[]string{"--host=localhost"}, "ERROR 2026"},
		"an authority of somebody else's": {[]string{"--ssl-ca=" + filepath.Join(s.server.Dir, "server.cas")}, "ERROR 2026"},
		"files of this machine":           {[]string{"--local-infile=1", "-e", "load data local infile '/etc/hostname' into table items"}, "ERROR"},
	} {
		r := s.native(t, "mariadb", append(c.args, "-e", "select 1")...)
		if r.Code == 0 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: %s, want %q", name, r, c.want)
		}
	}
	for _, name := range []string{"second", "other-kind"} {
		s.alice.Tsh("db", "logout", name).OK(t)
	}
}

// passage opens tsh proxy db without a tunnel, through which mariadb shows its own
// certificate.
func (s *stall) passage(t *testing.T) {
	port := cluster.FreePort(t)
	live := s.alice.StartTsh(t, "proxy", "db", "stall-db", "--port="+port)
	live.WaitFor(t, "--port="+port)
	paste := regexp.MustCompile(`(?m)^  (mariadb .*)$`).FindStringSubmatch(live.Out.String())
	if paste == nil {
		t.Fatalf("nothing to paste: %s", live.Out)
	}
	if out := s.alice.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", paste[1] + " -N -B -e 'select current_user()'"}}).OK(t); out != "alice@%\n" {
		t.Errorf("%q", out)
	}
	s.cancels(t, "--defaults-group-suffix=_"+s.group(), "--port="+port)
	r := s.alice.Run(cluster.Command{Path: cluster.Need(t, "mariadb", "mariadb-client"), Args: []string{"--no-defaults", "--skip-ssl", "-h127.0.0.1", "-P" + port, "-ualice", "-e", "select 1"}}).Exit(t, 1)
	contains(t, r.Stderr, "this port is for TLS")
}

// TestACertificateOfMariaDBEnds: by its time, and by a lock; and nobody else's
// Ctrl-C ends what runs by it.
func TestACertificateOfMariaDBEnds(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	one := []string{"-N", "-B", "-e", "select 1"}
	s.alice.Login(t, "--ttl=1", "--force")
	s.logIn(t)
	if out := s.native(t, "mariadb", one...).OK(t); out != "1\n" {
		t.Errorf("%q", out)
	}
	bob := s.User(t, "bob", []string{"stall"}, nil) // who may be alice in the database too
	bob.Login(t)
	bob.Tsh("db", "login", "stall-db", "--db-user=alice").OK(t)
	aMinuteLater(t, func(t *testing.T) {
		var r cluster.Result
		cluster.Until(t, within, "the end of the certificate", func() bool { r = s.native(t, "mariadb", one...); return r.Code != 0 })
		contains(t, r.Stderr, "ERROR 1045 (28000)", "expired")
		s.alice.Login(t)
		s.logIn(t)
		live := s.alice.Go(t, cluster.Need(t, "mariadb", "mariadb-client"), "--defaults-group-suffix=_"+s.group(), "--unbuffered", "-e", "status; select 1; select sleep(600)")
		live.WaitFor(t, "Connection id:")
		s.sleeps(t, "1")
		number := regexp.MustCompile(`Connection id:\s+(\d{10})`).FindStringSubmatch(live.Out.String())
		if number == nil {
			t.Fatalf("%s", live.Out)
		}
		theirs := bob.Run(cluster.Command{Path: cluster.Need(t, "mariadb", "mariadb-client"), Args: []string{"--defaults-group-suffix=_" + s.group(), "-e", "KILL QUERY " + number[1]}}).Exit(t, 1)
		contains(t, theirs.Stderr, "Unknown thread id: "+number[1])
		s.sleeps(t, "1")
		s.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
		live.Wait(t)
		contains(t, live.Errs.String(), "laptop stolen")
		s.sleeps(t, "0")
		contains(t, s.native(t, "mariadb", one...).Exit(t, 1).Stderr, "laptop stolen")
	})
}

// TestTheGuideOfMySQL does what docs/mysql.md says of programs without tsh.
func TestTheGuideOfMySQL(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/mysql.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStall(t)
	tunnel, raw := cluster.FreePort(t), cluster.FreePort(t)
	g := &guide{t, string(page), []string{"shop-db", "stall-db", "example.com", s.Name, "--port=3307", "--port=" + tunnel, "--port=3308", "--port=" + raw}}
	work := func(line string) string {
		t.Helper()
		return s.alice.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", line}}).OK(t)
	}
	contains(t, work(g.line("tsh db ls")), "stall-db")
	contains(t, work(g.line("tsh db connect shop-db --db-user=alice -- --batch")), "1\n1\n")
	s.alice.Go(t, "/bin/sh", "-c", "exec "+g.line("tsh proxy db shop-db --tunnel")).WaitFor(t, "127.0.0.1:"+tunnel)
	contains(t, work("mariadb --no-defaults --skip-ssl -h127.0.0.1 -P"+tunnel+" -ualice -e 'select current_user()'"), "alice@%")
	contains(t, work(g.line("tsh db login")), g.line("mariadb --defaults"))
	contains(t, work(g.line("mariadb --defaults")+" -e 'select current_user(), database()'"), "alice@%\torders")
	work(g.line("mariadb-dump"))
	if dump, err := os.ReadFile(filepath.Join(s.alice.Home, "orders.sql")); err != nil || !strings.Contains(string(dump), "CREATE TABLE `items`") {
		t.Errorf("%v: %.500s", err, dump)
	}
	contains(t, work(g.line("eval")+"\nmariadb -e 'select current_user()'"), "alice@%")
	contains(t, work(g.line("tsh db config shop-db")), "Name:     stall-db\n")
	contains(t, work(g.line("tsh db config --format=cmd")), "mariadb ", "--ssl-verify-server-cert")
	s.alice.Go(t, "/bin/sh", "-c", "exec "+g.line("tsh proxy db shop-db --port=3308")).WaitFor(t, "127.0.0.1:"+raw)
	contains(t, work(g.line("tsh db logout")), "Logged out of the database stall-db.")
}
