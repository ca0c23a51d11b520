// Package dynamodb is the engine for DynamoDB, its streams, and the control of DAX
// clusters: requests over HTTP, each of which is signed (Signature Version 4).
//
// The line between the two ends is this. The person's local proxy holds a key pair
// that it made for its own life; it checks the signature of whatever comes to its
// port, so that no other program of the machine gets through. What it lets through
// arrives here within the person's certificate, which alone says who they are: the
// old signature proves nothing here, and is dropped. The role that is signed for is
// the database user that was decided about, the host is computed from the
// database's document, and the request is put together anew from what was
// understood. Its event is in the audit log's spool before it goes on.
package dynamodb

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"teleport/cloud/awscloud"
	"teleport/dbaccess"
	"teleport/dbaccess/dynamodb/dynamowire"
	"teleport/fault"
)

// Signer signs a request as the last role of a chain.
type Signer interface {
	Sign(ctx context.Context, r *http.Request, sum [sha256.Size]byte, service, region string, chain ...awscloud.Role) error
}

// Engine implements dbaccess.Engine.
type Engine struct{ Signer Signer }

var _ dbaccess.Engine = Engine{}

const (
	// maxHead bounds what stands before a body.
	maxHead = 32 << 10
	// requestTimeout bounds the arrival of a request, answerTimeout the wait for the
	// beginning of its answer.
	requestTimeout = 2 * time.Minute
	answerTimeout  = time.Minute
)

// Serve implements dbaccess.Engine.
func (e Engine) Serve(ctx context.Context, s *dbaccess.Session) error {
	c := &conversation{ctx: ctx, engine: e, s: s}
	defer c.close()
	one := &oneConn{conn: s.Client(), closed: make(chan struct{})}
	server := &http.Server{Handler: c, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what fails is told to the audit log
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				one.end()
			}
		}}
	// A read deadline that a cut has set may be set anew by the server between two
	// requests: the connection is closed soon after, which ends it.
	if err := server.Serve(one); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return c.refused
}

// oneConn is a listener that has accepted its only connection.
type oneConn struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener: it returns the connection, and an error when
// that has ended.
func (o *oneConn) Accept() (net.Conn, error) {
	if c := o.conn; c != nil {
		o.conn = nil
		return c, nil
	}
	<-o.closed
	return nil, net.ErrClosed
}

func (o *oneConn) end() { o.once.Do(func() { close(o.closed) }) }

// Close implements net.Listener.
func (o *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (o *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// conversation is one connection: its requests come one after the other, so that
// its fields need no lock.
type conversation struct {
	ctx       context.Context
	engine    Engine
	s         *dbaccess.Session
	begun     bool
	refused   error // by the decision: every request hears it
	chain     []awscloud.Role
	transport *http.Transport
}

func (c *conversation) close() {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// ServeHTTP implements http.Handler.
func (c *conversation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(r.Context(), func() { cancel(dbaccess.ErrEnded) }) // the client has gone
	defer stop()
	body, err := read(w, r)
	if why := c.begin(ctx); why != nil {
		w.Header().Set("Connection", "close")
		writeError(w, why)
		return
	}
	if err != nil {
		c.fail(ctx, w, &request{http: r}, err)
		return
	}
	req, err := c.understand(r, body)
	if err != nil {
		c.fail(ctx, w, &request{http: r, body: body}, err)
		return
	}
	c.pass(ctx, w, req)
}

// read takes the whole body: its hash is signed, and what it says is told first.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(bufio.NewReader(http.MaxBytesReader(w, r.Body, dynamowire.MaxBody)))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, fault.New(fault.Limit, "the request is longer than %d MiB", dynamowire.MaxBody>>20)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the request did not arrive whole")
	}
	return body, nil
}

// begin decides once who this is.
func (c *conversation) begin(ctx context.Context) error {
	if c.begun {
		return c.refused
	}
	c.begun = true
	if c.refused = c.s.Begin(ctx, "", ""); c.refused != nil {
		return c.refused
	}
	c.chain, c.refused = roles(c.s)
	return c.refused
}

// roles are taken one with the other: that of the document, and with it that of
// the user. The external id belongs to whichever the agent takes first.
func roles(s *dbaccess.Session) ([]awscloud.Role, error) {
	spec := &s.Database().Spec
	arn, err := spec.AWSRole(s.User())
	if err != nil {
		return nil, err
	}
	name := awscloud.SessionName(s.Person())
	user := awscloud.Role{ARN: arn, SessionName: name}
	a := spec.AWS
	if a == nil {
		return []awscloud.Role{user}, nil
	}
	user.Tags = a.SessionTags
	if a.AssumeRoleARN == "" {
		user.ExternalID = a.ExternalID
		return []awscloud.Role{user}, nil
	}
	return []awscloud.Role{{ARN: a.AssumeRoleARN, ExternalID: a.ExternalID, SessionName: name}, user}, nil
}

// client is the way to the services. What is dialled is computed by the caller,
// and verified by its name.
func (c *conversation) client(ctx context.Context) (*http.Transport, error) {
	if c.transport != nil {
		return c.transport, nil
	}
	config, err := c.s.ServerTLS(ctx)
	if err != nil {
		return nil, err
	}
	config.NextProtos = nil
	named := c.s.Database().Spec.TLS.ServerName
	c.transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: answerTimeout,
		MaxResponseHeaderBytes: maxHead,
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			raw, err := c.s.DialAt(ctx, addr)
			if err != nil {
				return nil, err
			}
			own := config.Clone()
			if named == "" {
				if own.ServerName, _, err = net.SplitHostPort(addr); err != nil {
					return nil, errors.Join(err, raw.Close())
				}
			}
			inner := tls.Client(raw, own)
			if err := inner.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(fault.Wrap(err, fault.Untrusted, "%s shows no certificate that the database's tls settings trust", addr), raw.Close())
			}
			return inner, nil
		}}
	return c.transport, nil
}
