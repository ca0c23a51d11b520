package authapi

import (
	"context"
	"net"

	"connectrpc.com/connect"
	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/store"
	"teleport/types"
)

// JoinOpenSSH certifies the host key of a stock SSH server and registers it as a
// node without an agent. Joined again, by the same key, it gets a new certificate
// and is registered with what it says then.
func (s joinService) JoinOpenSSH(ctx context.Context, req *connect.Request[joinv1.JoinOpenSSHRequest]) (*connect.Response[joinv1.JoinOpenSSHResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	key, err := keys.ParseSSHPublic(m.HostKey)
	if err != nil {
		return nil, err
	}
	said := join.SSHD{Method: m.Method, Token: types.NewSecret(m.Token), Hostname: m.Hostname, Addr: m.Addr, Labels: m.Labels}
	if err := said.Verify(key, m.Signature); err != nil {
		return nil, err
	}
	node, err := sshdNode(join.SSHDUUID(key), said)
	if err != nil {
		return nil, err
	}
	admission, err := s.a.d.Gate.Admit(ctx, join.Request{Method: m.Method, Token: said.Token, Proof: m.Proof,
		HostUUID: node.Name(), Hostname: m.Hostname, Roles: []types.SystemRole{types.RoleNode}, Addr: c.Addr})
	if err != nil {
		return nil, err
	}
	certs, err := s.certifySSHD(ctx, admission, key, node, c)
	if err != nil {
		return nil, err
	}
	if err := s.registerSSHD(ctx, c, node); err != nil {
		return nil, err
	}
	docs, err := authorities(s.a.d.Trust())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&joinv1.JoinOpenSSHResponse{HostUuid: node.Name(), Cluster: certs.Identity.Cluster, HostCert: certs.SSH,
		Authorities: docs, ExpiresUnix: certs.Expires.Unix()}), nil
}

// sshdNode is the document of a server without an agent.
func sshdNode(id string, said join.SSHD) (*types.Node, error) {
	n := &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: types.SubKindOpenSSH, Version: "v2",
		Metadata: types.Metadata{Name: id, Labels: said.Labels}}}
	n.Spec.Addr, n.Spec.Hostname = said.Addr, said.Hostname
	if err := checkHost(said.Hostname, nil, nil); err != nil {
		return nil, err
	}
	return n, n.Validate()
}

// certifySSHD issues the host certificate, for what the token's scope allows: the
// names, the host of the address, and the labels.
func (s joinService) certifySSHD(ctx context.Context, by *join.Admission, key ssh.PublicKey, n *types.Node, c rpc.Caller) (ca.Certs, error) {
	if !join.Covers(by.Scope(), n.Spec.Hostname, n.Metadata.Labels) {
		return ca.Certs{}, fault.New(fault.Denied, "the join token does not allow the host name %q with these labels", n.Spec.Hostname).
			WithHint("join with a token whose scope covers them")
	}
	host, _, err := net.SplitHostPort(n.Spec.Addr)
	if err != nil {
		return ca.Certs{}, fault.Wrap(err, fault.Invalid, "%q is no address", n.Spec.Addr)
	}
	if !join.CoversName(by.Scope(), host) {
		return ca.Certs{}, fault.New(fault.Denied, "the join token does not allow the address %.80q", host).
			WithHint("join with a token whose scope covers it")
	}
	if err := s.a.d.Inventory.Claim(ctx, n); err != nil {
		return ca.Certs{}, err
	}
	h := ca.Host{UUID: n.Name(), Hostname: n.Spec.Hostname}
	if types.CheckHostname(host) == nil {
		h.Principals = []string{host}
	}
	return s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileHostSSHD, Subject: ca.Joined{Admission: by},
		Keys: ca.Keys{SSH: key}, Host: h, Addr: c.Addr})
}

// registerSSHD stores the node, and tells of it under its own name.
func (s joinService) registerSSHD(ctx context.Context, c rpc.Caller, n *types.Node) error {
	old, err := s.a.existing(ctx, types.KindNode, n.SubKind, n.Name())
	if err != nil {
		return err
	}
	stored, err := s.a.d.Store.Put(ctx, store.Upsert, n)
	if err != nil {
		return err
	}
	c.Identity = &types.Identity{Kind: types.IdentityHost, Cluster: s.a.d.Cluster, Name: n.Name()}
	return s.a.emit(ctx, changeEvent(c, old, stored))
}
