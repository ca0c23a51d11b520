// Package mysql is the engine for MySQL and MariaDB, which speak the same
// protocol. A server speaks first, so the engine has the database's own greeting
// before it greets the client: with its version and its number for the connection,
// by which another connection may kill it. Then it logs in as the agent, with the
// user's certificate or token, and passes packets both ways: every statement is
// told to the audit log before the server can run it.
//
// The client has proven itself by the certificate around the connection. Whatever
// password it shows is not looked at.
package mysql

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"time"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
)

// Engine implements dbaccess.Engine.
type Engine struct{}

var _ dbaccess.Engine = Engine{}

// Times that a login may take.
const (
	// startTimeout is below the server's connect_timeout of 10 s, as the server
	// waits for the client too.
	startTimeout = 8 * time.Second
	loginTimeout = 30 * time.Second
)

// offered is what both sides of a connection may agree on: nothing that changes
// packets unseen (compression, local files, attributes of queries).
const offered = mysqlwire.LongPassword | mysqlwire.FoundRows | mysqlwire.LongFlag | mysqlwire.ConnectWithDB | mysqlwire.NoSchema | mysqlwire.ODBC |
	mysqlwire.IgnoreSpace | mysqlwire.Protocol41 | mysqlwire.Interactive | mysqlwire.IgnoreSIGPIPE | mysqlwire.Transactions | mysqlwire.Reserved |
	mysqlwire.SecureLogin | mysqlwire.MultiStatements | mysqlwire.MultiResults | mysqlwire.PSMultiResults | mysqlwire.PluginAuth |
	mysqlwire.ConnectAttrs | mysqlwire.LongAuth | mysqlwire.ExpiredPassword | mysqlwire.SessionTrack | mysqlwire.DeprecateEOF

// Serve implements dbaccess.Engine.
func (Engine) Serve(ctx context.Context, s *dbaccess.Session) error {
	client := &packets{rw: s.Client()}
	route := s.Route()
	if route.User == "" {
		return refuse(client, fault.New(fault.Invalid, "the certificate names no database user, and a MySQL server speaks before its client does").WithHint("tsh db login --db-user=…"))
	}
	if err := s.Foresee("", ""); err != nil {
		return refuse(client, cmp.Or(s.Begin(ctx, "", ""), err))
	}
	server, err := open(ctx, s)
	if err != nil {
		return refuse(client, cmp.Or(s.Begin(ctx, "", ""), err))
	}
	defer server.Close()
	login, err := welcome(client, s, server.greeting)
	if err != nil {
		leave(ctx, s, server)
		return refuse(client, err)
	}
	number := numberOf(login)
	if err := s.Begin(ctx, login.User, login.Database); err != nil {
		return refuse(client, err)
	}
	ok, err := server.login(ctx, s, login)
	if err != nil {
		return refuse(client, err)
	}
	if number >= mysqlwire.FirstNumber {
		s.Numbered(number, server.greeting.ConnectionID)
	}
	if login.Plugin == mysqlwire.CachingSHA2 && len(login.Auth) > 1 {
		if err := client.write([]byte{mysqlwire.HeadMore, shaKnown}); err != nil {
			return err
		}
	}
	if err := client.write(ok); err != nil {
		return err
	}
	emit := emitter{ctx, s}
	talk := &conversation{prepared: map[uint32]uint16{}}
	up := &frontend{emitter: emit, talk: talk, bound: bound{level: s.Captures()}}
	return s.Pass(ctx, server.conn, dbaccess.Dialect{
		Up:      up,
		Down:    &backend{emitter: emit, talk: talk, deprecate: login.Capabilities&mysqlwire.DeprecateEOF != 0},
		Last:    func(why error) []byte { return mysqlwire.Append(nil, talk.next(), refusal(why)) },
		Abandon: func(ctx context.Context) error { return server.kill(ctx, s) },
		Left:    func() bool { return up.left },
	})
}

// welcome greets the client as the server would, and returns its login: of the
// capabilities those that both sides have, and none of them asks for TLS.
func welcome(client *packets, s *dbaccess.Session, server *mysqlwire.Greeting) (*mysqlwire.Login, error) {
	if err := s.Client().SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return nil, err
	}
	g := *server
	g.Nonce, g.Plugin = make([]byte, mysqlwire.NonceSize), mysqlwire.CachingSHA2
	nonce(g.Nonce)
	g.Capabilities = g.Capabilities&offered | mysqlwire.LongPassword | mysqlwire.PluginAuth
	if m := s.Database().Spec.MySQL; m != nil && m.ServerVersion != "" {
		g.Version = m.ServerVersion
	}
	if err := client.write(g.Append(nil)); err != nil {
		return nil, err
	}
	b, err := client.read()
	if err != nil {
		return nil, err
	}
	login, err := mysqlwire.ParseLogin(b)
	if err != nil {
		return nil, err
	}
	login.Capabilities &= g.Capabilities
	switch login.Plugin {
	case "", mysqlwire.NativePassword, mysqlwire.CachingSHA2, mysqlwire.ClearPassword, mysqlwire.Ed25519:
	default: // a way of which we do not know how it ends
		if err := client.write((&mysqlwire.Switch{Plugin: mysqlwire.NativePassword, Data: g.Nonce}).Append(nil)); err != nil {
			return nil, err
		}
		if _, err := client.readLeast(0); err != nil { // empty is who has no password
			return nil, err
		}
	}
	return login, s.Client().SetReadDeadline(time.Time{})
}

// numberOf is the number by which a client knows its connection that was greeted
// by a proxy, before this agent was known: the login tells it. Zero is none. A
// client that says so itself tells no more than what it calls its own.
func numberOf(login *mysqlwire.Login) uint32 {
	text := login.Attribute(mysqlwire.NumberAttribute)
	if text == "" {
		return 0
	}
	login.SetAttribute(mysqlwire.NumberAttribute, "")
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// nonce fills b with random bytes, none of which ends a text.
func nonce(b []byte) {
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = b[i]&0x7f | 1
	}
}

// leave ends the connection of a client that went away before it logged in. A
// server counts logins that were begun and not finished, and at the hundredth it
// lets nobody from this host in: so the login is finished, and the log tells it.
func leave(ctx context.Context, s *dbaccess.Session, server *server) {
	if s.Begin(ctx, "", "") == nil {
		_ = server.finish(ctx, s)
	}
}

// refusal is the payload of an error in the client's own form.
func refusal(why error) []byte {
	var theirs *serverError
	if errors.As(why, &theirs) {
		return theirs.Append(nil)
	}
	return mysqlwire.Refusal(why)
}

// refuse tells a client that has not logged in, and returns why.
func refuse(c *packets, why error) error {
	return errors.Join(why, c.write(refusal(why)))
}

// packets are those of a login, of which each is short.
type packets struct {
	rw       net.Conn
	sequence byte
}
