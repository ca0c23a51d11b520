package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
)

// longName is as long as the name of an app may be.
const longName = "quarterly-figures-of-the-northern-branch-for-the-board-2026"

// TestPagesOfAppsInChromium: what a person reads of an app when it does not open, and
// what the list says of each kind of app, in light and dark, on a phone, and by
// keyboard; and each
// command that the list shows is one that tsh takes.
func TestPagesOfAppsInChromium(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "chromium", "chromium")
	node := cluster.Need(t, "node", "nodejs")
	uri := intranet(t)
	dev := func(more map[string]string) map[string]string {
		labels := map[string]string{"env": "dev"}
		for k, v := range more {
			labels[k] = v
		}
		return labels
	}
	many := map[string]string{}
	for i := range 24 {
		many[fmt.Sprintf("cost-centre-%02d", i)] = strings.Repeat("long-", i%5) + "value"
	}
	const account = "arn:aws:iam::123456789012:role/"
	app := func(name, uri string, more map[string]any) map[string]any {
		out := map[string]any{"name": name, "uri": uri, "labels": dev(nil)}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	c := withApps(t, 0,
		app("wiki", uri, map[string]any{"description": "Pages of the house"}),
		app(longName, uri, map[string]any{"labels": dev(many), "description": "Everything that the board asks for, each quarter, from all branches in the north and those that report to them"}),
		app("down", "http://127.0.0.1:"+cluster.FreePort(t), nil),
		app("lacks", uri, map[string]any{"required_apps": []string{"wiki", "nowhere", "secret", "console"}}),
		app("console", "cloud://AWS", nil),
		app("azure", "cloud://Azure", nil),
		app("gcp", "cloud://GCP", nil),
		app("shop-db", "tcp://127.0.0.1:5432", nil),
		app("lines", "tcp://127.0.0.1", map[string]any{"tcp_ports": []any{map[string]any{"port": 7001}, map[string]any{"port": 7100, "end_port": 7110}}}),
		map[string]any{"name": "secret", "uri": uri, "labels": map[string]string{"env": "prod"}})
	c.TctlIn("kind: role\nversion: v8\nmetadata: {name: dev}\nspec: {allow: {app_labels: {env: dev}, aws_role_arns: [\""+account+"reader\", \""+account+"auditor-of-everything-in-the-northern-branch\"],"+
		" gcp_service_accounts: [reports@figures.iam.gserviceaccount.com]}}\n", "create", "-f").OK(t)
	alice, bob := c.User(t, "alice", []string{"dev"}, []string{"root"}), c.User(t, "bob", []string{"dev"}, nil)
	alice.Login(t)
	// The script asks for what only an administrator does.
	stage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		out := c.Tctl(strings.Fields(string(line))...)
		if err := json.NewEncoder(w).Encode(map[string]any{"code": out.Code, "said": out.Stdout + out.Stderr}); err != nil {
			t.Error(err)
		}
	}))
	defer stage.Close()
	script, err := filepath.Abs("../../web/e2e/pages.mjs")
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowsing(t, c)
	_, web, _ := net.SplitHostPort(c.Proxies[0].WebAddr)
	out := alice.Run(cluster.Command{Path: node, Args: []string{script}, Limit: 15 * time.Minute, Dir: filepath.Dir(filepath.Dir(script)), Env: []string{
		"TELEPORT_URL=https://" + appHost + ":" + b.port, "TELEPORT_STAGE=" + stage.URL, "TELEPORT_LONG=" + longName,
		"TELEPORT_HOSTS=MAP *." + appHost + " 127.0.0.1:" + web + ",MAP " + appHost + " 127.0.0.1:" + web,
		"TELEPORT_USERS=" + inBrowser(alice) + "\t" + inBrowser(bob), "SHOTS=" + os.Getenv("SHOTS")}}).OK(t)
	t.Log(out)
	_, list, _ := strings.Cut(out, "COMMANDS ")
	var commands []string
	if err := json.Unmarshal([]byte(list), &commands); err != nil || len(commands) < 7 {
		t.Fatalf("the list shows %q: %v", list, err)
	}
	for _, command := range commands {
		// exec, so that who ends the shell ends the command.
		args := []string{"-c", "PATH=" + c.Bin() + "; exec " + command}
		if strings.HasPrefix(command, "tsh proxy ") { // which listens until it is interrupted
			alice.Go(t, "/bin/sh", args...).WaitFor(t, "Started a proxy")
			continue
		}
		alice.Run(cluster.Command{Path: "/bin/sh", Args: args, Limit: time.Minute}).OK(t)
	}
}

// inBrowser is what a person signs in with, between tabs.
func inBrowser(p *cluster.Person) string {
	return strings.Join([]string{p.Name, p.Password, p.OTPSecret(), strconv.FormatInt(p.OTPStep(), 10)}, "\t")
}
