package dbclient_test

import (
	"strings"
	"testing"

	"teleport/client/dbclient"
	"teleport/fault"
)

func TestArgv(t *testing.T) {
	files := &dbclient.Files{CA: "/h/ca.pem", Cert: "/h/db.crt", Key: "/h/db.key", ServerName: "proxy.example"}
	named := &dbclient.Files{CA: "/h/ca.pem", Cert: "/h/db.crt", Key: "/h/db.key", ServerName: "127.0.0.1"}
	with := func(programs ...string) func(string) bool {
		return func(p string) bool { return strings.Contains(strings.Join(programs, " "), p) }
	}
	tunnel := dbclient.Target{Name: "db", User: "alice", Database: "shop", Addr: "127.0.0.1:5433"}
	for name, c := range map[string]struct {
		protocol  string
		files     *dbclient.Files
		installed func(string) bool
		want      string
	}{
		"postgres, a tunnel":  {"postgres", nil, with(), "psql|host=127.0.0.1 port=5433 user=alice dbname=shop sslmode=disable"},
		"postgres, its own":   {"postgres", files, with(), "psql|host=proxy.example hostaddr=127.0.0.1 port=5433 user=alice dbname=shop sslmode=verify-full sslrootcert=/h/ca.pem sslcert=/h/db.crt sslkey=/h/db.key"},
		"cockroach":           {"cockroachdb", nil, with("cockroach"), "cockroach|sql|--url|postgres://alice@127.0.0.1:5433/shop?sslmode=disable"},
		"cockroach by psql":   {"cockroachdb", nil, with(), "psql|host=127.0.0.1 port=5433 user=alice dbname=shop sslmode=disable"},
		"MariaDB's":           {"mysql", nil, with("mariadb"), "mariadb|--skip-ssl|--protocol=TCP|--host=127.0.0.1|--port=5433|--user=alice|--database=shop"},
		"MySQL's":             {"mysql", nil, with(), "mysql|--ssl-mode=DISABLED|--protocol=TCP|--host=127.0.0.1|--port=5433|--user=alice|--database=shop"},
		"MariaDB's, its own":  {"mysql", files, with("mariadb"), "mariadb|--ssl-ca=/h/ca.pem|--ssl-cert=/h/db.crt|--ssl-key=/h/db.key|--skip-ssl-verify-server-cert|--protocol=TCP|--host=127.0.0.1|--port=5433|--user=alice|--database=shop"},
		"MySQL's, named":      {"mysql", named, with(), "mysql|--ssl-ca=/h/ca.pem|--ssl-cert=/h/db.crt|--ssl-key=/h/db.key|--ssl-mode=VERIFY_IDENTITY|--protocol=TCP|--host=127.0.0.1|--port=5433|--user=alice|--database=shop"},
		"redis":               {"redis", nil, with(), "redis-cli|-h|127.0.0.1|-p|5433|-n|shop"},
		"redis, its own":      {"redis", files, with(), "redis-cli|-h|127.0.0.1|-p|5433|--tls|--cacert|/h/ca.pem|--cert|/h/db.crt|--key|/h/db.key|-n|shop"},
		"dynamodb":            {"dynamodb", nil, with(), "aws|--endpoint-url|http://127.0.0.1:5433"},
		"one that is unknown": {"oracle", nil, with(), ""},
	} {
		x := tunnel
		x.Protocol, x.Files = c.protocol, c.files
		argv, err := x.Argv(c.installed)
		if got := strings.Join(argv, "|"); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
}

// What people call their users must not become an option of its own.
func TestNamesStayValues(t *testing.T) {
	x := dbclient.Target{Protocol: "postgres", User: `a' sslmode='disable\`, Database: "my db", Addr: "127.0.0.1:1",
		Files: &dbclient.Files{CA: "/h/c a", Cert: "/h/crt", Key: "/h/key", ServerName: "127.0.0.1"}}
	argv, err := x.Argv(func(string) bool { return false })
	if want := `host=127.0.0.1 port=1 user='a\' sslmode=\'disable\\' dbname='my db' sslmode=verify-full sslrootcert='/h/c a' sslcert=/h/crt sslkey=/h/key`; err != nil || argv[1] != want {
		t.Errorf("%s, want %s", argv[1], want)
	}
	if got, want := x.URL(), "postgres://a%27%20sslmode=%27disable%5C@127.0.0.1:1/my%20db?sslcert=%2Fh%2Fcrt&sslkey=%2Fh%2Fkey&sslmode=verify-ca&sslrootcert=%2Fh%2Fc%20a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	none := func(string) bool { return false }
	if lines, err := x.ServiceLines(none); err != nil || strings.Join(lines[0][:4], "|") != `host=127.0.0.1|port=1|user=a' sslmode='disable\|dbname=my db` {
		t.Errorf("%q %v", lines, err)
	}
	for _, bad := range []string{"a\nsslmode=disable", " a", "a\x00"} {
		x.User = bad
		if _, err := x.ServiceLines(none); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestGroupsOfMySQL(t *testing.T) {
	x := dbclient.Target{Protocol: "mysql", User: `a#"b\`, Addr: "proxy.example:3036", Files: &dbclient.Files{CA: "/h/my ca", Cert: "/h/crt", Key: "/h/key", ServerName: "proxy.example"}}
	for program, want := range map[string]string{"mariadb": "ssl-verify-server-cert", "mysql": "ssl-mode=VERIFY_IDENTITY"} {
		installed := func(p string) bool { return p == program }
		svc, ok := dbclient.ServiceOf("mysql", "c-db", installed)
		if got := strings.Join(svc.Argv, " "); !ok || got != program+" --defaults-group-suffix=_c-db" || svc.Setting != [2]string{"MYSQL_GROUP_SUFFIX", "_c-db"} || x.Env() != nil {
			t.Errorf("%+v", svc)
		}
		for database, second := range map[string]string{"": "", "shop": "database=shop"} {
			x.Database = database
			lines, err := x.ServiceLines(installed)
			if err != nil || len(lines) != len(svc.Sections) || strings.Join(lines[1], "|") != second {
				t.Fatalf("%q %v", lines, err)
			}
			if got := strings.Join(lines[0], "|"); got != `protocol=TCP|host=proxy.example|port=3036|user="a#\"b\\"|ssl-ca="/h/my ca"|ssl-cert=/h/crt|ssl-key=/h/key|`+want {
				t.Errorf("%s", got)
			}
		}
	}
	x.User = "a\nskip-ssl"
	if _, err := x.ServiceLines(func(string) bool { return false }); fault.KindOf(err) != fault.Invalid {
		t.Errorf("%v", err)
	}
	if _, ok := dbclient.ServiceOf("redis", "c-db", func(string) bool { return true }); ok {
		t.Error("redis has services")
	}
}

func TestEnv(t *testing.T) {
	x := dbclient.Target{Protocol: "postgres", User: "alice", Addr: "proxy.example:443", Files: &dbclient.Files{CA: "ca", Cert: "crt", Key: "key", ServerName: "proxy.example"}}
	var got []string
	for _, kv := range x.Env() {
		got = append(got, kv[0]+"="+kv[1])
	}
	if want := "PGHOST=proxy.example PGPORT=443 PGUSER=alice PGDATABASE=alice PGSSLMODE=verify-full PGSSLROOTCERT=ca PGSSLCERT=crt PGSSLKEY=key"; strings.Join(got, " ") != want {
		t.Errorf("%s", got)
	}
}

func TestBatch(t *testing.T) {
	x := dbclient.Target{User: "alice", Database: "shop", Addr: "127.0.0.1:5433"}
	for protocol, want := range map[string]string{
		"postgres": "psql|--no-psqlrc|--no-password|--set=ON_ERROR_STOP=1|--command=-- select 1|--dbname=host=127.0.0.1 port=5433 user=alice dbname=shop sslmode=disable",
		"mysql":    "mariadb|--no-defaults|--skip-ssl|--protocol=TCP|--host=127.0.0.1|--port=5433|--user=alice|--database=shop|--table|--execute=-- select 1",
		"redis":    "",
	} {
		x.Protocol = protocol
		argv, err := x.Batch("-- select 1", func(string) bool { return true })
		if got := strings.Join(argv, "|"); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s %v", protocol, got, err)
		}
	}
}
