package cloudlogin_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/cert/certtest"
	"teleport/cloud/awscloud"
	"teleport/cloud/cloudtest"
	"teleport/dbaccess"
	"teleport/dbaccess/cloudlogin"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/postgres"
	"teleport/types"
)

// byToken logs in by the tokens of clouds alone.
type byToken struct{ *cloudlogin.Clouds }

func (byToken) Certificate(context.Context, dbaccess.Login) (*tls.Certificate, error) {
	return nil, nil
}
func (byToken) Authorities() []byte { return nil }

// rds is a PostgreSQL of RDS as far as its login: TLS, and a token for a password.
type rds struct {
	net.Listener
	tls     *tls.Config
	aws     *cloudtest.AWS
	address string
}

func startRDS(t *testing.T, aws *cloudtest.AWS) (*rds, types.DatabaseSpec) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil) // for its certificate
	s.StartTLS()
	t.Cleanup(s.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rds{Listener: ln, tls: &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, aws: aws, address: ln.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.serve(t, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return r, types.DatabaseSpec{Protocol: "postgres", URI: r.address, TLS: types.DatabaseTLS{CACert: string(ca)},
		AWS: &types.DatabaseAWS{Region: "eu-west-1", RDS: &types.DatabaseAWSCluster{InstanceID: "shop"}}}
}

// serve lets one client in, and says to each query whose token it was.
func (r *rds) serve(t *testing.T, c net.Conn) {
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		t.Error(err)
		return
	}
	if _, err := c.Write([]byte{'S'}); err != nil {
		return
	}
	inner := tls.Server(c, r.tls)
	b = pgproto3.NewBackend(inner, inner)
	msg, err := b.ReceiveStartupMessage()
	start, ok := msg.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return // it did not trust us
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := b.Flush(); err != nil {
		t.Error(err)
		return
	}
	said, err := b.Receive()
	password, ok := said.(*pgproto3.PasswordMessage)
	if err != nil || !ok {
		t.Errorf("no password: %T, %v", said, err)
		return
	}
	who, err := r.aws.VerifyLogin(password.Password, r.address, start.Parameters["user"], "eu-west-1")
	if err != nil {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "PAM authentication failed"})
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		if m, err := b.Receive(); err != nil {
			return
		} else if _, ok := m.(*pgproto3.Query); !ok {
			return
		}
		b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("who"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
		b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(who.ARN)}})
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// TestPostgresOfRDSTakesTheToken goes the whole way of a native client.
func TestPostgresOfRDSTakesTheToken(t *testing.T) {
	aws := cloudtest.NewAWS(t)
	aws.Use(t)
	_, spec := startRDS(t, aws)
	creds := func(*certtest.World) dbaccess.Credentials { return byToken{&cloudlogin.Clouds{AWS: &awscloud.Cloud{}}} }
	connect := func(spec types.DatabaseSpec) (string, error) {
		w := dbtest.New(t, postgres.Engine{}, spec, creds)
		w.Role(func(*types.RoleSpec) {})
		c, err := pgconn.Connect(t.Context(), "postgres://alice@"+w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"}).String()+"/postgres?sslmode=disable")
		if err != nil {
			return "", err
		}
		defer c.Close(t.Context())
		got, err := c.Exec(t.Context(), "select who").ReadAll()
		if err != nil {
			return "", err
		}
		return string(got[0].Rows[0][0]), nil
	}
	if who, err := connect(spec); err != nil || who != cloudtest.AgentARN {
		t.Fatalf("got %q, %v", who, err)
	}
	bad := spec
	bad.TLS = types.DatabaseTLS{Mode: types.TLSInsecure}
	if _, err := connect(bad); err == nil || !strings.Contains(err.Error(), "whoever answers") {
		t.Errorf("a token goes to whoever answers: %v", err)
	}
	bad.TLS = types.DatabaseTLS{} // the public's authorities
	if _, err := connect(bad); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}
