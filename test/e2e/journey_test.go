package e2e

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestFirstHour is what a new user does: three processes on one machine, an
// invite accepted in a browser, a log-in, and a command on a server that no port
// leads to.
func TestFirstHour(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{Agents: 1})
	node := c.Agents[0]
	if ports := listening(t, node.PID()); ports != "" {
		t.Errorf("the agent listens:\n%s", ports)
	}
	if ports := listening(t, c.Auth.PID()); !strings.Contains(ports, c.ProxyAddr()) {
		t.Errorf("%s is no listener of auth and proxy:\n%s", c.ProxyAddr(), ports)
	}

	alice, link := c.Invite(t, "alice", []string{"access"}, []string{"root"})
	acceptInBrowser(t, c, alice, link)
	alice.Login(t)
	contains(t, alice.Tsh("status").OK(t), "alice", "test", "root")
	contains(t, alice.Tsh("ls").OK(t), node.Name, "Tunnel")

	r := alice.Tsh("ssh", "root@"+node.Name, "--", "echo out; echo err >&2; exit 7").Exit(t, 7)
	if r.Stdout != "out\n" || r.Stderr != "err\n" {
		t.Errorf("the streams do not stand apart: %s", r)
	}
	if e := c.Events(t, 1, "session.start", "alice")[0]; e["login"] != "root" || e["server_hostname"] != node.Name {
		t.Errorf("%v", e)
	}
	alice.Tsh("logout").OK(t)
	alice.Tsh("ls").Exit(t, 3)
}

// listening is what ss says of the TCP and UDP listeners of a process.
func listening(t *testing.T, pid int) string {
	t.Helper()
	out := cluster.Run(cluster.Command{Path: cluster.Need(t, "ss", "iproute2"), Args: []string{"-Hlntup"}}).OK(t)
	mine := regexp.MustCompile(`(?m)^.*\bpid=` + itoa(pid) + `,.*$`)
	return strings.Join(mine.FindAllString(out, -1), "\n")
}

// acceptInBrowser drives Chromium through the page that the link opens.
func acceptInBrowser(t *testing.T, c *cluster.Cluster, p *cluster.Person, link string) {
	t.Helper()
	cluster.Need(t, "chromium", "chromium")
	node := cluster.Need(t, "node", "nodejs")
	script, err := filepath.Abs("../../web/e2e/run.mjs")
	if err != nil {
		t.Fatal(err)
	}
	r := p.Run(cluster.Command{Path: node, Args: []string{script}, Limit: browserLimit, Dir: filepath.Dir(filepath.Dir(script)), Env: []string{
		"TELEPORT_URL=https://" + c.ProxyAddr(), "TELEPORT_INVITE=" + link, "TELEPORT_PASSWORD=" + p.Password, "TELEPORT_USER=" + p.Name}})
	var enrolled struct {
		OTPSecret string `json:"otp_secret"`
		OTPStep   int64  `json:"otp_step"`
	}
	out := strings.TrimSpace(r.OK(t))
	last := out[strings.LastIndexByte(out, '\n')+1:]
	if err := json.Unmarshal([]byte(last), &enrolled); err != nil || enrolled.OTPSecret == "" {
		t.Fatalf("the browser enrolled no authenticator app: %s", r)
	}
	p.SetOTP(enrolled.OTPSecret, enrolled.OTPStep)
}

func TestAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{Agents: 1})
	other := c.AddAgent(t, "other")
	other.Term(t)
	taken := c.Auth.WebAddr
	other.Conf.Set("teleport.diag_addr", taken)
	other.WriteConfig(t)
	other.StartOnly(t)
	if code := other.WaitGone(t); code <= 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, other.LogTail(), "cannot listen on "+taken+": another process uses that port")
	other.Conf.Set("teleport.diag_addr", "")
	other.WriteConfig(t)
	other.Start(t)
}
