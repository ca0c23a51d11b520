package native_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"teleport/cert/certtest"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/proxy/native"
	"teleport/session"
	"teleport/types"
)

const everything = mysqlwire.LongPassword | mysqlwire.FoundRows | mysqlwire.ConnectWithDB | mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.MultiStatements |
	mysqlwire.MultiResults | mysqlwire.PSMultiResults | mysqlwire.PluginAuth | mysqlwire.ConnectAttrs | mysqlwire.LongAuth | mysqlwire.DeprecateEOF

// speaker is what an agent says to a client of MySQL.
type speaker struct {
	capabilities mysqlwire.Capability
	greeting     []byte   // in place of its own
	rounds       [][]byte // what it says before its last word
	answers      int      // of which the client answers these, the first of them
	last         []byte   // nil: OK
	asleep       chan struct{}

	mu     sync.Mutex
	logins []*mysqlwire.Login
	said   [][]byte // by clients, after the login
}

func (s *speaker) serve(c net.Conn) {
	g := mysqlwire.Greeting{Version: "10.11.6-MariaDB", ConnectionID: 12, Nonce: bytes.Repeat([]byte("n"), mysqlwire.NonceSize), Capabilities: s.capabilities, Plugin: mysqlwire.NativePassword}
	greeting := g.Append(nil)
	if s.greeting != nil {
		greeting = s.greeting
	}
	if _, err := c.Write(mysqlwire.Append(nil, 0, greeting)); err != nil {
		return
	}
	b, sequence, err := mysqlwire.ReadLogin(c)
	if err != nil || sequence != 1 {
		return
	}
	l, err := mysqlwire.ParseLogin(b)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.logins = append(s.logins, l)
	s.mu.Unlock()
	for i, r := range s.rounds {
		sequence++
		if _, err := c.Write(mysqlwire.Append(nil, sequence, r)); err != nil {
			return
		}
		if i >= s.answers {
			continue
		}
		want := sequence + 1
		if b, sequence, err = mysqlwire.ReadLogin(c); err != nil || sequence != want {
			return
		}
		s.note(b)
	}
	last := s.last
	if last == nil {
		last = mysqlwire.OK{Status: mysqlwire.StatusAutocommit}.Append(nil)
	}
	if _, err := c.Write(mysqlwire.Append(nil, sequence+1, last)); err == nil && last[0] == mysqlwire.HeadOK {
		s.commands(c)
	}
}

func (s *speaker) note(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, bytes.Clone(b))
}

// commands answers each with an OK, and one that says "sleep" never.
func (s *speaker) commands(c net.Conn) {
	for {
		b, sequence, err := mysqlwire.ReadLogin(c)
		if err != nil || sequence != 0 || len(b) == 0 || mysqlwire.Command(b[0]) == mysqlwire.Quit {
			return
		}
		s.note(b)
		if bytes.HasSuffix(b, []byte("sleep")) {
			s.asleep <- struct{}{}
			continue
		}
		if _, err := c.Write(mysqlwire.Append(nil, 1, mysqlwire.OK{Status: mysqlwire.StatusAutocommit}.Append(nil))); err != nil {
			return
		}
	}
}

// newMySQL is a world whose agent speaks MySQL.
func newMySQL(t *testing.T, s *speaker) *world {
	w := newWorld(t)
	if s.capabilities == 0 {
		s.capabilities = everything
	}
	s.asleep = make(chan struct{}, 100)
	w.agent.mysql = s
	return w
}

func (w *world) openMySQL(t *testing.T, own *tls.Certificate) *sql.DB {
	t.Helper()
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = "alice", "tcp", w.mysql, "orders"
	config.TLS = &tls.Config{InsecureSkipVerify: true}
	if own != nil {
		config.TLS.Certificates = []tls.Certificate{*own}
	}
	config.ConnectionAttributes, config.MultiStatements, config.Logger = "who:me", true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

func (w *world) pingMySQL(t *testing.T, own *tls.Certificate) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return w.openMySQL(t, own).PingContext(ctx)
}

