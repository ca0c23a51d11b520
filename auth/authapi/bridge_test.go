package authapi_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/authclient"
	"teleport/api/gen/issuev1"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/keys"
	"teleport/store"
	"teleport/types"
)

// sshUser is the SSH certificate of a user with the role access.
func (w *world) sshUser(name string) string {
	w.t.Helper()
	w.user(name, "access")
	key, err := keys.Generate(keys.Ed25519)
	must(w.t, err)
	line, err := keys.MarshalSSHPublic(key.Public())
	must(w.t, err)
	resp, err := w.admin().SignUser(w.t.Context(), &issuev1.SignUserRequest{User: name, Keys: &issuev1.PublicKeys{SshPublic: line}})
	must(w.t, err)
	return resp.SshCert
}

// recordAt sets where the cluster records.
func (w *world) recordAt(mode string) {
	w.t.Helper()
	doc := w.recordingConfig()
	doc.Metadata.Revision, doc.Spec.Mode = "", mode
	_, err := authclient.Put(w.t.Context(), w.admin(), authclient.Upsert, doc)
	must(w.t, err)
	w.settle()
}

// TestBridge: a proxy gets what speaks for a user at one node, as one login, where
// the cluster records at its proxies, and for whom it shows the certificate of.
func TestBridge(t *testing.T) {
	w := newWorld(t)
	uuid, cert := w.host("proxy1", types.RoleProxy)
	proxy := w.client(cert)
	host, _ := w.host("node1", types.RoleNode)
	const plain = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"
	for name, sub := range map[string]string{host: "", plain: types.SubKindOpenSSH} {
		n := &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: sub, Version: "v2", Metadata: types.Metadata{Name: name}}}
		n.Spec.Hostname, n.Spec.Addr = "n-"+name[:4], "192.0.2.1:22"
		_, err := w.store().Put(t.Context(), store.Create, n)
		must(t, err)
	}
	key, err := keys.Generate(keys.Ed25519)
	must(t, err)
	line, err := keys.MarshalSSHPublic(key.Public())
	must(t, err)
	alice := w.sshUser("alice")
	ask := func(change func(*issuev1.BridgeRequest)) (*ssh.Certificate, error) {
		r := &issuev1.BridgeRequest{UserCert: alice, SshPublic: line, Node: host, Login: "alice", ClientAddr: "192.0.2.9:4000"}
		if change != nil {
			change(r)
		}
		resp, err := proxy.Bridge(t.Context(), r)
		if err != nil {
			return nil, err
		}
		return keys.ParseSSHCert(resp.SshCert)
	}
	for _, mode := range []string{"off", "node", "node-sync"} {
		w.recordAt(mode)
		if _, err := ask(nil); !errors.Is(err, fault.Denied) {
			t.Errorf("mode %s: %v", mode, err)
		}
	}
	w.recordAt("proxy-sync")
	got, err := ask(nil)
	must(t, err)
	id, err := sshcert.Verify(got, w.server.Trust(), types.IdentityBridge, time.Now())
	must(t, err)
	if id.Name != "alice" || id.Authority.ProxyUUID != uuid || id.Authority.Route.Name != host || len(id.Authority.Logins) != 1 {
		t.Errorf("%+v", id)
	}
	for name, change := range map[string]func(*issuev1.BridgeRequest){
		"another login":         func(r *issuev1.BridgeRequest) { r.Login = "root" },
		"no login":              func(r *issuev1.BridgeRequest) { r.Login = "" },
		"no such node":          func(r *issuev1.BridgeRequest) { r.Node = uuid },
		"a node without agent":  func(r *issuev1.BridgeRequest) { r.Node = plain },
		"no certificate":        func(r *issuev1.BridgeRequest) { r.UserCert = "" },
		"a bridge":              func(r *issuev1.BridgeRequest) { r.UserCert = keys.SSHLine(got) },
		"no address":            func(r *issuev1.BridgeRequest) { r.ClientAddr = "somewhere" },
		"no key":                func(r *issuev1.BridgeRequest) { r.SshPublic = "" },
		"a user without rights": func(r *issuev1.BridgeRequest) { r.UserCert, r.Login = w.sshUser("bob"), "alice" },
	} {
		if _, err := ask(change); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	if c, err := ask(func(r *issuev1.BridgeRequest) { r.Login = types.JoinLogin }); err != nil || len(c.ValidPrincipals) != 1 || c.ValidPrincipals[0] != types.JoinLogin {
		t.Errorf("for joining: %v, %v", c, err)
	}
}
