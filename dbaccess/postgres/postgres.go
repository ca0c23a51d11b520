// Package postgres is the engine for PostgreSQL and what speaks its protocol,
// version 3. It answers the client's start, logs in to the server as the agent
// with the user's certificate or token, and then passes messages both ways: every
// statement is told to the audit log before the server has it.
// Protocol: https://www.postgresql.org/docs/15/protocol.html.
package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/dbaccess"
	"teleport/dbaccess/postgres/pgwire"
	"teleport/fault"
)

// Engine implements dbaccess.Engine.
type Engine struct{}

// startTimeout bounds the wait for a client that has connected and says nothing.
const startTimeout = 30 * time.Second

// Serve implements dbaccess.Engine.
func (Engine) Serve(ctx context.Context, s *dbaccess.Session) error {
	client := s.Client()
	if err := client.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	start, err := readStart(client)
	if err != nil {
		return errors.Join(err, refuse(client, err))
	}
	if start.cancel != nil {
		return s.Interrupt(ctx, *start.cancel) // the client waits for no answer
	}
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := s.Begin(ctx, start.user, start.database); err != nil {
		return errors.Join(err, refuse(client, err))
	}
	server, err := login(ctx, s, start)
	if err != nil {
		return errors.Join(err, refuse(client, err))
	}
	defer server.conn.Close()
	key := s.Interruptible(server.interrupt)
	if _, err := client.Write(welcome(start, server, key)); err != nil {
		return err
	}
	known := newDeclared(s.Captures())
	up := &frontend{ctx: ctx, s: s, known: known}
	return s.Pass(ctx, server.conn, dbaccess.Dialect{Up: up, Down: &backend{ctx: ctx, s: s, known: known}, Last: pgwire.Refusal,
		Abandon: server.interrupt, Left: func() bool { return up.left }})
}

// server is a logged-in connection to the database.
type server struct {
	conn       net.Conn
	pid        uint32
	secret     []byte
	parameters map[string]string
	notices    []*pgconn.Notice
	again      func(ctx context.Context) (net.Conn, error) // another connection, for a cancel
}

// configure prepares a login as the session's user.
func configure(ctx context.Context, s *dbaccess.Session, database string, parameters map[string]string) (*pgconn.Config, error) {
	password, err := s.Password(ctx)
	if err != nil {
		return nil, err
	}
	// Everything is set here: nothing comes from the agent's environment. TLS is begun
	// by who dials.
	c, err := pgconn.ParseConfig("host=localhost user=x password=x sslmode=disable")
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the login cannot be prepared")
	}
	c.Host, c.Port, c.User, c.Password, c.Database, c.TLSConfig = s.Database().Metadata.Name, 5432, s.User(), password, database, nil
	c.Fallbacks, c.RuntimeParams = nil, parameters
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialTLS(ctx, s) }
	return c, nil
}

// login logs in to the server as the session's user. What the client said of its
// session beside user and database goes along.
func login(ctx context.Context, s *dbaccess.Session, start *start) (*server, error) {
	c, err := configure(ctx, s, s.Name(), start.parameters)
	if err != nil {
		return nil, err
	}
	out := &server{}
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { out.notices = append(out.notices, n) }
	var inner net.Conn
	c.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		inner = conn
		return &byMessage{Conn: conn}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, said(err, loginFault(s, err))
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the login cannot be finished")
	}
	out.conn, out.pid, out.secret, out.parameters = inner, h.PID, h.SecretKey, h.ParameterStatuses
	out.again = func(ctx context.Context) (net.Conn, error) { return dialTLS(ctx, s) }
	return out, inner.SetDeadline(time.Time{})
}

const loginTimeout = 30 * time.Second

// forUsers are the classes of SQLSTATEs that tell a user of a database something:
// the other ones are about the inside of the server.
var forUsers = map[string]fault.Kind{
	"22": fault.Invalid,     // what the client set for its session
	"28": fault.Denied,      // the login
	"3D": fault.NotFound,    // the database
	"42": fault.Denied,      // the right to connect, or again what the client set
	"53": fault.Limit,       // connections
	"55": fault.Unavailable, // a database that takes nobody
	"57": fault.Unavailable, // a server that starts or stops
}

func sqlState(err error) (pg *pgconn.PgError, kind fault.Kind, known bool) {
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return pg, "", false
	}
	kind, known = forUsers[pg.Code[:2]]
	return pg, kind, known
}

// loginFault tells the client what the database said, and the log the rest.
func loginFault(s *dbaccess.Session, err error) error {
	pg, kind, known := sqlState(err)
	name := s.Database().Metadata.Name
	switch {
	case pg == nil:
		return s.LoginFault(err)
	case !known:
		return fault.Wrap(err, fault.Unavailable, "the database %s lets nobody in at the moment", name)
	}
	return fault.Wrap(err, kind, "the database %s says: %s", name, dbaccess.WithoutAddresses(pg.Message))
}

// said gives a failed login of the client's own user the server's SQLSTATE.
func said(err, why error) error {
	if pg, _, known := sqlState(err); known {
		return &pgwire.Said{State: pg.Code, Why: why}
	}
	return why
}

// interrupt asks the server to stop the statement, over a connection of its own.
func (v *server) interrupt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := v.again(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	msg, err := (&pgproto3.CancelRequest{ProcessID: v.pid, SecretKey: v.secret}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(msg); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // the server closes it when the signal is on its way
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}