func TestAClientOfMySQLWithoutTsh(t *testing.T) {
	s := &speaker{}
	w := newMySQL(t, s)
	db := w.openMySQL(t, w.shop())
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("do 1"); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logins[0]
	number, err := strconv.ParseUint(l.Attribute(mysqlwire.NumberAttribute), 10, 32)
	if l.User != "alice" || l.Database != "orders" || l.Attribute("who") != "me" || err != nil || number < mysqlwire.FirstNumber {
		t.Errorf("the agent heard %+v, %v", l, err)
	}
	if l.Capabilities&(mysqlwire.DeprecateEOF|mysqlwire.SSL|mysqlwire.SessionTrack) != 0 {
		t.Errorf("capabilities %#x", l.Capabilities)
	}
	if len(s.said) != 1 || string(s.said[0]) != "\x03do 1" {
		t.Errorf("said %q", s.said)
	}
	if id := w.agent.seen[0]; id.Name != "alice" || id.Authority.ProxyUUID != proxyID || id.Authority.Route.Name != "shop" {
		t.Errorf("the agent saw %+v", id)
	}
}

// TestALoginOfSeveralRounds counts as each side does, whatever the agent wants.
func TestALoginOfSeveralRounds(t *testing.T) {
	other := (&mysqlwire.Switch{Plugin: mysqlwire.NativePassword, Data: []byte("01234567890123456789")}).Append(nil)
	denied := mysqlwire.Err{Code: 1045, State: "28000", Message: "access denied: no role"}.Append(nil)
	for name, c := range map[string]struct {
		s    *speaker
		code uint16 // 0: it is let in
		want string
	}{
		"at once":                {&speaker{}, 0, ""},
		"another way":            {&speaker{rounds: [][]byte{other}, answers: 1}, 0, ""},
		"caching_sha2, known":    {&speaker{rounds: [][]byte{{1, 3}}}, 0, ""},
		"in place of a greeting": {&speaker{greeting: denied}, 1045, "access denied: no role"},
		"after the login":        {&speaker{last: denied}, 1045, "access denied: no role"},
		"after another way":      {&speaker{rounds: [][]byte{other}, answers: 1, last: denied}, 1045, "access denied: no role"},
		"rubbish for a greeting": {&speaker{greeting: []byte("rubbish")}, 1835, "version"},
		"rubbish for an answer":  {&speaker{last: []byte("rubbish")}, 1105, "cannot be read"},
		"an old server":          {&speaker{capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.PluginAuth}, 1235, "lacks what MySQL's servers have"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newMySQL(t, c.s)
			err := w.pingMySQL(t, w.shop())
			var said *mysql.MySQLError
			if c.code == 0 {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &said) || said.Number != c.code || !strings.Contains(said.Message, c.want) {
				t.Errorf("%v, want %d %s", err, c.code, c.want)
			}
		})
	}
}

