package authapi

import (
	"context"
	"crypto/x509"
	"errors"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"teleport/api/gen/joinv1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/join"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Bounds of what a process says about itself.
const (
	maxHostRoles  = 16
	maxPrincipals = 32
	maxName       = 255
)

// joinService admits processes and renews what they hold.
type joinService struct{ a *API }

// Challenge is for methods that answer one; there is none among those that this
// version knows.
func (s joinService) Challenge(_ context.Context, req *connect.Request[joinv1.ChallengeRequest]) (*connect.Response[joinv1.ChallengeResponse], error) {
	return nil, fault.New(fault.Unimplemented, "the join method %.60q asks for no challenge", req.Msg.Method)
}

// Join trades a proof for the first certificates of a process.
func (s joinService) Join(ctx context.Context, req *connect.Request[joinv1.JoinRequest]) (*connect.Response[joinv1.JoinResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	if err := checkHost(m.Hostname, m.Principals, m.SystemRoles); err != nil {
		return nil, err
	}
	k, err := publicKeys(m.Keys.GetSshPublic(), m.Keys.GetTlsPublic())
	if err != nil {
		return nil, err
	}
	roles := make([]types.SystemRole, len(m.SystemRoles))
	for i, r := range m.SystemRoles {
		roles[i] = types.SystemRole(r)
	}
	admission, err := s.a.d.Gate.Admit(ctx, join.Request{Method: m.Method, Token: types.NewSecret(m.Token), Proof: m.Proof,
		HostUUID: m.HostUuid, Hostname: m.Hostname, Roles: roles, Addr: c.Addr})
	if err != nil {
		return nil, err
	}
	if err := s.freeUUID(ctx, m.HostUuid); err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileHostJoin, Subject: ca.Joined{Admission: admission},
		Keys: k, Host: ca.Host{UUID: m.HostUuid, Hostname: m.Hostname, Principals: m.Principals}, Addr: c.Addr})
	if err != nil {
		return nil, err
	}
	return s.response(certs)
}

// freeUUID refuses a process the UUID of a server without an agent, whose node it
// would replace.
func (s joinService) freeUUID(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	n, err := store.Of[*types.Node](s.a.d.Store).Get(ctx, id)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case n.SubKind != types.SubKindTeleport:
		return fault.New(fault.Denied, "the host UUID %s belongs to a server without an agent", id).WithHint("remove host_uuid from the data directory")
	}
	return nil
}

// Renew replaces the certificates of the process that calls.
func (s joinService) Renew(ctx context.Context, req *connect.Request[joinv1.RenewRequest]) (*connect.Response[joinv1.JoinResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	if err := checkHost(m.Hostname, m.Principals, nil); err != nil {
		return nil, err
	}
	k, err := publicKeys(m.Keys.GetSshPublic(), m.Keys.GetTlsPublic())
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileHostRenew,
		Subject: ca.Certificate{Chain: []*x509.Certificate{c.Certificate}}, Keys: k,
		Host: ca.Host{Hostname: m.Hostname, Principals: m.Principals}, Addr: c.Addr})
	var cloned *ca.Cloned
	if errors.As(err, &cloned) {
		return nil, s.lockClone(ctx, c, cloned, err)
	}
	if err != nil {
		return nil, err
	}
	return s.response(certs)
}

// lockClone bans a host whose key turned out to live in two places.
func (s joinService) lockClone(ctx context.Context, c rpc.Caller, cloned *ca.Cloned, answer error) error {
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: uuid.NewString()}}}
	lock.Spec.Target.ServerID = cloned.HostUUID
	lock.Spec.Message = "its certificate was renewed by two holders: the key may have been copied"
	if _, err := s.a.d.Store.Put(ctx, store.Create, lock); err != nil {
		return err
	}
	e := &event.InstanceClone{Connection: from(c), HostID: cloned.HostUUID, NodeName: c.Identity.Authority.Hostname,
		Expected: cloned.Expected, Presented: cloned.Presented, LockedWith: lock.Metadata.Name}
	if err := s.a.emit(ctx, e); err != nil {
		return err
	}
	return answer
}

func (s joinService) response(certs ca.Certs) (*connect.Response[joinv1.JoinResponse], error) {
	docs, err := authorities(s.a.d.Trust())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&joinv1.JoinResponse{HostUuid: certs.Identity.Name, Cluster: certs.Identity.Cluster,
		SshCert: certs.SSH, TlsCert: certs.TLS, Authorities: docs}), nil
}

// checkHost bounds and checks the names that a process gives itself. Names that
// the cluster itself is known by are nobody's to take.
func checkHost(hostname string, principals, roles []string) error {
	if len(principals) > maxPrincipals || len(roles) > maxHostRoles {
		return fault.New(fault.Limit, "too many names or roles")
	}
	if hostname == "" {
		return fault.New(fault.Invalid, "the host name is missing").WithHint("set teleport.nodename")
	}
	for _, name := range append([]string{hostname}, principals...) {
		if len(name) > maxName {
			return fault.New(fault.Limit, "a host name has at most %d characters", maxName)
		}
		if err := types.CheckHostname(name); err != nil {
			return err
		}
	}
	return nil
}
