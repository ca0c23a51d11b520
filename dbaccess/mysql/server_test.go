package mysql_test

import (
	"os"
	"sync"
	"testing"

	"teleport/dbaccess/dbtest"
	"teleport/test/myserver"
	"teleport/types"
)

// setUp is what each test finds in the server. nobody is a user that the server
// does not know, carol one that has to show another's certificate.
const setUp = `drop database if exists shop; drop database if exists attic; create database shop; create database attic;
create or replace user 'alice'@'%' require subject '/CN=alice'; create or replace user 'carol'@'%' require subject '/CN=somebody else';
grant all on *.* to 'alice'@'%';
use shop; create table t (id int primary key, name varchar(40)); insert into t select seq, concat('row ', seq) from seq_1_to_100;
delimiter //
create procedure twice() begin select 1; select 2; end//
`

// shared is the server of all tests of this package: to make one takes seconds.
var shared struct {
	once   sync.Once
	pki    *dbtest.PKI
	server *myserver.Server
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	os.Exit(code)
}

// startServer returns a MariaDB which lets in whoever has a certificate of the
// users' authority for a user that asks for it.
func startServer(t testing.TB) (*dbtest.PKI, types.DatabaseSpec) {
	t.Helper()
	shared.once.Do(func() {
		s := myserver.New(t)
		shared.pki, shared.server = dbtest.NewPKI(t), s
		crt, key := shared.pki.Server(t)
		s.Kill()
		s.Run(t, "--ssl-ca="+s.File(t, "users.crt", string(shared.pki.Users.PEM())), "--ssl-cert="+s.File(t, "server.crt", crt), "--ssl-key="+s.File(t, "server.key", key))
	})
	if shared.server == nil {
		t.Fatal("there is no server: the first test says why")
	}
	shared.server.SQL(t, setUp)
	return shared.pki, types.DatabaseSpec{Protocol: "mysql", URI: "127.0.0.1:" + shared.server.Port, TLS: types.DatabaseTLS{ServerName: dbtest.ServerName}}
}
