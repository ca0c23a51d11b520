package postgres_test

import (
	"fmt"
	"testing"

	"teleport/dbaccess/dbtest"
	"teleport/test/pgserver"
	"teleport/types"
)

// peer is a server of a test, and the authorities that it and its users have.
type peer struct {
	*dbtest.PKI
	run *pgserver.Server
}

// sleeping counts the statements that sleep in the server.
func (p *peer) sleeping(t testing.TB) string {
	return p.run.SQL(t, "postgres", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'")
}

// startServer runs a PostgreSQL of its own for the test, which lets in whoever
// has a certificate of the users' authority.
func startServer(t testing.TB) (*peer, types.DatabaseSpec) {
	t.Helper()
	p := &peer{PKI: dbtest.NewPKI(t)}
	crt, key := p.Server(t)
	s := pgserver.Start(t)
	p.run = s
	s.SQL(t, "postgres", "create role alice login; create role mallory login; create table t (id int primary key, name text);"+
		"insert into t select i, 'row '||i from generate_series(1,100) i; grant all on t to alice;")
	s.Kill()
	s.Configure(t, "hostssl all all 127.0.0.1/32 cert", fmt.Sprintf("ssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\nssl_ca_file = '%s'",
		s.File(t, "server.crt", crt),
		s.File(t, "server.key", key), s.File(t, "users.crt", string(p.Users.PEM()))))
	s.Run(t)
	return p, types.DatabaseSpec{Protocol: "postgres", URI: "127.0.0.1:" + s.Port, TLS: types.DatabaseTLS{ServerName: dbtest.ServerName}}
}