func TestWhoIsRefusedByMySQL(t *testing.T) {
	s := &speaker{}
	w := newMySQL(t, s)
	expired := certtest.User("alice", clusterName, time.Now())
	expired.Authority.Route, expired.IssuedAt = types.DatabaseRoute{User: "alice"}.Route("shop"), time.Now().Add(-2*time.Hour)
	expired.Authority.Expires = time.Now().Add(-time.Hour)
	other := certtest.User("mallory", clusterName, time.Now())
	other.Authority.Route = types.DatabaseRoute{User: "alice"}.Route("shop")
	stolen := *w.shop()
	stolen.PrivateKey = w.shop().PrivateKey
	for name, c := range map[string]struct {
		own  *tls.Certificate
		want string
	}{
		"a certificate for everything": {w.certificate(nil), "not for one database"},
		"a certificate for a node":     {w.certificate(&types.Route{Kind: types.KindNode, Name: "shop"}), "not for one database"},
		"another database":             {w.certificate(types.DatabaseRoute{User: "alice"}.Route("other")), "access denied"},
		"who may not":                  {w.sign(other, types.CAUser), "access denied"},
		"an expired certificate":       {w.sign(expired, types.CAUser), "expired"},
		"a host":                       {w.sign(certtest.Host(clusterName, time.Now(), types.RoleDb), types.CAHost), ""},
	} {
		var said *mysql.MySQLError
		if err := w.pingMySQL(t, c.own); !errors.As(err, &said) || said.Number != 1045 || !strings.Contains(said.Message, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, own := range map[string]*tls.Certificate{"nobody": nil, "the key of another": &stolen} {
		if err := w.pingMySQL(t, own); err == nil {
			t.Errorf("%s was let in", name)
		}
	}
	w.mu.Lock()
	w.refuse = fault.New(fault.Denied, "locked: left the company")
	w.mu.Unlock()
	if err := w.pingMySQL(t, w.shop()); err == nil || !strings.Contains(err.Error(), "left the company") {
		t.Errorf("the reason of auth does not reach the client: %v", err)
	}
	if len(w.agent.seen) != 0 {
		t.Error("an agent was reached")
	}
}

// What does not speak the protocol, or speaks it in plain text, reaches nobody.
func TestRubbishBeforeMySQLsTLS(t *testing.T) {
	w := newMySQL(t, &speaker{})
	login := mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin, User: "alice"}
	wish := mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SSL}
	for name, c := range map[string]struct {
		send []byte
		want string
	}{
		"a login in plain text": {mysqlwire.Append(nil, 1, login.Append(nil)), "this port is for TLS"},
		"HTTP":                  {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "this is not how a login of MySQL goes"},
		"a wrong sequence":      {mysqlwire.Append(nil, 0, wish.AppendTLS(nil)), "this is not how a login of MySQL goes"},
		"a huge packet":         {[]byte("\xff\xff\xff\x01"), "this is not how a login of MySQL goes"},
		"an old client":         {mysqlwire.Append(nil, 1, make([]byte, 40)), "before version 4.1"},
		"an empty packet":       {mysqlwire.Append(nil, 1, nil), "cannot be read"},
		"half a packet":         {mysqlwire.Append(nil, 1, wish.AppendTLS(nil))[:20], ""},
		"nothing":               {nil, ""},
	} {
		conn, err := net.Dial("tcp", w.mysql)
		if err != nil {
			t.Fatal(err)
		}
		greeting, _, err := mysqlwire.ReadLogin(conn)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := mysqlwire.ParseGreeting(greeting); err != nil || g.Version != native.DefaultMySQLVersion || g.ConnectionID < mysqlwire.FirstNumber || g.Capabilities&mysqlwire.SSL == 0 {
			t.Errorf("%+v, %v", g, err)
		}
		if _, err := conn.Write(c.send); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite() // the port may have closed before
		got, _ := io.ReadAll(conn)
		if !strings.Contains(string(got), c.want) {
			t.Errorf("%s: %q", name, got)
		}
		conn.Close()
	}
	if n, meant := w.counts(); n != 0 || len(meant) != 0 {
		t.Error("somebody was reached")
	}
}

// A session that is cut here ends with the reason.
func TestACutOfMySQLSaysWhy(t *testing.T) {
	s := &speaker{}
	w := newMySQL(t, s)
	db := w.openMySQL(t, w.shop())
	ended := make(chan error, 1)
	go func() { _, err := db.Exec("sleep"); ended <- err }()
	<-s.asleep
	w.mu.Lock()
	x := w.streams[0]
	w.mu.Unlock()
	x.cut(session.EndedByModerator("eve"))
	var said *mysql.MySQLError
	if err := <-ended; !errors.As(err, &said) || !strings.Contains(said.Message, "eve") {
		t.Errorf("%v", err)
	}
}
