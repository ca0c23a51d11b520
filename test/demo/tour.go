package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"regexp"
	"strings"
	"time"
)

const (
	cluster  = "demo"
	frontend = "front"  // the host with auth, proxy and an SSH service
	backend  = "inside" // the host behind the firewall
)

// tour is one walk through the main job.
type tour struct {
	*world
	user     string // who logs in to the cluster
	login    string // the account of this machine that sessions run as
	password string
	auth     *authenticator
	otpURL   string
	proxy    string // host:port
}

func (t *tour) walk(ctx context.Context) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	t.login, t.password = me.Username, rand.Text()[:16]
	steps := []struct {
		title string
		do    func(context.Context) error
	}{
		{"Start a cluster: auth, proxy and SSH service in one process", t.startCluster},
		{"Let a host join: it dials out, and listens on no port", t.startAgent},
		{"Invite a person", t.addUser},
		{"Log in", t.logIn},
		{"Reach the host by its name", t.useHost},
		{"Read the audit log", t.readLog},
	}
	for i, s := range steps {
		fmt.Printf("\n%d. %s\n", i+1, s.title)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// run shows a command, runs it, shows what it printed and returns its standard
// output.
func (t *tour) run(ctx context.Context, c call) (string, error) {
	prefix := ""
	if c.stdin != "" {
		prefix = `printf '%s\n' "$PASSWORD" "$CODE" | `
	}
	fmt.Printf("\n   $ %s%s\n", prefix, shown(c))
	stdout, all, err := t.do(ctx, c)
	for line := range strings.Lines(strings.TrimRight(all, "\n")) {
		fmt.Printf("     %s", line)
	}
	fmt.Println()
	if err == nil && c.code != 0 {
		fmt.Printf("     (exit code %d)\n", c.code)
	}
	return stdout, err
}

func (t *tour) say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shown is the command as a person would type it.
func shown(c call) string {
	words := []string{c.name}
	for _, a := range c.args {
		if !plain.MatchString(a) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func (t *tour) tctl(args ...string) call {
	return call{name: "tctl", args: append([]string{"-c", t.path("front.yaml")}, args...)}
}

const clusterConfig = `version: v3
teleport:
  nodename: %s
  data_dir: %s
auth_service:
  enabled: yes
  listen_addr: 127.0.0.1:%d
  cluster_name: %s
proxy_service:
  enabled: yes
  web_listen_addr: 127.0.0.1:%d
  public_addr: localhost:%d
ssh_service:
  enabled: yes
  labels:
    env: demo
`

func (t *tour) startCluster(ctx context.Context) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	t.proxy = fmt.Sprintf("localhost:%d", ports[1])
	text := fmt.Sprintf(clusterConfig, frontend, t.path("front"), ports[0], cluster, ports[1], ports[1])
	if err := t.launch(ctx, frontend, text); err != nil {
		return err
	}
	_, err = t.run(ctx, t.tctl("status"))
	return err
}

// launch writes a configuration, starts teleport with it and waits until it is
// ready.
func (t *tour) launch(ctx context.Context, name, text string) error {
	config := t.path(name + ".yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	t.say("$ teleport start -c %s &", config)
	if err := t.start(name, config); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return eventually(ready, func() error {
		if _, _, err := t.do(ctx, call{name: "teleport", args: []string{"debug", "readyz", "-c", config}}); err != nil {
			return fmt.Errorf("%s is not ready; its log says why", name)
		}
		return nil
	})
}

const agentConfig = `version: v3
teleport:
  nodename: %s
  data_dir: %s
  proxy_server: %s
  ca_pin: %s
  join_params:
    method: token
    token_name: %s
auth_service:
  enabled: no
proxy_service:
  enabled: no
ssh_service:
  enabled: yes
  labels:
    env: demo
    place: behind-the-firewall
`

func (t *tour) startAgent(ctx context.Context) error {
	out, err := t.run(ctx, t.tctl("tokens", "add", "--type=node", "--ttl=5m", "--format=json"))
	if err != nil {
		return err
	}
	var token struct {
		Token string   `json:"token"`
		Pins  []string `json:"ca_pins"`
	}
	if err := json.Unmarshal([]byte(out), &token); err != nil || len(token.Pins) == 0 {
		return errors.Join(errors.New("tctl tokens add printed no token"), err)
	}
	fmt.Println()
	text := fmt.Sprintf(agentConfig, backend, t.path("inside"), t.proxy, token.Pins[0], token.Token)
	if err := t.launch(ctx, backend, text); err != nil {
		return err
	}
	n, err := listeners(t.running[len(t.running)-1].cmd.Process.Pid)
	if err != nil {
		return err
	}
	if n != 0 {
		return fmt.Errorf("the agent listens on %d ports", n)
	}
	t.say("The kernel counts 0 listening ports of this process.")
	_, err = t.run(ctx, t.tctl("nodes", "ls"))
	return err
}

func (t *tour) addUser(ctx context.Context) error {
	out, err := t.run(ctx, t.tctl("users", "add", t.user, "--roles=access,editor,auditor", "--logins="+t.login, "--format=json"))
	if err != nil {
		return err
	}
	var link struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal([]byte(out), &link); err != nil {
		return err
	}
	t.auth, t.otpURL, err = acceptInvite(ctx, link.URL, t.password)
	if err != nil {
		return err
	}
	t.say("%s opened the link, chose a password and set up an authenticator.", t.user)
	return nil
}

func (t *tour) logIn(ctx context.Context) error {
	code, err := t.auth.code(time.Now())
	if err != nil {
		return err
	}
	// The demo has just made the proxy's web certificate: nobody vouches for it.
	c := call{name: "tsh", args: []string{"login", "--proxy=" + t.proxy, "--user=" + t.user, "--insecure"}}
	c.stdin = t.password + "\n" + code + "\n"
	_, err = t.run(ctx, c)
	return err
}

func (t *tour) useHost(ctx context.Context) error {
	out, err := t.run(ctx, call{name: "tsh", args: []string{"ls"}})
	if err != nil {
		return err
	}
	if !strings.Contains(out, backend) {
		return fmt.Errorf("tsh ls does not show %s", backend)
	}
	c := call{name: "tsh", args: []string{"ssh", t.login + "@" + backend, "--", "echo hello; exit 7"}, code: 7}
	if out, err = t.run(ctx, c); err != nil {
		return err
	}
	if out != "hello\n" {
		return fmt.Errorf("the command printed %q", out)
	}
	return nil
}

func (t *tour) readLog(ctx context.Context) error {
	// The agent ships its events with a short delay.
	err := eventually(ctx, func() error {
		out, _, err := t.do(ctx, t.tctl("audit", "ls"))
		if err == nil && !strings.Contains(out, "session.end") {
			err = errors.New("the audit log does not tell of the session")
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := t.run(ctx, t.tctl("audit", "ls")); err != nil {
		return err
	}
	_, err = t.run(ctx, t.tctl("audit", "verify"))
	return err
}

// invite prints what a person needs to go on by hand.
func (t *tour) invite(out io.Writer) {
	lines := []string{
		"The cluster runs on this machine until Ctrl-C.", "",
		"Web UI    https://" + t.proxy + "/  (self-signed: the browser warns)",
		"User      " + t.user,
		"Password  " + t.password,
		"One-time  press Enter here for a code, or add this to an authenticator app:",
		"          " + t.otpURL, "",
		"In another terminal (you are logged in already):", "",
		"  export PATH=" + t.bin + ":$PATH TELEPORT_HOME=" + t.path("home"),
		"  tsh ls",
		"  tsh ssh " + t.login + "@" + backend,
		"  tsh scp README.md " + t.login + "@" + backend + ":/tmp/",
		"  tctl -c " + t.path("front.yaml") + " audit ls",
	}
	fmt.Fprintln(out, "\n┌"+strings.Repeat("─", 78))
	for _, l := range lines {
		fmt.Fprintln(out, "│ "+l)
	}
	fmt.Fprintln(out, "└"+strings.Repeat("─", 78))
}

// hold leaves the cluster running until ctx ends, and answers Enter with a code.
func (t *tour) hold(ctx context.Context) error {
	keys := make(chan struct{})
	go func() { // ends with the program: a read of a terminal cannot be taken back
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			keys <- struct{}{}
		}
	}()
	died := t.died(ctx)
	for {
		select {
		case <-ctx.Done():
			fmt.Println("\nStopping.")
			return nil
		case name := <-died:
			t.printLogs(os.Stderr)
			return fmt.Errorf("%s ended", name)
		case <-keys:
			code, err := t.auth.code(time.Now())
			if err != nil {
				t.say("%v", err)
				continue
			}
			t.say("Code: %s", code)
		}
	}
}
