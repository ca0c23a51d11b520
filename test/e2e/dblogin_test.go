package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

// native runs a real psql at the proxy's port, without tsh.
func (s *shop) native(t *testing.T, conninfo string, args ...string) cluster.Result {
	t.Helper()
	return s.run(t, "", "psql", "postgresql-client-15", append([]string{conninfo, "-X", "-A", "-t"}, args...)...)
}

// databaseFiles are those of alice's certificate.
func (s *shop) databaseFiles(database string) (crt, key string) {
	base := filepath.Join(s.alice.Home, ".tsh", "keys", "127.0.0.1", "alice-db", s.Name, database)
	return base + ".crt", base + ".key"
}

// TestPsqlWithoutTsh logs in to a database, and leaves the rest to psql.
func TestPsqlWithoutTsh(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	file, section := filepath.Join(s.alice.Home, ".pg_service.conf"), s.Name+"-orders-db"
	mine := "# mine\n[other]\nhost=db.example.com"
	write(t, file, mine)
	contains(t, s.alice.Tsh("db", "login", "orders-db").Exit(t, 2).Stderr, "--db-user")
	contains(t, s.alice.Tsh("db", "login", "orders-db", "--db-user=alice", "--db-name=orders").OK(t), "Logged in to orders-db (postgres) as alice in orders, until ", "  psql service="+section)
	if got, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(got), mine+"\n\n["+section+"]\n") {
		t.Errorf("%v %s", err, got)
	}
	contains(t, s.alice.Tsh("db", "ls").OK(t), "> orders-db postgres", "\n  psql service="+section)
	if out := s.native(t, "service="+section, "-c", "select current_user, current_database()").OK(t); out != "alice|orders\n" {
		t.Errorf("%q", out)
	}
	t.Run("the printed forms", func(t *testing.T) { s.printedForms(t) })
	t.Run("modes", func(t *testing.T) { s.privateFiles(t) })
	t.Run("Ctrl-C", func(t *testing.T) { s.cancelsNatively(t, "service="+section) })
	t.Run("refused", func(t *testing.T) { s.refusedNatively(t, section) })
	t.Run("a passage", func(t *testing.T) { s.passage(t) })
	contains(t, s.alice.Tsh("db", "logout", "orders-db").OK(t), "Logged out of the database orders-db.")
	if got, err := os.ReadFile(file); err != nil || string(got) != mine+"\n" {
		t.Errorf("%v %q", err, got)
	}
	contains(t, s.native(t, "service="+section).Exit(t, 2).Stderr, "definition of service")
	s.alice.Tsh("db", "logout", "orders-db").Exit(t, 5)
	s.alice.Tsh("db", "login", "orders-db", "--db-user=alice", "--db-name=orders").OK(t)
	contains(t, s.alice.Tsh("logout").OK(t), "Logged out of the database orders-db.")
	crt, key := s.databaseFiles("orders-db")
	for _, path := range []string{crt, key} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// printedForms are the lines of tsh db env and config.
func (s *shop) printedForms(t *testing.T) {
	shell := func(line string) string {
		t.Helper()
		return s.run(t, "", "sh", "dash", "-c", line).OK(t)
	}
	const who = " -X -A -t -c 'select current_user'"
	if out := shell(s.alice.Tsh("db", "env").OK(t) + "\npsql" + who); out != "alice\n" {
		t.Errorf("env: %q", out)
	}
	if out := shell(strings.TrimSpace(s.alice.Tsh("db", "config", "--format=cmd", "orders-db").OK(t)) + who); out != "alice\n" {
		t.Errorf("config: %q", out)
	}
	contains(t, s.alice.Tsh("db", "env", "--format=json").OK(t), `"PGSSLMODE": "verify-full"`)
	contains(t, s.alice.Tsh("db", "config").OK(t), "Name:     orders-db\nHost:     127.0.0.1\n", "\nUser:     alice\nDatabase: orders\n")
	contains(t, s.alice.Tsh("db", "config", "--format=yaml").OK(t), "name: orders-db", "user: alice")
	contains(t, s.alice.Tsh("db", "connect", "--", "-X", "-A", "-t", "-c", "select current_user").OK(t), "alice")
}

