// Package authapi is the API of the auth service: one file per RPC service, and
// in each method one order: decide, act, record. Who may call what stands in the
// access table of api/rpc; the Resource procedures decide here, by the verb on
// the kind that a request names.
//
// Administration by design: whoever may write roles may write one that allows
// anything, so the right to update roles (preset role editor) is the right of an
// administrator. Everybody else grants at most what they hold: a user's roles can
// be set by somebody who may update users only to roles that the writer has.
package authapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/api/gen/accessv1/accessv1connect"
	"teleport/api/gen/accountv1"
	"teleport/api/gen/accountv1/accountv1connect"
	"teleport/api/gen/auditv1"
	"teleport/api/gen/auditv1/auditv1connect"
	"teleport/api/gen/issuev1"
	"teleport/api/gen/issuev1/issuev1connect"
	"teleport/api/gen/joinv1"
	"teleport/api/gen/joinv1/joinv1connect"
	"teleport/api/gen/loginv1"
	"teleport/api/gen/loginv1/loginv1connect"
	"teleport/api/gen/presencev1"
	"teleport/api/gen/presencev1/presencev1connect"
	"teleport/api/gen/recordingv1"
	"teleport/api/gen/recordingv1/recordingv1connect"
	"teleport/api/gen/resourcev1"
	"teleport/api/gen/resourcev1/resourcev1connect"
	"teleport/api/gen/statusv1"
	"teleport/api/gen/statusv1/statusv1connect"
	"teleport/api/rpc"
	"teleport/audit"
	"teleport/audit/chain"
	"teleport/auth/ca"
	"teleport/auth/connslots"
	"teleport/auth/inventory"
	"teleport/auth/login"
	"teleport/auth/recordings"
	"teleport/cert"
	"teleport/fault"
	"teleport/join"
	"teleport/lifecycle"
	"teleport/store"
	"teleport/types"
)

// AuditLog is the log of the cluster as its API needs it; *audit.Log is one.
type AuditLog interface {
	// Ingest takes one writer's batch and returns the sequence up to which
	// everything is durable.
	Ingest(ctx context.Context, caller audit.Caller, b chain.Batch) (acknowledged uint64, err error)
	Search(ctx context.Context, q audit.Query) (audit.Result, error)
	// Export writes blocks, checkpoints and public keys.
	Export(ctx context.Context, o audit.ExportOptions, w io.Writer) error
	// Head returns the newest signed checkpoint.
	Head() chain.Signed
}

// Deps are what the API works with. All fields but Recordings, RecordingKeys, PublishKeys,
// Search, Limits, PublicAddr and Now are required.
type Deps struct {
	Cluster string
	AuthID  string // host UUID of this auth service
	Version string
	Storage string // what the backend is, for status

	Store     *store.Store
	Policy    access.View
	Trust     func() *cert.Trust
	Issuer    *ca.Issuer
	Login     *login.Service
	Inventory *inventory.Inventory
	Gate      *join.Gate
	Audit     AuditLog
	Events    audit.Emitter
	Log       *slog.Logger

	// Recordings keeps the recordings of sessions; nil: none are kept.
	Recordings *recordings.Service
	// RecordingKeys are published in session_recording_config, where nobody else may
	// write them; nil: there are none. PublishKeys does it after a rotation.
	RecordingKeys *recordings.Keys
	PublishKeys   func(ctx context.Context) error
	// Search finds text in recordings; nil: there is no index.
	Search RecordingSearcher

	// PublicAddr is where clients reach a proxy (host:port), "" when none is known.
	PublicAddr func() string
	Limits     rpc.Limits
	Now        func() time.Time
}

// API serves every procedure of the auth service. It is an http.Handler for a
// server whose ConnContext is rpc.ConnContext. Safe for concurrent use.
type API struct {
	d      Deps
	users  store.Collection[*types.User]
	slots  *connslots.Slots
	server *rpc.Server
}

// New returns the API, or the reason why a service could not be mounted.
func New(d Deps) (*API, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	a := &API{d: d, users: store.Of[*types.User](d.Store)}
	a.slots = connslots.New(d.Store, func() time.Duration { return d.Policy.Settings().Networking.SessionControlTimeout.Std() }, d.Now)
	a.server = rpc.NewServer(rpc.Config{Table: rpc.AccessTable(), Verifier: &verifier{trust: d.Trust, now: d.Now},
		Authorizer: a, Log: d.Log, Limits: d.Limits, Now: d.Now})
	for _, s := range a.services() {
		if err := a.server.Register(s.descriptor, s.build); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the API cannot be served: %v", err)
		}
	}
	return a, nil
}

type service struct {
	descriptor protoreflect.ServiceDescriptor
	build      func(...connect.HandlerOption) (string, http.Handler)
}

func (a *API) services() []service {
	build := func(file protoreflect.FileDescriptor, name protoreflect.Name, f func(...connect.HandlerOption) (string, http.Handler)) service {
		return service{file.Services().ByName(name), f}
	}
	return []service{
		build(statusv1.File_teleport_status_v1_status_proto, "StatusService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return statusv1connect.NewStatusServiceHandler(statusService{a}, o...)
		}),
		build(joinv1.File_teleport_join_v1_join_proto, "JoinService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return joinv1connect.NewJoinServiceHandler(joinService{a}, o...)
		}),
		build(loginv1.File_teleport_login_v1_login_proto, "LoginService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return loginv1connect.NewLoginServiceHandler(loginService{a}, o...)
		}),
		build(issuev1.File_teleport_issue_v1_issue_proto, "IssueService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return issuev1connect.NewIssueServiceHandler(issueService{a}, o...)
		}),
		build(accountv1.File_teleport_account_v1_account_proto, "AccountService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return accountv1connect.NewAccountServiceHandler(accountService{a}, o...)
		}),
		build(accessv1.File_teleport_access_v1_access_proto, "AccessService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return accessv1connect.NewAccessServiceHandler(accessService{a}, o...)
		}),
		build(resourcev1.File_teleport_resource_v1_resource_proto, "ResourceService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return resourcev1connect.NewResourceServiceHandler(resourceService{a}, o...)
		}),
		build(presencev1.File_teleport_presence_v1_presence_proto, "PresenceService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return presencev1connect.NewPresenceServiceHandler(presenceService{a}, o...)
		}),
		build(auditv1.File_teleport_audit_v1_audit_proto, "AuditService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return auditv1connect.NewAuditServiceHandler(auditService{a}, o...)
		}),
		build(recordingv1.File_teleport_recording_v1_recording_proto, "RecordingService", func(o ...connect.HandlerOption) (string, http.Handler) {
			return recordingv1connect.NewRecordingServiceHandler(recordingService{a}, o...)
		}),
	}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.server.ServeHTTP(w, r) }

// Drain ends live streams, so that a server can shut down; their callers come
// back elsewhere.
func (a *API) Drain() { a.server.Drain() }

// hearing is how long a process that a lock names keeps its watch: it must hear
// of the lock to end what it carries, where no proxy stands in between.
const hearing = 200 * time.Millisecond

// Serve cuts live streams whose caller a changed lock, role or user no longer
// admits, until ctx ends. changes ticks after each change of the Policy.
func (a *API) Serve(ctx context.Context, changes <-chan struct{}) error {
	for {
		select {
		case <-changes:
			if lifecycle.Sleep(ctx, hearing) == nil {
				a.server.Recheck(ctx)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
