package authapi_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/cert/certtest"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// sshdJoin is the request of a stock SSH server with that key.
func sshdJoin(t *testing.T, key ssh.Signer, change ...func(*join.SSHD)) *joinv1.JoinOpenSSHRequest {
	t.Helper()
	said := join.SSHD{Method: "token", Token: types.NewSecret(staticSecret), Hostname: "plain", Addr: "10.0.0.9:22", Labels: map[string]string{"env": "dev"}}
	for _, f := range change {
		f(&said)
	}
	sig, err := said.Sign(key)
	must(t, err)
	return &joinv1.JoinOpenSSHRequest{Method: said.Method, Token: said.Token.Reveal(), Hostname: said.Hostname, Addr: said.Addr, Labels: said.Labels,
		HostKey: keys.SSHLine(key.PublicKey()), Signature: sig}
}

func sshSigner(t *testing.T) ssh.Signer {
	t.Helper()
	k, err := keys.Generate(keys.Ed25519)
	must(t, err)
	s, err := ssh.NewSignerFromSigner(k)
	must(t, err)
	return s
}

func TestAStockServerJoinsAndJoinsAgain(t *testing.T) {
	w := newWorld(t)
	key := sshSigner(t)
	c := w.client(nil)
	got, err := c.JoinOpenSSH(t.Context(), sshdJoin(t, key))
	must(t, err)
	crt, err := keys.ParseSSHCert(got.HostCert)
	must(t, err)
	if got.HostUuid != join.SSHDUUID(key.PublicKey()) || got.Cluster != "example" || crt.CertType != ssh.HostCert ||
		string(crt.Key.Marshal()) != string(key.PublicKey().Marshal()) || len(got.Authorities) == 0 {
		t.Errorf("%+v\n%+v", got, crt)
	}
	again, err := c.JoinOpenSSH(t.Context(), sshdJoin(t, key, func(s *join.SSHD) { s.Addr, s.Labels = "10.0.0.10:22", map[string]string{"env": "prod"} }))
	must(t, err)
	n, err := store.Of[*types.Node](w.store()).Get(t.Context(), got.HostUuid)
	must(t, err)
	if again.HostUuid != got.HostUuid || n.SubKind != types.SubKindOpenSSH || n.Spec.Addr != "10.0.0.10:22" || n.Spec.Hostname != "plain" ||
		n.Metadata.Labels["env"] != "prod" || n.Metadata.Expires != nil {
		t.Errorf("%+v", n)
	}
	for typ, want := range map[string]int{event.TypeInstanceJoin: 2, event.TypeResourceCreated: 1, event.TypeResourceUpdated: 1} {
		if got := len(w.events.Events(typ)); got != want {
			t.Errorf("%d events %s, not %d", got, typ, want)
		}
	}
}

func TestWhatAStockServerMayNotJoinAs(t *testing.T) {
	w := newWorld(t)
	key, other := sshSigner(t), sshSigner(t)
	c := w.client(nil)
	_, err := c.JoinOpenSSH(t.Context(), sshdJoin(t, key))
	must(t, err)
	// What somebody asks for who knows a token and the public key of a server.
	stolen := sshdJoin(t, other)
	stolen.HostKey = keys.SSHLine(key.PublicKey())
	moved := sshdJoin(t, key)
	moved.Addr = "10.0.0.66:22"
	for name, x := range map[string]struct {
		req  *joinv1.JoinOpenSSHRequest
		kind fault.Kind
		says string
	}{
		"the key of another":          {stolen, fault.Denied, "not signed by the host key"},
		"an address nobody signed":    {moved, fault.Denied, "not signed by the host key"},
		"the name of another":         {sshdJoin(t, other), fault.AlreadyExists, "belongs to the live host"},
		"the address of another":      {sshdJoin(t, other, func(s *join.SSHD) { s.Hostname = "other" }), fault.AlreadyExists, "10.0.0.9"},
		"a token never made":          {sshdJoin(t, other, func(s *join.SSHD) { s.Token = types.NewSecret(strings.Repeat("z", 32)) }), fault.Denied, "token"},
		"no address":                  {sshdJoin(t, other, func(s *join.SSHD) { s.Hostname, s.Addr = "other", "" }), fault.Invalid, "spec.addr"},
		"a name that is none":         {sshdJoin(t, other, func(s *join.SSHD) { s.Hostname, s.Addr = "-x", "10.0.0.8:22" }), fault.Invalid, "host name"},
		"a label that is none":        {sshdJoin(t, other, func(s *join.SSHD) { s.Hostname, s.Addr, s.Labels = "x", "10.0.0.8:22", map[string]string{"-": ""} }), fault.Invalid, "label"},
		"a key that is none":          {&joinv1.JoinOpenSSHRequest{Method: "token", Token: staticSecret, HostKey: "rubbish"}, fault.Invalid, ""},
		"a method that nobody offers": {sshdJoin(t, other, func(s *join.SSHD) { s.Method = "iam" }), fault.Invalid, "method"},
	} {
		_, err := c.JoinOpenSSH(t.Context(), x.req)
		if fault.KindOf(err) != x.kind || !strings.Contains(fault.Message(err), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := store.Of[*types.Node](w.store()).All(t.Context()); err != nil || len(all) != 1 || all[0].Spec.Addr != "10.0.0.9:22" {
		t.Errorf("%d nodes, %v", len(all), err)
	}
}

// A process that joins under the UUID of a server without an agent would replace
// its node, or remove it when it leaves.
func TestNoProcessTakesThePlaceOfAStockServer(t *testing.T) {
	w := newWorld(t)
	const registered = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"
	n := &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: types.SubKindOpenSSH, Version: "v2", Metadata: types.Metadata{Name: registered}}}
	n.Spec.Hostname, n.Spec.Addr = "plain", "10.0.0.9:22"
	_, err := w.store().Put(t.Context(), store.Create, n)
	must(t, err)
	joined, err := w.client(nil).JoinOpenSSH(t.Context(), sshdJoin(t, sshSigner(t), func(s *join.SSHD) { s.Hostname, s.Addr = "other", "10.0.0.8:22" }))
	must(t, err)
	for _, id := range []string{registered, joined.HostUuid} {
		_, err := w.client(nil).Join(t.Context(), &joinv1.JoinRequest{Method: "token", Token: staticSecret, HostUuid: id, Hostname: "node1",
			SystemRoles: []string{"Node"}, Keys: &joinv1.HostKeys{SshPublic: keys.SSHLine(certtest.SSHKey(t))}})
		if !errors.Is(err, fault.Denied) || !strings.Contains(fault.Message(err), "without an agent") {
			t.Errorf("%s: %v", id, err)
		}
	}
}
