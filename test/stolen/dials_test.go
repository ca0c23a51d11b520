package stolen

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/dial"
	"teleport/resume"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// queryNative speaks with the proxy as a client of PostgreSQL without tsh.
func queryNative(ctx context.Context, conn net.Conn, c credential) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	yes := make([]byte, 1)
	if _, err := conn.Write([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f")); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, yes); err != nil || yes[0] != 'S' {
		return fmt.Errorf("no TLS: %q: %w", yes, err)
	}
	return query(ctx, conn, c)
}

// queryRedis speaks with the proxy as a client of Redis. The database behind it is
// a PostgreSQL, which those hear who may reach it.
func queryRedis(ctx context.Context, conn net.Conn, c credential) error {
	conf := c.tlsConfig("")
	conf.NextProtos = nil
	inner := tls.Client(conn, conf)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := inner.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := io.WriteString(inner, "*1\r\n$4\r\nPING\r\n"); err != nil {
		return err
	}
	return hearsOf(inner)
}

// hearsOf reads the one answer of a proxy that let a client of another protocol
// reach the database.
func hearsOf(conn net.Conn) error {
	said, err := io.ReadAll(conn)
	if !bytes.Contains(said, []byte("the database "+databaseName+" speaks postgres")) {
		return fmt.Errorf("it says %q: %w", said, err)
	}
	return nil
}

// queryMySQL speaks with the proxy as a client of MySQL.
func queryMySQL(ctx context.Context, conn net.Conn, c credential) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, _, err := mysqlwire.ReadLogin(conn); err != nil {
		return err
	}
	login := mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.SSL, User: "app"}
	if _, err := conn.Write(mysqlwire.Append(nil, 1, login.AppendTLS(nil))); err != nil {
		return err
	}
	conf := c.tlsConfig("")
	conf.NextProtos = nil
	inner := tls.Client(conn, conf)
	if err := inner.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := inner.Write(mysqlwire.Append(nil, 2, login.Append(nil))); err != nil {
		return err
	}
	return hearsOf(inner)
}

func (w *world) dialNode(c credential) (net.Conn, error) { return w.dial(c, types.KindNode, nodeName) }

func (w *world) dial(c credential, kind, name string) (net.Conn, error) {
	conn, _, _, err := w.ask(c, dial.New(kind, name))
	return conn, err
}

func (w *world) ask(c credential, h dial.Header) (net.Conn, dial.Header, dial.Reply, error) {
	var reply dial.Reply
	conn, err := c.tlsTo(w.web, tunframe.ALPNDial)
	if err != nil {
		return nil, h, reply, err
	}
	if h.Stream, err = dial.NewStreamID(); err == nil {
		err = dial.WriteHeader(conn, &h)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		reply, err = dial.ReadReply(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, h, reply, err
	}
	return conn, h, reply, nil
}

// outlive opens a stream that can be gone on with, and hears the SSH server in it.
func (w *world) outlive(gate, c credential) error {
	if c.tls == nil {
		return errors.New("there is no certificate to open it with")
	}
	h := dial.New(types.KindNode, nodeName)
	h.Resume = resume.Version
	conn, h, reply, err := w.ask(gate, h)
	if err != nil {
		return fmt.Errorf("the gate: %w", err)
	}
	defer conn.Close()
	if !reply.Resume {
		return errors.New("none is offered")
	}
	s, err := resume.NewClient(conn, resume.ClientOptions{Subject: resume.Subject{Stream: h.Stream, Agent: reply.AgentUUID, User: "alice", Cluster: clusterName},
		Generation: reply.Generation, Limit: patience, Certificate: c.tls,
		Redial: func(context.Context) (net.Conn, error) { return nil, resume.Final(errors.New("the stream has ended")) }})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.ReadFull(s, make([]byte, len("SSH-2.0")))
	return err
}

// dialDirect dials the agent itself, as a proxy does in direct mode.
func (w *world) dialDirect(_ context.Context, c credential) error {
	own, err := os.ReadFile(filepath.Join(w.dir, "host_uuid"))
	if err != nil {
		return err
	}
	conn, err := c.tlsTo(w.node, tunframe.ALPNDirect)
	if err != nil {
		return err
	}
	defer conn.Close()
	h := dial.New(types.KindNode, strings.TrimSpace(string(own)))
	h.AgentUUID, h.ProxyUUID, h.Client = h.Name, c.uuid, netip.MustParseAddrPort("192.0.2.1:4000")
	h.Gateway = &dial.Gateway{Cluster: clusterName, User: "alice"}
	if err := dial.WriteHeader(conn, &h); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = dial.ReadReply(ctx, conn)
	return err
}

// query opens a session with the database behind a dial. There is no database at
// its address: whoever is told so was let in.
func query(ctx context.Context, conn net.Conn, c credential) error {
	conf := c.tlsConfig("")
	conf.NextProtos = nil
	inner := tls.Client(conn, conf)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := inner.HandshakeContext(ctx); err != nil {
		return err
	}
	front := pgproto3.NewFrontend(inner, inner)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "app", "database": "orders"}})
	if err := front.Flush(); err != nil {
		return err
	}
	m, err := front.Receive()
	if err != nil {
		return err
	}
	said, ok := m.(*pgproto3.ErrorResponse)
	switch {
	case !ok:
		return fmt.Errorf("it says %T", m)
	case said.Code == "08006" && strings.Contains(said.Message, "does not answer"):
		return nil
	}
	return errors.New(said.Message)
}
