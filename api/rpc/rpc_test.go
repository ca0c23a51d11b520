package rpc

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"teleport/api/gen/accountv1"
	"teleport/api/gen/accountv1/accountv1connect"
	"teleport/api/gen/statusv1"
	"teleport/api/gen/statusv1/statusv1connect"
	"teleport/fault"
	"teleport/types"
)

// Every procedure of every generated service is in the table, and the table
// holds nothing else.
func TestEveryProcedureHasAPermission(t *testing.T) {
	table := AccessTable()
	seen := map[string]bool{}
	for _, file := range Files() {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				p := Procedure(methods.Get(j))
				seen[p] = true
				if !table[p].Declared() {
					t.Errorf("%s has no permission: add it to AccessTable", p)
				}
			}
		}
	}
	for p := range table {
		if !seen[p] {
			t.Errorf("%s is in the table and in no schema", p)
		}
	}
}

// Files misses no schema with a service: the folder of protos is the witness.
func TestFilesAreComplete(t *testing.T) {
	paths, err := filepath.Glob("../proto/teleport/*/v*/*.proto")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no protos: %v", err)
	}
	known := map[string]bool{}
	for _, f := range Files() {
		known[f.Path()] = true
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../proto/")
		if bytes.Contains(b, []byte("\nservice ")) && !known[name] {
			t.Errorf("%s has a service that Files does not list", name)
		}
	}
	if _, err := protoregistry.GlobalFiles.FindFileByPath("teleport/status/v1/status.proto"); err != nil {
		t.Error(err)
	}
}

func TestUndeclaredPermissionsAreNone(t *testing.T) {
	for _, p := range []Permission{{}, System(), Rule("", "read"), Rule("user", ""), Resource(""), {Level: 99}} {
		if p.Declared() {
			t.Errorf("%v counts as declared", p)
		}
	}
}

// Kind, message and hint survive both ways; the cause does not leave.
func TestFaultsSurviveTheWire(t *testing.T) {
	for _, k := range fault.Kinds() {
		sent := fault.Wrap(errors.New("secret cause"), k, "message with ünïcode")
		wire := ToWire(fault.Advise(sent, "do this"))
		if strings.Contains(wire.Error(), "secret cause") {
			t.Errorf("%s: the cause crossed: %v", k, wire)
		}
		got := FromWire(wire)
		if !errors.Is(got, k) || fault.Message(got) != "message with ünïcode" || fault.Hint(got) != "do this" {
			t.Errorf("%s came back as %v (%s, %s)", k, got, fault.KindOf(got), fault.Hint(got))
		}
		if kind(code(k)) != k {
			t.Errorf("%s and %s do not map to each other", k, code(k))
		}
	}
	plain := FromWire(ToWire(errors.New("password is hunter2")))
	if fault.Message(plain) != "internal error" || !errors.Is(plain, fault.Internal) {
		t.Errorf("an unclassified error crossed as %v", plain)
	}
	if got := FromWire(connect.NewError(connect.CodeUnavailable, io.EOF)); !errors.Is(got, fault.Unavailable) {
		t.Errorf("a broken connection is %v", got)
	}
}

// fakeVerifier says who a chain is; there is none in these tests but by header.
type fakeVerifier struct{}

func (fakeVerifier) Verify([]*x509.Certificate) (*types.Identity, error) {
	return nil, fault.New(fault.Untrusted, "untrusted")
}
func (fakeVerifier) Generation() string { return "1" }

type authorizer func(Caller, Permission) error

func (f authorizer) Authorize(_ context.Context, c Caller, p Permission) error { return f(c, p) }

type status struct {
	statusv1connect.UnimplementedStatusServiceHandler
	ping    func(context.Context) error
	cluster string
}

func (s status) Ping(ctx context.Context, _ *connect.Request[statusv1.PingRequest]) (*connect.Response[statusv1.PingResponse], error) {
	if err := s.ping(ctx); err != nil {
		return nil, err
	}
	return connect.NewResponse(&statusv1.PingResponse{Cluster: s.cluster}), nil
}

func newServer(t *testing.T, ping func(context.Context) error, l Limits) (*Server, *bytes.Buffer) {
	t.Helper()
	return newServerOf(t, status{ping: ping, cluster: "example"}, l)
}

