package cloudapp

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/cloud/awscloud"
	"teleport/cloud/cloudtest"
	"teleport/types"
	"teleport/types/event"
)

// TestWhoMayBeWhat goes through the app service: a tool and a browser of somebody who
// may be a role, and who may not.
func TestWhoMayBeWhat(t *testing.T) {
	a := cloudtest.NewAWS(t)
	a.Use(t)
	a.Role(roleARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "ours"})
	e := &Engine{AWS: &awscloud.Cloud{}}
	t.Cleanup(e.Close)
	w := apptest.New(t, types.AppSpec{URI: "cloud://AWS", AWS: &types.AppAWS{ExternalID: "ours"}, CloudEndpoints: map[string]string{"signin": a.Signin}},
		func(c *appaccess.Config) { c.Clouds = e.Clouds() })
	w.Role(func(r *types.RoleSpec) { r.Allow.AWSRoleARNs = []string{roleARN} })
	ask := func(id *types.Identity, host string, change func(*http.Request)) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		resp, err := w.Client(id).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	const s3Host = "s3.eu-west-1.amazonaws.com"
	allowed, other := types.AppRoute{AWSRoleARN: roleARN}, types.AppRoute{AWSRoleARN: "arn:aws:iam::210987654321:role/admin"}
	for name, c := range map[string]struct {
		id     *types.Identity
		host   string
		change func(*http.Request)
		want   string
	}{
		"another role":         {apptest.User("alice", other), s3Host, signedFor("eu-west-1/s3"), "aws_role_arns"},
		"no role":              {apptest.User("alice", types.AppRoute{}), s3Host, signedFor("eu-west-1/s3"), "no AWS role is named"},
		"a browser's other":    {apptest.Bridge("alice", other), "aws.example.test", nil, `"code":"denied"`},
		"a foreign host":       {apptest.User("alice", allowed), "evil.test", signedFor("eu-west-1/s3"), "no host of AWS"},
		"a tool at the app":    {apptest.User("alice", allowed), "aws.example.test", nil, "no host of AWS"},
		"unsigned":             {apptest.User("alice", allowed), s3Host, nil, "<Code>AccessDenied</Code>"},
		"a browser's API call": {apptest.Bridge("alice", allowed), s3Host, signedFor("us-east-1/s3"), "signed for s3 in us-east-1"},
	} {
		if resp, body := ask(c.id, c.host, c.change); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	resp, _ := ask(apptest.Bridge("alice", allowed), "aws.example.test", nil)
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || !strings.HasPrefix(to, a.Signin) || resp.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the console: %d %v", resp.StatusCode, resp.Header)
	}
	entered := false
	for _, e := range w.Log.Events(event.TypeAppRequest) {
		r := e.(*event.AppRequest)
		entered = entered || r.StatusCode == http.StatusFound && r.AWSAction == "getSigninToken" && r.AWSAssumedRole == roleARN
		if r.StatusCode != http.StatusFound && (r.Code != event.CodeAppRequestFail || r.Error == "") {
			t.Errorf("told %+v", r)
		}
	}
	if !entered {
		t.Error("the log does not tell of the console")
	}
	if a.Taken() != 1 {
		t.Errorf("%d roles were taken", a.Taken())
	}
}
