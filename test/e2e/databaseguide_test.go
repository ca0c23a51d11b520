package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"teleport/test/cluster"
	"teleport/test/pgserver"
)

// guide is a page of docs/ that a test follows to the letter.
type guide struct {
	t       *testing.T
	text    string
	replace []string // names of the page by those of the test
}

// block returns the block of code that has a line which begins so.
func (g *guide) block(begins string) string {
	g.t.Helper()
	for _, part := range strings.Split(g.text, "\n\n") {
		if !strings.HasPrefix(part, "    ") || !strings.Contains("\n"+part, "\n    "+begins) {
			continue
		}
		return strings.NewReplacer(g.replace...).Replace(strings.ReplaceAll("\n"+part, "\n    ", "\n"))
	}
	g.t.Fatalf("the page has no block with %q", begins)
	return ""
}

// line returns one line of code.
func (g *guide) line(begins string) string {
	g.t.Helper()
	here := strings.NewReplacer(g.replace...).Replace(begins)
	for _, l := range strings.Split(g.block(begins), "\n") {
		if strings.HasPrefix(l, here) {
			return l
		}
	}
	g.t.Fatalf("the page has no line %q", begins)
	return ""
}

// TestTheGuideOfDatabases does what docs/databases.md says.
func TestTheGuideOfDatabases(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{Cluster: cluster.New(t, cluster.Opts{}), server: pgserver.Start(t)}
	port, raw, out := cluster.FreePort(t), cluster.FreePort(t), filepath.Join(s.server.Dir, "server")
	g := &guide{t, string(page), []string{"db.example.com:5432", "localhost:" + s.server.Port, "archive.example.com:5432", "localhost:" + s.server.Port,
		"--host=db.example.com", "--host=localhost", "--out=server", "--out=" + out, "'server.", "'" + out + ".", "shop.yaml", filepath.Join(s.Dir, "shop.yaml"),
		"proxy.example.com:443", s.ProxyAddr(), "5433", port, "5434", raw, "example.com-orders", s.Name + "-orders", "PIN", s.CAPin(t), "TOKEN", s.Token(t, "db")}}
	admin := func(line string) string {
		t.Helper()
		return cluster.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", line}, Dir: s.Dir,
			Env: []string{"PATH=" + s.Bin() + ":/usr/bin:/bin", "HOME=" + s.Dir, "TELEPORT_CONFIG_FILE=" + s.Auth.ConfigPath}}).OK(t)
	}

	said := admin(g.line("tctl auth sign"))
	for _, name := range []string{".key", ".crt", ".cas"} {
		s.server.Own(t, out+name)
	}
	for _, l := range strings.Split(g.block("ssl = on")+g.block("hostssl all"), "\n") {
		contains(t, said, l) // tctl prints the lines of the page
	}
	s.server.SQL(t, "postgres", g.line("CREATE ROLE")+" create database shop owner alice;")
	s.server.Kill()
	s.server.Configure(t, g.block("hostssl all"), g.block("ssl = on"))
	s.server.Run(t)

	s.alice = s.User(t, "alice", []string{"access"}, nil)
	write(t, filepath.Join(s.Dir, "shop.yaml"), g.block("kind: role"))
	admin(g.line("tctl create"))
	admin(g.line("tctl users update"))
	contains(t, admin(g.line("tctl tokens add --type=db")), "oken")
	s.agent = s.AddAgent(t, "db-agent", func(d cluster.Doc) {
		var conf cluster.Doc
		if err := yaml.Unmarshal([]byte(g.block("version: v3\n    teleport:")), &conf); err != nil {
			t.Fatal(err)
		}
		clear(d)
		maps.Copy(d, conf)
	})
	s.TctlIn(g.block("kind: db"), "create", "-f").OK(t)

	s.alice.Login(t)
	reached(t, s.alice, "orders")
	work := func(line string) string {
		t.Helper()
		return s.alice.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", line}}).OK(t)
	}
	contains(t, work(g.line("tsh db ls")), "orders", "env=prod", "Orders of the shop")
	contains(t, work(g.line("tsh db connect orders --db-user=alice --db-name=shop -- -c")), "1 row")
	live := s.alice.Go(t, "/bin/sh", "-c", "exec "+g.line("tsh proxy db orders --tunnel"))
	live.WaitFor(t, "127.0.0.1:"+port)
	contains(t, work(g.line("psql \"host")+` -c "create table items as select generate_series(1,10) id"`), "SELECT 10")
	work(g.line("pg_dump -h"))
	if dump, err := os.ReadFile(filepath.Join(s.alice.Home, "shop.sql")); err != nil || !strings.Contains(string(dump), "COPY public.items") {
		t.Errorf("%v: %.500s", err, dump)
	}
	contains(t, work(g.line("tsh db login")), g.line("psql service"))
	contains(t, work(g.line("psql service")+` -c "select count(*) from items"`), "10")
	work(g.line("pg_dump -d service"))
	contains(t, work(g.block(`eval "$(tsh db env`)+"\npsql -c 'select current_user'"), "alice", "Name:     orders\n")
	contains(t, work(g.line("tsh db ls")), "> orders", g.line("psql service"))
	contains(t, work(strings.Replace(g.line("tsh db exec"), "orders,archive", "orders --no-confirm", 1)), "orders:     10\n")
	passage := s.alice.Go(t, "/bin/sh", "-c", "exec "+g.line("tsh proxy db orders --port"))
	passage.WaitFor(t, "127.0.0.1:"+raw)
	r := s.alice.Tsh("db", "connect", "orders", "--db-user=root", "--db-name=shop").Exit(t, 2)
	contains(t, r.Stderr, strings.TrimSuffix(g.line("FATAL:"), "; …"))
	contains(t, admin(g.line("tctl access explain")), "DENIED: alice, database on db/orders as root, in its database shop", "has root in db_users")
	s.Events(t, 2, "db.session.query", "alice")
	contains(t, admin(g.line("tctl audit ls")), "db.session.query", "alice")
	admin(g.line("tctl lock"))
	cluster.Until(t, within, "the lock", func() bool {
		r := s.alice.Tsh("db", "ls")
		return r.Code == 4 && strings.Contains(r.Stderr, "laptop stolen")
	})
}