func newServerOf(t *testing.T, impl status, l Limits) (*Server, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	s := NewServer(Config{Table: AccessTable(), Verifier: fakeVerifier{}, Limits: l,
		Authorizer: authorizer(func(Caller, Permission) error { return nil }),
		Log:        slog.New(slog.NewTextHandler(log, nil))})
	err := s.Register(statusv1.File_teleport_status_v1_status_proto.Services().ByName("StatusService"),
		func(o ...connect.HandlerOption) (string, http.Handler) {
			return statusv1connect.NewStatusServiceHandler(impl, o...)
		})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

func post(s http.Handler, path string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestUnlistedProcedureDoesNotRegister(t *testing.T) {
	table := AccessTable()
	delete(table, accountv1connect.AccountServiceWhoAmIProcedure)
	s := NewServer(Config{Table: table, Log: slog.New(slog.DiscardHandler)})
	err := s.Register(accountv1.File_teleport_account_v1_account_proto.Services().ByName("AccountService"),
		func(o ...connect.HandlerOption) (string, http.Handler) {
			return accountv1connect.NewAccountServiceHandler(accountv1connect.UnimplementedAccountServiceHandler{}, o...)
		})
	if err == nil || !strings.Contains(err.Error(), "WhoAmI") {
		t.Fatalf("registered: %v", err)
	}
	if w := post(s, accountv1connect.AccountServiceInviteUserProcedure, strings.NewReader("{}")); w.Code != http.StatusNotFound {
		t.Errorf("a sibling was mounted: %d", w.Code)
	}
}

// A short answer is not compressed, whatever the client takes.
func TestOnlyLongAnswersAreCompressed(t *testing.T) {
	for cluster, want := range map[string]string{"example": "", strings.Repeat("a", compressFrom): "gzip"} {
		s, _ := newServerOf(t, status{ping: func(context.Context) error { return nil }, cluster: cluster}, Limits{})
		r := httptest.NewRequest(http.MethodPost, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); w.Code != http.StatusOK || got != want {
			t.Errorf("an answer of about %d bytes: %d, encoding %q, want %q", len(cluster), w.Code, got, want)
		}
	}
}

// Paths that are not exactly a procedure reach no handler.
func TestPathsAreExact(t *testing.T) {
	s, _ := newServer(t, func(context.Context) error { return nil }, Limits{})
	exact := statusv1connect.StatusServicePingProcedure
	if w := post(s, exact, strings.NewReader("{}")); w.Code != http.StatusOK {
		t.Fatalf("ping: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/" + exact, exact + "/", strings.ToUpper(exact), "/x/.." + exact, exact + "%2f", "/" + exact[1:] + "x"} {
		if w := post(s, path, strings.NewReader("{}")); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestHandlerPanicIsAnInternalError(t *testing.T) {
	s, log := newServer(t, func(context.Context) error { panic("boom with secrets") }, Limits{})
	w := post(s, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}"))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "boom") {
		t.Error("the panic is not in the log")
	}
}

func TestAnonymousBudgetAndSize(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, _ := newServer(t, func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}, Limits{Anonymous: 1})
	first := make(chan int, 1)
	go func() { first <- post(s, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}")).Code }()
	<-entered
	if w := post(s, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}")); w.Code != http.StatusTooManyRequests {
		t.Errorf("beyond the budget: %d", w.Code)
	}
	close(leave)
	if c := <-first; c != http.StatusOK {
		t.Errorf("within the budget: %d", c)
	}
	big := `{"x":"` + strings.Repeat("a", 128<<10) + `"}`
	if w := post(s, statusv1connect.StatusServicePingProcedure, strings.NewReader(big)); w.Code != http.StatusTooManyRequests {
		t.Errorf("too large: %d %s", w.Code, w.Body)
	}
}

// One stranger that reads slowly leaves places for the others.
func TestOneStrangerTakesAShare(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, _ := newServer(t, func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}, Limits{Anonymous: 8})
	from := func(addr string) int {
		r := httptest.NewRequest(http.MethodPost, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	codes := make(chan int, 3)
	for range 2 {
		go func() { codes <- from("192.0.2.1:1") }()
		<-entered
	}
	if c := from("192.0.2.1:2"); c != http.StatusTooManyRequests {
		t.Errorf("beyond the share: %d", c)
	}
	go func() { codes <- from("192.0.2.2:1") }()
	<-entered
	close(leave)
	for range 3 {
		if c := <-codes; c != http.StatusOK {
			t.Errorf("within the share: %d", c)
		}
	}
}

func TestUnaryCallsHaveADeadline(t *testing.T) {
	var has bool
	s, _ := newServer(t, func(ctx context.Context) error { _, has = ctx.Deadline(); return nil }, Limits{UnaryTimeout: time.Hour})
	post(s, statusv1connect.StatusServicePingProcedure, strings.NewReader("{}"))
	if !has {
		t.Error("no deadline")
	}
}

func TestNoCertificateIsUnauthenticated(t *testing.T) {
	s, _ := newServer(t, func(context.Context) error { return nil }, Limits{})
	if w := post(s, statusv1connect.StatusServiceStatusProcedure, strings.NewReader("{}")); w.Code != http.StatusUnauthorized {
		t.Errorf("status: %d", w.Code)
	}
}