// privateFiles looks at the modes of what was written.
func (s *shop) privateFiles(t *testing.T) {
	crt, key := s.databaseFiles("orders-db")
	for path, want := range map[string]os.FileMode{crt: 0o600, key: 0o600, filepath.Dir(key): 0o700, filepath.Dir(filepath.Dir(key)): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
}

// cancelsNatively presses Ctrl-C in a psql that speaks with the proxy's port.
func (s *shop) cancelsNatively(t *testing.T, conninfo string) {
	live := s.alice.Go(t, cluster.Need(t, "psql", "postgresql-client-15"), conninfo, "-X", "-c", "select pg_sleep(600)")
	s.sleeps(t, "1")
	if err := live.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	live.Wait(t)
	contains(t, live.Errs.String(), "canceling statement due to user request")
	s.sleeps(t, "0")
}

// refusedNatively shows certificates that are not for what is asked.
func (s *shop) refusedNatively(t *testing.T, section string) {
	s.TctlIn(fmt.Sprintf("kind: db\nversion: v3\nmetadata: {name: second, labels: {env: test, team: shop}}\nspec: {protocol: postgres, uri: 'localhost:%s'}\n", s.server.Port), "create", "-f").OK(t)
	cluster.Until(t, within, "the second database", func() bool {
		return s.alice.Tsh("db", "login", "second", "--db-user=alice", "--db-name=copy").Code == 0
	})
	contains(t, s.alice.Tsh("db", "env").Exit(t, 5).Stderr, "several databases", "orders-db", "second")
	crt, key := s.databaseFiles("second")
	for name, c := range map[string]struct{ conninfo, want string }{
		"another user":                     {"service=" + section + " user=bob", "the certificate is for the database user alice"},
		"another database within":          {"service=" + section + " dbname=copy", "the certificate is for the database name orders"},
		"a certificate of another":         {"service=" + section + " sslcert=" + crt + " sslkey=" + key, "the certificate is for the database name copy"},
		"a stolen certificate, no key":     {"service=" + section + " sslkey=" + key, "key values mismatch"},
		"no certificate":                   {"service=" + section + " sslcert=/nonexistent sslkey=/nonexistent", "certificate required"},
		"the log-in's own certificate":     {"service=" + section + " sslcert=" + filepath.Join(s.alice.Home, ".tsh/keys/127.0.0.1/alice.crt") + " sslkey=" + filepath.Join(s.alice.Home, ".tsh/keys/127.0.0.1/alice.key"), "the certificate is not for one database"},
		"no TLS":                           {"service=" + section + " sslmode=disable", "server closed the connection"},
		"another name of the proxy":        {"service=" + section + " host=db.example.com", "does not match host name"},
		"an authority of somebody else's":  {"service=" + section + " sslrootcert=" + filepath.Join(s.server.Dir, "server.cas"), "certificate verify failed"},
		"a role that does not allow it":    {"service=" + section + " user=postgres", "the certificate is for the database user alice"},
		"GSSAPI is asked for, and refused": {"service=" + section + " gssencmode=require", "GSS"},
	} {
		r := s.native(t, c.conninfo, "-c", "select 1")
		if r.Code != 2 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: %s, want %q", name, r, c.want)
		}
	}
	s.alice.Tsh("db", "logout", "second").OK(t)
}

// passage opens tsh proxy db without a tunnel, through which psql shows its own
// certificate.
func (s *shop) passage(t *testing.T) {
	port := cluster.FreePort(t)
	live := s.alice.StartTsh(t, "proxy", "db", "orders-db", "--port="+port)
	live.WaitFor(t, "postgres://")
	paste := regexp.MustCompile(`(?m)^  (psql .*)\n  (postgres://.*)$`).FindStringSubmatch(live.Out.String())
	if paste == nil {
		t.Fatalf("nothing to paste: %s", live.Out)
	}
	for _, line := range []string{paste[1], "psql '" + paste[2] + "'"} {
		if out := s.run(t, "", "sh", "dash", "-c", line+" -X -A -t -c 'select current_user'").OK(t); out != "alice\n" {
			t.Errorf("%s: %q", line, out)
		}
	}
	s.cancelsNatively(t, paste[2])
	contains(t, s.run(t, "", "psql", "postgresql-client-15", "host=127.0.0.1 port="+port+" user=alice dbname=orders sslmode=disable").Exit(t, 2).Stderr, "this port is for TLS")
}

// TestACertificateOfADatabaseEnds: by its time, and by a lock.
func TestACertificateOfADatabaseEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	section := "service=" + s.Name + "-orders-db"
	s.alice.Login(t, "--ttl=1", "--force")
	s.alice.Tsh("db", "login", "orders-db", "--db-user=alice", "--db-name=orders").OK(t)
	if out := s.native(t, section, "-c", "select 1").OK(t); out != "1\n" {
		t.Errorf("%q", out)
	}
	aMinuteLater(t, func(t *testing.T) {
		var r cluster.Result
		cluster.Until(t, within, "the end of the certificate", func() bool { r = s.native(t, section, "-c", "select 1"); return r.Code != 0 })
		contains(t, r.Stderr, "expired")
		s.alice.Login(t)
		s.alice.Tsh("db", "login", "orders-db", "--db-user=alice", "--db-name=orders").OK(t)
		live := s.alice.Go(t, cluster.Need(t, "psql", "postgresql-client-15"), section, "-X", "-c", "select pg_sleep(600)")
		s.sleeps(t, "1")
		s.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
		live.Wait(t)
		contains(t, live.Errs.String(), "laptop stolen")
		s.sleeps(t, "0")
		contains(t, s.native(t, section, "-c", "select 1").Exit(t, 2).Stderr, "laptop stolen")
	})
}
