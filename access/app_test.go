package access_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

const (
	awsReader = "arn:aws:iam::123456789012:role/reader"
	awsOther  = "arn:aws:iam::210987654321:role/reader"
	azureRead = "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
	gcpReader = "reader@project.iam.gserviceaccount.com"
)

// appRole makes a role for apps with env=prod, and what they are used as.
func appRole(name string, edit func(*types.RoleSpec)) *types.Role {
	return role(name, func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{AppLabels: types.Labels{"env": {"prod"}}, AWSRoleARNs: []string{awsReader, "{{internal.aws_role_arns}}"},
			AzureIdentities: []string{azureRead, "{{internal.azure_identities}}"}, GCPServiceAccounts: []string{gcpReader}}
		if edit != nil {
			edit(s)
		}
	})
}

func webApp(spec types.AppSpec) *types.App {
	a := &types.App{Spec: spec}
	a.Metadata.Name, a.Metadata.Labels = "wiki", map[string]string{"env": "prod"}
	if err := a.Validate(); err != nil {
		panic(err)
	}
	return a
}

func appRequest() access.Request {
	r := bare()
	r.Identity.Authority.Logins = nil // a user of apps needs no login of hosts
	r.Identity.Authority.Traits["aws_role_arns"] = []string{"arn:aws:iam::123456789012:role/alice", "*"}
	r.Identity.Authority.Traits["azure_identities"] = []string{strings.ToUpper(azureRead) + "-2"}
	r.Roles = []*types.Role{appRole("dev", nil)}
	r.Action, r.Resource, r.Login = access.ActionApp, webApp(types.AppSpec{URI: "http://localhost:8080"}), ""
	return r
}

