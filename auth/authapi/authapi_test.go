package authapi_test

import (
	"encoding/json"
	"errors"
	"testing"

	"teleport/api/authclient"
	"teleport/api/gen/accountv1"
	"teleport/fault"
	"teleport/types"
)

func TestAdminIsSeenAsItIs(t *testing.T) {
	w := newWorld(t)
	who, err := w.admin().WhoAmI(t.Context())
	must(t, err)
	var id types.Identity
	must(t, json.Unmarshal(who.Identity, &id))
	if !id.HasSystemRole(types.RoleAdmin) || id.Cluster != "example" {
		t.Fatalf("identity %+v", id)
	}
}

func TestAnonymousMayPingAndNothingElse(t *testing.T) {
	w := newWorld(t)
	c := w.client(nil)
	ping, err := c.Ping(t.Context())
	must(t, err)
	if ping.Cluster != "example" {
		t.Fatalf("cluster %q", ping.Cluster)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("status: %v", err)
	}
	if _, err := c.GetDocument(t.Context(), authclient.Ref{Kind: "user", Name: "x"}, false); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("get: %v", err)
	}
}

func TestInviteLinkNamesTheCluster(t *testing.T) {
	w := newWorld(t)
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: "alice"}}}
	u.Spec.Roles = []string{"access"}
	doc, err := json.Marshal(u)
	must(t, err)
	link, err := w.admin().InviteUser(t.Context(), &accountv1.InviteUserRequest{User: doc})
	must(t, err)
	if link.Url != "https://proxy.example:3080/web/invite/"+link.Token || len(link.Token) != 32 {
		t.Fatalf("link %q", link.Url)
	}
	if _, err := w.admin().InviteUser(t.Context(), &accountv1.InviteUserRequest{User: doc}); !errors.Is(err, fault.AlreadyExists) {
		t.Fatalf("second invite: %v", err)
	}
}
