package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

// TestTheConsoleInChromium: a person chooses a role in the list of the web UI and is
// in AWS's console as it, by a federation that verifies what the agent shows; and is
// told what goes wrong with roles of others, and with one that AWS refuses.
func TestTheConsoleInChromium(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "chromium", "chromium")
	node := cluster.Need(t, "node", "nodejs")
	const account = "arn:aws:iam::123456789012:role/"
	reader, auditor, broken, foreign := account+"reader", account+"auditor", account+"untrusting", account+"admin"
	in := cloudtest.NewAWS(t)
	for _, arn := range []string{reader, auditor, foreign} {
		in.Role(arn, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "ours"})
	}
	in.Role(broken, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "of-others"})
	var env []string
	for k, v := range in.Environment(t.TempDir()) {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	c := withAppsIn(t, env, 0, map[string]any{"name": "aws", "uri": "cloud://AWS", "labels": map[string]string{"env": "test"},
		"aws": map[string]any{"external_id": "ours"}, "cloud_endpoints": map[string]any{"signin": in.Signin}})
	c.TctlIn("kind: role\nversion: v8\nmetadata: {name: consoles}\nspec: {allow: {app_labels: {env: test}, aws_role_arns: [\""+strings.Join([]string{reader, auditor, broken}, "\", \"")+"\"]}}\n",
		"create", "-f").OK(t)
	alice := c.User(t, "alice", []string{"consoles"}, nil)
	script, err := filepath.Abs("../../web/e2e/console.mjs")
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowsing(t, c)
	_, web, _ := net.SplitHostPort(c.Proxies[0].WebAddr)
	out := alice.Run(cluster.Command{Path: node, Args: []string{script}, Limit: browserLimit, Dir: filepath.Dir(filepath.Dir(script)), Env: []string{
		"TELEPORT_URL=https://" + appHost + ":" + b.port, "TELEPORT_APP=" + b.url("aws", ""), "TELEPORT_ROLES=" + reader + "," + auditor,
		"TELEPORT_BROKEN=" + broken, "TELEPORT_FOREIGN=" + foreign, "TELEPORT_CONSOLE=" + in.Signin,
		"TELEPORT_HOSTS=MAP *." + appHost + " 127.0.0.1:" + web + ",MAP " + appHost + " 127.0.0.1:" + web,
		"TELEPORT_USER=" + alice.Name, "TELEPORT_PASSWORD=" + alice.Password, "TELEPORT_OTP_SECRET=" + alice.OTPSecret(), "SHOTS=" + os.Getenv("SHOTS")}}).OK(t)
	t.Log(out)
	if n := in.Taken(); n != 2 {
		t.Errorf("%d roles were taken", n)
	}
	log := ""
	cluster.Until(t, within, "the consoles in the audit log", func() bool {
		log = c.Tctl("audit", "search", "app.session.request", "--format=json").OK(t)
		return strings.Contains(log, auditor) && strings.Contains(log, broken)
	})
	contains(t, log, "getSigninToken", reader, http.MethodGet)
	if strings.Contains(log, "SigninToken=") {
		t.Error("the log holds what lets one in")
	}
	// By a program that asks for the role of others at the launcher's own call. It is
	// another person's: alice's code was shown by the browser.
	b.signIn(c.User(t, "bob", []string{"consoles"}, nil))
	if status, said := b.call("POST", "/webapi/sessions/app", map[string]any{"host": "aws." + appHost, "as": foreign}); status != http.StatusForbidden {
		t.Errorf("the role of others: %d %v", status, said)
	}
}