// TestAppDecisions: who uses an app, and as what, is what roles say of both together.
// Each refusal says in one line what it misses.
func TestAppDecisions(t *testing.T) {
	with := func(edit func(*types.RoleSpec)) func(*access.Request) {
		return func(r *access.Request) { r.Roles = append(r.Roles, appRole("extra", edit)) }
	}
	as := func(cloud, principal string, then ...func(*access.Request)) func(*access.Request) {
		return func(r *access.Request) {
			app := webApp(types.AppSpec{Cloud: cloud})
			r.Resource, r.App = app, app.Spec.RouteAs(principal)
			for _, f := range then {
				f(r)
			}
		}
	}
	account := func(id string) func(*access.Request) {
		return func(r *access.Request) { r.Resource.Head().Metadata.Labels["aws_account_id"] = id }
	}
	tcp := func(port int) func(*access.Request) {
		return func(r *access.Request) {
			r.Resource, r.App.TargetPort = webApp(types.AppSpec{URI: "tcp://localhost", TCPPorts: []types.AppPort{{Port: 22}, {Port: 8000, EndPort: 8010}}}), port
		}
	}
	for _, c := range []struct {
		name, code, says string
		edit             func(*access.Request)
	}{
		{"plain", access.CodeAllowed, "", func(*access.Request) {}},
		{"dial", access.CodeAllowed, "", func(r *access.Request) { r.Action = access.ActionDial }},
		{"list", access.CodeAllowed, "", func(r *access.Request) { r.Action = access.ActionList }},
		{"a server of it", access.CodeAllowed, "", func(r *access.Request) {
			s := &types.AppServer{Spec: types.AppServerSpec{App: *webApp(types.AppSpec{URI: "http://localhost:8080"})}}
			s.Kind = types.KindAppServer
			r.Resource = s
		}},
		{"a route to it", access.CodeAllowed, "", func(r *access.Request) {
			r.Identity.Authority.Route = &types.Route{Kind: types.KindApp, Name: "wiki"}
		}},
		{"a route to another", access.CodeRouteMismatch, "", func(r *access.Request) {
			r.Identity.Authority.Route = &types.Route{Kind: types.KindApp, Name: "vault"}
		}},
		{"a usage for nodes", access.CodeUsageMismatch, "", func(r *access.Request) { r.Identity.Authority.Usage = []string{"ssh"} }},
		{"an action of hosts", access.CodeKindNotSupported, "cannot be used in this way", func(r *access.Request) { r.Action = access.ActionLogin }},
		{"an app's action on a node", access.CodeKindNotSupported, "", func(r *access.Request) { r.Resource = node() }},
		{"other labels", access.CodeNoRoleMatches, "", func(r *access.Request) { r.Resource.Head().Metadata.Labels["env"] = "test" }},
		{"labels of hosts alone", access.CodeNoRoleMatches, "", func(r *access.Request) {
			r.Roles = []*types.Role{role("ssh", func(s *types.RoleSpec) { s.Allow = types.RoleConditions{NodeLabels: types.Labels{"*": {"*"}}} })}
		}},
		{"labels denied", access.CodeDeniedByRole, "the role extra denies access to wiki", with(func(s *types.RoleSpec) { s.Deny.AppLabels = types.Labels{"env": {"prod"}} })},
		{"a locked user", access.CodeLocked, "stop", func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.User = "alice" })}
		}},
		{"a second factor", access.CodeMFARequired, "", with(func(s *types.RoleSpec) { s.Options.RequireSessionMFA = types.MFASession })},

		{"a role of AWS", access.CodeAllowed, "", as(types.CloudAWS, awsReader)},
		{"one by a trait", access.CodeAllowed, "", as(types.CloudAWS, "arn:aws:iam::123456789012:role/alice")},
		{"one that nobody lists", access.CodeAppPrincipalNotAllowed, "no role that matches it has " + awsOther + " in aws_role_arns", as(types.CloudAWS, awsOther)},
		{"one in other letters", access.CodeAppPrincipalNotAllowed, "", as(types.CloudAWS, strings.ToUpper(awsReader))},
		{"a star out of a trait", access.CodeAppPrincipalNotAllowed, "", as(types.CloudAWS, "*")},
		{"a wildcard of a role", access.CodeAllowed, "", as(types.CloudAWS, awsOther, with(func(s *types.RoleSpec) { s.Allow.AWSRoleARNs = []string{"*"} }))},
		{"labels of one role and the principal of another", access.CodeAppPrincipalNotAllowed, "", as(types.CloudAWS, awsOther, with(func(s *types.RoleSpec) {
			s.Allow.AppLabels, s.Allow.AWSRoleARNs = types.Labels{"env": {"test"}}, []string{awsOther}
		}))},
		{"one that is denied", access.CodeAppPrincipalDenied, "the role extra denies the AWS role " + awsReader, as(types.CloudAWS, awsReader, with(func(s *types.RoleSpec) { s.Deny.AWSRoleARNs = []string{awsReader} }))},
		{"all are denied", access.CodeAppPrincipalDenied, "", as(types.CloudAWS, awsReader, with(func(s *types.RoleSpec) { s.Deny.AWSRoleARNs = []string{"*"} }))},
		{"all are denied by a star of a trait", access.CodeAppPrincipalDenied, "", as(types.CloudAWS, awsReader, with(func(s *types.RoleSpec) { s.Deny.AWSRoleARNs = []string{"{{internal.aws_role_arns}}"} }))},
		{"none", access.CodeAppPrincipalUnknown, "no AWS role is named", as(types.CloudAWS, "")},
		{"none, for a dial", access.CodeAllowed, "", as(types.CloudAWS, "", func(r *access.Request) { r.Action = access.ActionDial })},
		{"one of the account", access.CodeAllowed, "", as(types.CloudAWS, awsReader, account("123456789012"))},
		{"one of another account", access.CodeAppPrincipalNotAllowed, "is not of the account 210987654321", as(types.CloudAWS, awsReader, account("210987654321"))},
		{"what is no ARN, of an account", access.CodeAppPrincipalNotAllowed, "", as(types.CloudAWS, "reader", account("123456789012"), with(func(s *types.RoleSpec) { s.Allow.AWSRoleARNs = []string{"*"} }))},

		{"an identity of Azure, in other letters", access.CodeAllowed, "", as(types.CloudAzure, strings.ToUpper(azureRead))},
		{"one by a trait, in other letters", access.CodeAllowed, "", as(types.CloudAzure, azureRead+"-2")},
		{"one that nobody lists, of Azure", access.CodeAppPrincipalNotAllowed, "in azure_identities", as(types.CloudAzure, azureRead+"-3")},
		{"one that is denied in other letters", access.CodeAppPrincipalDenied, "", as(types.CloudAzure, azureRead, with(func(s *types.RoleSpec) { s.Deny.AzureIdentities = []string{strings.ToUpper(azureRead)} }))},

		{"an account of GCP", access.CodeAllowed, "", as(types.CloudGCP, gcpReader)},
		{"no wildcard of GCP", access.CodeAppPrincipalNotAllowed, "in gcp_service_accounts", as(types.CloudGCP, "admin@project.iam.gserviceaccount.com", with(func(s *types.RoleSpec) { s.Allow.GCPServiceAccounts = []string{"*"} }))},
		{"all of GCP are denied", access.CodeAppPrincipalDenied, "the GCP service account", as(types.CloudGCP, gcpReader, with(func(s *types.RoleSpec) { s.Deny.GCPServiceAccounts = []string{"*"} }))},

		{"a principal of another cloud", access.CodeAppPrincipalNotAllowed, "is not used as the GCP service account", as(types.CloudAWS, awsReader, func(r *access.Request) { r.App.GCPServiceAccount = gcpReader })},
		{"a principal of an app of no cloud", access.CodeAppPrincipalNotAllowed, "wiki is not used as the AWS role", func(r *access.Request) { r.App.AWSRoleARN = awsReader }},

		{"a port", access.CodeAllowed, "", tcp(22)},
		{"no port: the first", access.CodeAllowed, "", tcp(0)},
		{"a port within a range", access.CodeAllowed, "", tcp(8005)},
		{"a port beyond it", access.CodeAppPortUnknown, "wiki has no port 8011", tcp(8011)},
		{"a port of a web app", access.CodeAppPortUnknown, "wiki has no port 22", func(r *access.Request) { r.App.TargetPort = 22 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := appRequest()
			c.edit(&r)
			d := access.Decide(r)
			if d.Code() != c.code || d.Allow != (c.code == access.CodeAllowed) || !strings.Contains(d.Text(), c.says) {
				t.Errorf("%v, want %s saying %q", d.Reasons, c.code, c.says)
			}
			if text := d.Reasons[0].Text; !d.Allow && (text == "" || strings.ContainsAny(text, "\r\n")) {
				t.Errorf("it says %q", text)
			}
			if e := access.Explain(r); e.Decision.Allow != d.Allow || len(e.Roles) == 0 {
				t.Errorf("explained as %+v", e)
			}
			if r.Action == access.ActionApp && r.Resource.Head().Kind != types.KindNode {
				replays(t, r, d)
			}
		})
	}
}

