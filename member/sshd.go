package member

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/types"
)

// SSHDJoiner registers a stock SSH server. Its connection must have been verified
// by the caller, as a Joiner's.
type SSHDJoiner interface {
	JoinOpenSSH(ctx context.Context, req *joinv1.JoinOpenSSHRequest) (*joinv1.JoinOpenSSHResponse, error)
}

// JoinedSSHD is what a stock SSH server gets when it joins.
type JoinedSSHD struct {
	UUID, Cluster string
	Certificate   *ssh.Certificate
	Authorities   []ssh.PublicKey // whose user certificates it shall take
	Expires       time.Time
}

// JoinSSHD registers the stock SSH server that has this host key, and gets a
// certificate for it. Nothing is kept.
func JoinSSHD(ctx context.Context, via SSHDJoiner, method join.Prover, key ssh.Signer, said join.SSHD) (*JoinedSSHD, error) {
	said.Method = method.Name()
	proof, err := method.Prove(ctx, join.ProveRequest{Token: said.Token})
	if err != nil {
		return nil, err
	}
	signature, err := said.Sign(key)
	if err != nil {
		return nil, err
	}
	got, err := via.JoinOpenSSH(ctx, &joinv1.JoinOpenSSHRequest{Method: said.Method, Token: said.Token.Reveal(), Proof: proof,
		HostKey: keys.SSHLine(key.PublicKey()), Signature: signature, Hostname: said.Hostname, Addr: said.Addr, Labels: said.Labels})
	if err != nil {
		return nil, err
	}
	return checkSSHD(got, key.PublicKey(), time.Now())
}

// checkSSHD reads an answer: the certificate must be for the key, and verify under
// the authorities that came with it.
func checkSSHD(got *joinv1.JoinOpenSSHResponse, key ssh.PublicKey, now time.Time) (*JoinedSSHD, error) {
	out := &JoinedSSHD{UUID: got.HostUuid, Cluster: got.Cluster, Expires: time.Unix(got.ExpiresUnix, 0)}
	var docs []*types.CertAuthority
	for _, raw := range got.Authorities {
		doc := &types.CertAuthority{}
		if err := json.Unmarshal(raw, doc); err != nil {
			return nil, fault.Wrap(err, fault.Untrusted, "the cluster sent an authority that cannot be read")
		}
		docs = append(docs, doc)
	}
	trust, err := cert.NewTrust(docs)
	if err != nil {
		return nil, err
	}
	if out.Certificate, err = keys.ParseSSHCert(got.HostCert); err != nil {
		return nil, err
	}
	id, err := sshcert.Verify(out.Certificate, trust, types.IdentityHost, now)
	if err != nil {
		return nil, err
	}
	if id.Name != got.HostUuid || id.Name != join.SSHDUUID(key) || id.Cluster != got.Cluster || string(out.Certificate.Key.Marshal()) != string(key.Marshal()) {
		return nil, fault.New(fault.Untrusted, "the answer of the cluster is not for the host key of this server")
	}
	out.Authorities = trust.SSHKeys(types.CAOpenSSH)
	return out, nil
}
