package localproxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"teleport/dbaccess/dynamodb/dynamowire"
	"teleport/fault"
	"teleport/sigv4wire"
)

// Keys are a key pair of AWS's form, made for the life of one local proxy: who has
// them may use its port, and they are good for nothing else.
type Keys struct{ ID, Secret string }

// NewKeys makes a pair.
func NewKeys() Keys {
	return Keys{ID: "AKIA" + rand.Text()[:16], Secret: rand.Text() + rand.Text()}
}

// Signed is a local proxy for clients of DynamoDB, which sign each request. It
// verifies that they did so with its own keys; other programs of this machine, and
// pages in its browsers, get nothing. The person is proven by the certificate
// around what it lets through, and the signature of AWS's is the agent's.
type Signed struct {
	o    Options
	keys Keys
}

// NewSigned makes a proxy. It starts nothing.
func NewSigned(keys Keys, o Options) *Signed { return &Signed{o.filled(), keys} }

const (
	requestTimeout = 2 * time.Minute
	idleTimeout    = time.Minute
	maxHead        = 32 << 10
	// shutdownTimeout is how long requests have to end when the proxy does.
	shutdownTimeout = 5 * time.Second
)

// Serve takes requests until ctx ends, and returns when the last has.
func (s *Signed) Serve(ctx context.Context, ln net.Listener) error {
	way := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.o.Dial(ctx) },
		DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHead}
	defer way.CloseIdleConnections()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, way) }),
		ReadTimeout: requestTimeout, MaxHeaderBytes: maxHead, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	})
	err := server.Serve(ln)
	if !stop() {
		<-done
	}
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// hops are headers between two ends of one connection.
var hops = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

func (s *Signed) serve(w http.ResponseWriter, r *http.Request, way http.RoundTripper) {
	body, err := s.verify(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://database"+r.RequestURI, bytes.NewReader(body))
	if err != nil {
		refuse(w, fault.Wrap(err, fault.Invalid, "the request cannot be read"))
		return
	}
	for name, values := range r.Header {
		if !slices.Contains(hops, name) {
			out.Header[name] = values
		}
	}
	resp, err := way.RoundTrip(out)
	if err != nil {
		if r.Context().Err() == nil {
			s.o.Failed(err)
		}
		var f *fault.Error
		if !errors.As(err, &f) {
			err = fault.Wrap(err, fault.Unavailable, "the connection to the database was lost")
		}
		refuse(w, err)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		if !slices.Contains(hops, name) {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // an answer that is cut is noticed by its length
}

// verify reads a request whole and checks that one of ours has signed it.
func (s *Signed) verify(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	in := &sigv4wire.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header}
	signed, err := sigv4wire.Read(in) // before the body: a stranger costs nothing
	switch {
	case err != nil:
		return nil, fault.Advise(err, "use the AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that tsh has printed")
	case signed.AccessKey != s.keys.ID:
		return nil, fault.New(fault.Unauthenticated, "the request is signed with keys that are not this tunnel's").
			WithHint("use the AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that tsh has printed")
	case !strings.HasPrefix(r.RequestURI, "/"):
		return nil, fault.New(fault.Invalid, "this is a tunnel to one database, and no proxy").WithHint("--endpoint-url")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, dynamowire.MaxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, fault.New(fault.Limit, "the request is longer than %d MiB", dynamowire.MaxBody>>20)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the request did not arrive whole")
	}
	in.Body = body
	_, err = sigv4wire.Verify(in, s.keys.Secret, time.Now())
	return body, err
}

// refuse answers in AWS's form.
func refuse(w http.ResponseWriter, why error) {
	status, name, body := dynamowire.Error(why)
	w.Header().Set("Content-Type", dynamowire.ErrorType)
	w.Header().Set("X-Amzn-Errortype", name)
	w.WriteHeader(status)
	_, _ = w.Write(body) // it may be gone
}
