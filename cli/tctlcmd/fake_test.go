package tctlcmd_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/auditv1"
	"teleport/api/gen/auditv1/auditv1connect"
	"teleport/api/gen/resourcev1"
	"teleport/api/gen/resourcev1/resourcev1connect"
	"teleport/api/gen/statusv1"
	"teleport/api/gen/statusv1/statusv1connect"
	"teleport/api/rpc"
	"teleport/audit"
	"teleport/audit/chain"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/cli/tctlcmd"
	"teleport/client/clienttest"
	"teleport/fault"
	"teleport/recfmt"
	"teleport/types"
	"teleport/types/event"
)

const (
	cluster  = "example"
	authUUID = "20000000-0000-4000-8000-000000000001"
)

// world is an auth service with a real audit log and recordings, and a person with
// an identity file.
type world struct {
	t          *testing.T
	dir        string
	addr       string
	identity   string
	recordings clienttest.Recordings
	audit      *auditLog
	resources  resources
}

// resources keeps documents by kind, and lets all be listed but of kinds that are
// hidden.
type resources struct {
	resourcev1connect.UnimplementedResourceServiceHandler
	mu     sync.Mutex
	docs   map[string][][]byte
	hidden map[string]bool
}

func (r *resources) Put(_ context.Context, req *connect.Request[resourcev1.PutRequest]) (*connect.Response[resourcev1.PutResponse], error) {
	doc, err := types.Decode(req.Msg.Document)
	if err != nil {
		return nil, rpc.ToWire(err)
	}
	r.add(req.Msg.Document, doc.Head().Kind)
	return connect.NewResponse(&resourcev1.PutResponse{Document: req.Msg.Document}), nil
}

func (r *resources) add(doc []byte, kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.docs == nil {
		r.docs = map[string][][]byte{}
	}
	r.docs[kind] = append(r.docs[kind], doc)
}

func (r *resources) List(_ context.Context, req *connect.Request[resourcev1.ListRequest]) (*connect.Response[resourcev1.ListResponse], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hidden[req.Msg.Kind] {
		return nil, rpc.ToWire(fault.New(fault.Denied, "audra may not list them"))
	}
	return connect.NewResponse(&resourcev1.ListResponse{Documents: r.docs[req.Msg.Kind]}), nil
}

// auditLog serves a real log, whose bytes a test may change on their way.
type auditLog struct {
	auditv1connect.UnimplementedAuditServiceHandler
	w      *audit.Writer
	log    *audit.Log
	mu     sync.Mutex
	refuse error
	change func(export []byte) []byte
}

func (a *auditLog) Export(ctx context.Context, _ *connect.Request[auditv1.ExportRequest], out *connect.ServerStream[auditv1.ExportResponse]) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		return rpc.ToWire(a.refuse)
	}
	var b bytes.Buffer
	if err := a.log.Export(ctx, audit.ExportOptions{}, &b); err != nil {
		return err
	}
	data := b.Bytes()
	if a.change != nil {
		data = a.change(data)
	}
	return out.Send(&auditv1.ExportResponse{Chunk: data})
}

// pings answers who looks for the auth service.
type pings struct {
	statusv1connect.UnimplementedStatusServiceHandler
}

func (pings) Ping(context.Context, *connect.Request[statusv1.PingRequest]) (*connect.Response[statusv1.PingResponse], error) {
	return connect.NewResponse(&statusv1.PingResponse{}), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.openLog()
	ca := clienttest.NewCA(t, cluster)
	own, _ := ca.Host(t, authUUID, "auth-1", types.RoleAuth)
	identity, err := ca.Credential(t, clienttest.User{Name: "audra", Roles: []string{"auditor"}}).Encode()
	must(t, err)
	w.identity = w.write("identity", string(identity))
	trust := ca.Trust(t)
	src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: func() *cert.Trust { return trust }, Now: time.Now}
	mux := http.NewServeMux()
	mux.Handle(w.recordings.Handler())
	mux.Handle(auditv1connect.NewAuditServiceHandler(w.audit))
	mux.Handle(resourcev1connect.NewResourceServiceHandler(&w.resources))
	mux.Handle(statusv1connect.NewStatusServiceHandler(pings{}))
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlscert.ServerConfig(src, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser}, ALPN: []string{"h2"}}))
	must(t, err)
	w.addr = l.Addr().String()
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		must(t, s.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return w
}

func (w *world) openLog() {
	w.t.Helper()
	spool, err := audit.NewWriter(audit.WriterOptions{Dir: filepath.Join(w.dir, "spool"), HostUUID: authUUID, Cluster: cluster})
	must(w.t, err)
	_, key, err := ed25519.GenerateKey(nil)
	must(w.t, err)
	log, err := audit.OpenLog(audit.LogOptions{Dir: filepath.Join(w.dir, "blocks"), Cluster: cluster, Signer: key, Emitter: spool})
	must(w.t, err)
	w.audit = &auditLog{w: spool, log: log}
	w.t.Cleanup(func() { must(w.t, errors.Join(spool.Close(), log.Close())) })
}

// emit brings events into the log.
func (w *world) emit(events ...event.Event) {
	w.t.Helper()
	s := audit.NewShipper(w.audit.w, func(ctx context.Context, b chain.Batch) (uint64, error) {
		return w.audit.log.Ingest(ctx, audit.Caller{UUID: authUUID, Auth: true}, b)
	}, audit.ShipperOptions{})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	for _, e := range events {
		must(w.t, w.audit.w.Emit(ctx, e))
	}
	must(w.t, s.Flush(ctx))
	cancel()
	must(w.t, <-done)
}

// session keeps a recording, and has the log tell of the session and its upload.
func (w *world) session(info recfmt.Info, shown ...string) []byte {
	w.t.Helper()
	info.Kind, info.Cluster, info.Columns, info.Rows = "ssh", cluster, 40, 10
	data := w.recordings.Add(w.t, info, "stored", shown...)
	sum, err := recfmt.Verify(info.SessionID, bytes.NewReader(data))
	must(w.t, err)
	s := event.Session{SessionID: info.SessionID}
	w.emit(&event.SessionStart{Session: s, Recording: "node"}, &event.SessionEnd{Session: s},
		&event.SessionUpload{Session: s, Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Head: sum.Chain.String()})
	return data
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func (w *world) write(name, text string) (path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, name)
	must(w.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// result is what a run of tctl left behind.
type result struct {
	code     int
	out, err string
}

// tctl runs a command line of somebody elsewhere, with the identity file.
func (w *world) tctl(args ...string) result {
	w.t.Helper()
	return w.run(append([]string{"--identity=" + w.identity, "--auth-server=" + w.addr}, args...)...)
}

// run runs a command line.
func (w *world) run(args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	home := map[string]string{"HOME": w.dir, "TELEPORT_HOME": filepath.Join(w.dir, "tsh")}
	code := tctlcmd.Run(w.t.Context(), args, tctlcmd.Env{In: strings.NewReader(""), Out: io.Writer(&out), Err: &errs, Getenv: func(k string) string { return home[k] }})
	if strings.Contains(errs.String(), "goroutine ") {
		w.t.Errorf("tctl %v shows a stack trace:\n%s", args, errs.String())
	}
	return result{code, out.String(), errs.String()}
}