// TestAnAppIsUsedNoLongerThanTheCertificate: the app was told until when the user is
// known; a role may say sooner.
func TestAnAppIsUsedNoLongerThanTheCertificate(t *testing.T) {
	r := appRequest()
	ends := r.Identity.Authority.Ends()
	if d := access.Decide(r); !d.Limits.Deadline.Equal(ends) {
		t.Errorf("until %s, and the certificate until %s", d.Limits.Deadline, ends)
	}
	r.Action = access.ActionDial
	if d := access.Decide(r); d.Limits.Deadline.Equal(ends) {
		t.Error("a dial ends with the certificate without a role that says so")
	}
	r = appRequest()
	r.Identity.Kind, r.Identity.Authority.ProxyUUID = types.IdentityBridge, "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"
	r.Identity.Authority.UserExpires, r.Identity.Authority.Expires = ends, now().Add(5*time.Minute)
	if d := access.Decide(r); !d.Limits.Deadline.Equal(r.Identity.Authority.Ends()) {
		t.Errorf("over a bridge until %s", d.Limits.Deadline)
	}
}

// TestAppPrincipals lists what somebody may be in the cloud of an app.
func TestAppPrincipals(t *testing.T) {
	for cloud, want := range map[string][]string{
		types.CloudAWS:   {"arn:aws:iam::123456789012:role/alice", awsReader},
		types.CloudAzure: {strings.ToUpper(azureRead) + "-2", azureRead},
		types.CloudGCP:   {gcpReader},
	} {
		r := appRequest()
		r.Resource = webApp(types.AppSpec{Cloud: cloud})
		r.Roles = append(r.Roles, appRole("more", func(s *types.RoleSpec) {
			s.Allow.AWSRoleARNs, s.Allow.GCPServiceAccounts = []string{"*", awsOther, awsReader}, []string{"*"}
			s.Deny.AWSRoleARNs = []string{awsOther}
		}))
		if got := access.AppPrincipals(r); !slices.Equal(got, want) {
			t.Errorf("%s: %q", cloud, got)
		}
	}
	r := appRequest()
	if got := access.AppPrincipals(r); got != nil {
		t.Errorf("an app of no cloud: %q", got)
	}
	if r.Resource = node(); access.AppPrincipals(r) != nil {
		t.Error("a node has principals")
	}
}
