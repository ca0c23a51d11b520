package authapi_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/accessv1"
	"teleport/api/gen/issuev1"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// addNode stores a node as an agent would have registered it.
func (w *world) addNode(host string, labels map[string]string) *types.Node {
	w.t.Helper()
	n := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: uuid.NewString(), Labels: labels}}}
	n.Spec.Hostname, n.Spec.UseTunnel = host, true
	_, err := w.store().Put(w.t.Context(), store.Create, n)
	must(w.t, err)
	return n
}

// addRole stores a role that reaches nodes with env=value.
func (w *world) addRole(name, env string, edit func(*types.RoleSpec)) {
	w.t.Helper()
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: name}}}
	r.Spec.Allow = types.RoleConditions{Logins: []string{"{{internal.logins}}"}, NodeLabels: types.Labels{"env": {env}}}
	if edit != nil {
		edit(&r.Spec)
	}
	_, err := authclient.Put(w.t.Context(), w.admin(), authclient.Upsert, r)
	must(w.t, err)
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	w.addRole("dev", "dev", nil)
	w.addRole("pinned", "dev", func(s *types.RoleSpec) { on := true; s.Options.PinSourceIP = &on })
	node := w.addNode("web-1", map[string]string{"env": "dev"})
	w.addNode("twin", map[string]string{"env": "dev"})
	w.addNode("twin", map[string]string{"env": "dev"})
	w.addNode("secret-1", map[string]string{"env": "prod"})
	alice := w.user("alice", "dev")
	w.user("bob", "auditor")
	ed, both := w.user("ed", "editor"), w.user("both", "editor", "dev")
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: "pia"}}}
	u.Spec.Roles, u.Spec.Traits = []string{"pinned"}, map[string][]string{"logins": {"pia"}}
	_, err := authclient.Put(t.Context(), w.admin(), authclient.Upsert, u)
	must(t, err)
	w.settle()
	ask := func(user, name, login string) *accessv1.ExplainRequest {
		return &accessv1.ExplainRequest{User: user, Kind: "node", Name: name, Login: login}
	}
	for _, c := range []struct {
		name  string
		as    *authclient.Client
		req   *accessv1.ExplainRequest
		allow bool
		code  string
	}{
		{"by host name", w.client(ed), ask("alice", "web-1", "alice"), true, access.CodeAllowed},
		{"by UUID", w.client(ed), ask("alice", node.Name(), "alice"), true, access.CodeAllowed},
		{"no login: dial", w.client(ed), ask("alice", "web-1", ""), true, access.CodeAllowed},
		{"the administrator", w.admin(), ask("alice", "web-1", "root"), false, access.CodeLoginNotInCert},
		{"another's node", w.client(ed), ask("alice", "secret-1", "alice"), false, access.CodeNoRoleMatches},
		{"no roles for nodes", w.client(ed), ask("bob", "web-1", ""), false, access.CodeNoRoleMatches},
		{"oneself", w.client(alice), ask("alice", "web-1", "alice"), true, access.CodeAllowed},
		{"oneself, a document", w.client(alice), &accessv1.ExplainRequest{User: "alice", Kind: "users", Name: "alice", Action: "update"}, false, access.CodeNoRule},
		{"an editor's document", w.client(ed), &accessv1.ExplainRequest{User: "both", Kind: "role", Name: "dev", Action: "update"}, true, access.CodeAllowed},
		{"a kind", w.client(both), &accessv1.ExplainRequest{User: "both", Kind: "lock", Action: "create"}, true, access.CodeAllowed},
		{"pinned, address said", w.client(ed), func() *accessv1.ExplainRequest {
			r := ask("pia", "web-1", "pia")
			r.ClientIp = "192.0.2.7"
			return r
		}(), true, access.CodeAllowed},
		{"pinned, address not said", w.client(ed), ask("pia", "web-1", "pia"), true, access.CodeAllowed},
	} {
		e, err := c.as.Explain(t.Context(), c.req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if e.Decision.Allow != c.allow || e.Decision.Code() != c.code || e.Decision.Policy == "" || len(e.Roles) == 0 || len(e.Limits) == 0 {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	for _, c := range []struct {
		name string
		as   *authclient.Client
		req  *accessv1.ExplainRequest
		kind fault.Kind
		text string
	}{
		{"somebody else", w.client(alice), ask("bob", "web-1", ""), fault.Denied, "may not"},
		{"a node that oneself cannot see", w.client(alice), ask("alice", "secret-1", "alice"), fault.NotFound, "that you may see"},
		{"a document that oneself cannot see", w.client(alice), &accessv1.ExplainRequest{User: "alice", Kind: "user", Name: "bob"}, fault.NotFound, "that you may see"},
		{"no such user", w.client(ed), ask("alicf", "web-1", ""), fault.NotFound, "alicf"},
		{"no such node", w.client(ed), ask("alice", "web-2", ""), fault.NotFound, "web-2"},
		{"no such kind", w.client(ed), &accessv1.ExplainRequest{User: "alice", Kind: "nods", Name: "x"}, fault.NotFound, "nods"},
		{"an internal kind", w.client(ed), &accessv1.ExplainRequest{User: "alice", Kind: types.KindWebSession, Name: "x"}, fault.NotFound, ""},
		{"two of the name", w.client(ed), ask("alice", "twin", ""), fault.Conflict, "2 nodes"},
		{"no such action", w.client(ed), &accessv1.ExplainRequest{User: "alice", Kind: "node", Name: "web-1", Action: "logn"}, fault.Invalid, "logn"},
		{"action without login", w.client(ed), &accessv1.ExplainRequest{User: "alice", Kind: "node", Name: "web-1", Action: "file_copy"}, fault.Invalid, "for a login"},
		{"a bad address", w.client(ed), &accessv1.ExplainRequest{User: "alice", Kind: "node", Name: "web-1", ClientIp: "here"}, fault.Invalid, "not an address"},
	} {
		if _, err := c.as.Explain(t.Context(), c.req); fault.KindOf(err) != c.kind || !strings.Contains(fault.Message(err), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err = w.client(ed).Explain(t.Context(), ask("alicf", "web-1", ""))
	if !strings.Contains(fault.Hint(err), `"alice"`) {
		t.Errorf("the nearest name is not offered: %q", fault.Hint(err))
	}
	_, host := w.host("node9", types.RoleNode)
	if _, err := w.client(host).Explain(t.Context(), ask("alice", "web-1", "")); !errors.Is(err, fault.Denied) {
		t.Errorf("a host may ask: %v", err)
	}
}

// TestPinnedCertificateFromElsewhere: a certificate that is pinned to another
// address is refused whatever is asked, renewal included, and the log says so.
func TestPinnedCertificateFromElsewhere(t *testing.T) {
	w := newWorld(t)
	w.user("ed", "editor")
	stolen := w.client(w.forge(userIdentity("ed", func(id *types.Identity) { id.Authority.PinnedIP = mustAddr("203.0.113.7") }), types.CAUser, time.Now()))
	_, der := w.key()
	for name, call := range map[string]func() error{
		"who am I": func() error { _, err := stolen.WhoAmI(t.Context()); return err },
		"list": func() error {
			_, err := authclient.List[types.User](t.Context(), stolen, types.KindUser, authclient.ListOptions{})
			return err
		},
		"renew": func() error {
			_, err := stolen.Reissue(t.Context(), &issuev1.ReissueRequest{Keys: &issuev1.PublicKeys{TlsPublic: der}})
			return err
		},
		"explain": func() error {
			_, err := stolen.Explain(t.Context(), &accessv1.ExplainRequest{User: "ed", Kind: "user", Name: "ed"})
			return err
		},
	} {
		before := len(w.events.Events(event.TypeAccessDenied))
		if err := call(); !errors.Is(err, fault.Denied) || !strings.Contains(fault.Message(err), "address of its login") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(w.events.Events(event.TypeAccessDenied)); n != before+1 {
			t.Errorf("%s: %d events", name, n-before)
		}
	}
	here := w.client(w.forge(userIdentity("ed", func(id *types.Identity) { id.Authority.PinnedIP = mustAddr("127.0.0.1") }), types.CAUser, time.Now()))
	if _, err := here.WhoAmI(t.Context()); err != nil {
		t.Errorf("from the pinned address: %v", err)
	}
}
