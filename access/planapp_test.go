package access_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

func planApp(name, cloud string, labels map[string]string) *types.App {
	a := &types.App{Spec: types.AppSpec{URI: "http://localhost:1"}}
	if cloud != "" {
		a.Spec = types.AppSpec{URI: "cloud://" + cloud, Cloud: cloud}
	}
	a.Metadata.Name, a.Metadata.Labels, a.Kind = name, labels, types.KindApp
	return a
}

// TestCompareApps: what a change of roles gives and takes of apps is what Decide says
// of each use.
func TestCompareApps(t *testing.T) {
	reader, admin, abroad := "arn:aws:iam::123456789012:role/reader", "arn:aws:iam::123456789012:role/admin", "arn:aws:iam::210987654321:role/reader"
	role := func(edit func(*types.RoleSpec)) *types.Role {
		r := &types.Role{}
		r.Metadata.Name, r.Kind, r.Version = "dev", types.KindRole, types.V8
		r.Spec.Allow = types.RoleConditions{AppLabels: types.Labels{"env": {"dev"}}, AWSRoleARNs: []string{reader, abroad}, GCPServiceAccounts: []string{"a@b.iam.gserviceaccount.com"},
			AzureIdentities: []string{"{{internal.azure_identities}}"}}
		if edit != nil {
			edit(&r.Spec)
		}
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	dev := map[string]string{"env": "dev"}
	azure := "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/alice"
	in := access.PlanInput{Cluster: "example.com", Now: now(), Old: roleMap(role(nil)),
		Users: []*types.User{planUser("alice", map[string][]string{"azure_identities": {azure}}, "dev"), planUser("bob", nil, "other")},
		Apps: []*types.App{planApp("wiki", "", dev), planApp("vault", "", dev), planApp("payroll", "", map[string]string{"env": "prod"}), planApp("aws", types.CloudAWS, dev),
			planApp("account", types.CloudAWS, map[string]string{"env": "dev", "aws_account_id": "123456789012"}), planApp("gcp", types.CloudGCP, dev), planApp("azure", types.CloudAzure, dev)}}
	s := func(logins []string, resources ...string) access.Shift {
		return access.Shift{User: "alice", Kind: "app", Logins: logins, Count: len(resources), Resources: resources}
	}
	for name, c := range map[string]struct {
		dev          *types.Role
		gained, lost []access.Shift
	}{
		"nothing": {role(nil), nil, nil},
		"it goes": {nil, nil, []access.Shift{s([]string{reader}, "account"), s([]string{reader, abroad}, "aws"), s([]string{azure}, "azure"), s([]string{"a@b.iam.gserviceaccount.com"}, "gcp"),
			s([]string{"use"}, "vault", "wiki")}},
		"another label": {role(func(s *types.RoleSpec) { s.Allow.AppLabels = types.Labels{"env": {"dev", "prod"}} }), []access.Shift{s([]string{"use"}, "payroll")}, nil},
		"a deny":        {role(func(s *types.RoleSpec) { s.Deny.AWSRoleARNs = []string{reader} }), nil, []access.Shift{s([]string{reader}, "account", "aws")}},
		"a role more":   {role(func(s *types.RoleSpec) { s.Allow.AWSRoleARNs = []string{reader, abroad, admin} }), []access.Shift{s([]string{admin}, "account", "aws")}, nil},
		"all roles":     {role(func(s *types.RoleSpec) { s.Allow.AWSRoleARNs = []string{"*"} }), []access.Shift{s([]string{"*"}, "aws")}, nil},
	} {
		in.New = map[string]*types.Role{}
		if c.dev != nil {
			in.New = roleMap(c.dev)
		}
		p, err := access.Compare(t.Context(), in)
		for _, list := range [][]access.Shift{p.Lost, p.Gained} {
			slices.SortFunc(list, func(a, b access.Shift) int { return slices.Compare(a.Resources, b.Resources) })
			for i := range list {
				slices.Sort(list[i].Logins)
			}
		}
		if err != nil || !reflect.DeepEqual(append([]access.Shift{}, c.gained...), p.Gained) || !reflect.DeepEqual(append([]access.Shift{}, c.lost...), p.Lost) || p.Apps != 7 {
			t.Errorf("%s: %v\ngained %+v\nlost   %+v", name, err, p.Gained, p.Lost)
		}
	}
}

// TestExplainApps: what each role lacks of a use of an app is said.
func TestExplainApps(t *testing.T) {
	one := &types.Role{Spec: types.RoleSpec{Allow: types.RoleConditions{AppLabels: types.Labels{"env": {"dev"}}, AWSRoleARNs: []string{"arn:aws:iam::1:role/reader"}}}}
	two := &types.Role{Spec: types.RoleSpec{Deny: types.RoleConditions{AWSRoleARNs: []string{"arn:aws:iam::1:role/root"}}}}
	one.Metadata.Name, two.Metadata.Name = "one", "two"
	for _, r := range []*types.Role{one, two} {
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	app := planApp("aws", types.CloudAWS, map[string]string{"env": "dev"})
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example.com", Name: "alice", IssuedAt: now()}
	id.Authority.Roles, id.Authority.Expires = []string{"one", "two"}, now().Add(time.Hour)
	for as, want := range map[string]string{"reader": access.CodeAllowed, "admin": access.CodeAppPrincipalNotAllowed, "root": access.CodeAppPrincipalDenied} {
		r := access.Request{Identity: id, Roles: []*types.Role{one, two}, Action: access.ActionApp, Resource: app, App: app.Spec.RouteAs("arn:aws:iam::1:role/" + as), Now: now()}
		e := access.Explain(r)
		if e.Decision.Code() != want || !slices.Equal(e.Logins, []string{"arn:aws:iam::1:role/reader"}) || len(e.Roles) != 2 {
			t.Errorf("%s: %+v", as, e)
			continue
		}
		if says := e.Roles[0].Reasons[0].Code; says == access.CodeRoleAppField == (as == "reader") || e.Roles[1].Denies != (as == "root") {
			t.Errorf("%s: the roles say %+v", as, e.Roles)
		}
	}
}
