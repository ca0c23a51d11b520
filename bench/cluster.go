package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// The names of what is measured.
const (
	clusterName = "bench"
	userName    = "alice"
	password    = "correct horse battery staple"
)

// cluster is ours: processes of the teleport command, and a user who is logged in.
type cluster struct {
	bin, dir  string
	recording string // mode; "": the default
	proxy     string // host:port of the web port
	auth      string
	home      string // TELEPORT_HOME of the user
	pin       string
	secret    string    // of the user's one-time codes
	coded     time.Time // the step of the last one that was used
	servers   map[string]*server
	configs   map[string]string // path of the configuration, by server
	diag      map[string]string // address of /readyz and /metrics, by server
}

// process describes one teleport process.
type process struct {
	name                  string
	auth, proxy, ssh      bool
	authListen, webListen string
	join                  string // lines for the teleport section
	more                  string // further sections
}

func newCluster(bin, dir, recording string) *cluster {
	return &cluster{bin: bin, dir: dir, recording: recording, home: filepath.Join(dir, "home"), servers: map[string]*server{},
		configs: map[string]string{}, diag: map[string]string{}}
}

const configText = `version: v3
teleport:
  nodename: %s
  data_dir: %s
  diag_addr: %s
  log: {severity: WARN}
%s
auth_service: {enabled: %t, listen_addr: "%s", cluster_name: %s%s}
proxy_service: {enabled: %t, web_listen_addr: "%s"}
ssh_service: {enabled: %t}
`

// configure writes the configuration of a process.
func (c *cluster) configure(p process) error {
	diag, err := freePort()
	if err != nil {
		return err
	}
	c.diag[p.name] = diag
	c.configs[p.name] = filepath.Join(c.dir, p.name+".yaml")
	recording := ""
	if c.recording != "" {
		recording = ", session_recording: " + c.recording
	}
	text := fmt.Sprintf(configText, p.name, c.data(p.name), diag, p.join, p.auth, p.authListen, clusterName, recording, p.proxy, p.webListen, p.ssh) + p.more
	return os.WriteFile(c.configs[p.name], []byte(text), 0o600)
}

func (c *cluster) data(name string) string { return filepath.Join(c.dir, name) }

// start runs a configured process and returns how long it took to be ready.
func (c *cluster) start(ctx context.Context, name string) (time.Duration, error) {
	begun := time.Now()
	s, err := serve(c.dir, name, nil, filepath.Join(c.bin, "teleport"), "start", "-c", c.configs[name])
	if err != nil {
		return 0, err
	}
	c.servers[name] = s
	hc := &http.Client{Timeout: time.Second}
	defer hc.CloseIdleConnections()
	url := "http://" + c.diag[name] + "/readyz"
	err = s.await(ctx, time.Minute, func() bool {
		resp, err := hc.Get(url)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusOK
	})
	return time.Since(begun), err
}

// restart ends a server by a signal, and starts it again as soon as it has ended.
func (c *cluster) restart(ctx context.Context, name string, how syscall.Signal) error {
	s := c.servers[name]
	if err := s.cmd.Process.Signal(how); err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		return fmt.Errorf("%s does not end after %s", name, how)
	}
	_, err := c.start(ctx, name)
	return err
}

func (c *cluster) stop() {
	for _, name := range []string{"appagent", "mariaagent", "pgagent", "agent", "proxy", "auth", "one"} {
		c.servers[name].stop()
		delete(c.servers, name)
	}
}

// up starts auth, a proxy and an agent that joins through it, each a process,
// and logs a user in.
func (c *cluster) up(ctx context.Context, login string) error {
	var err error
	if c.auth, err = freePort(); err != nil {
		return err
	}
	if c.proxy, err = freePort(); err != nil {
		return err
	}
	if err := c.configure(process{name: "auth", auth: true, authListen: c.auth}); err != nil {
		return err
	}
	if _, err := c.start(ctx, "auth"); err != nil {
		return err
	}
	if c.pin, err = c.findPin(); err != nil {
		return err
	}
	for _, p := range []process{
		{name: "proxy", proxy: true, webListen: c.proxy, join: "  auth_server: " + c.auth},
		{name: "agent", ssh: true, join: "  proxy_server: " + c.proxy},
	} {
		role := map[bool]string{true: "proxy", false: "node"}[p.proxy]
		token, err := c.token(role, "10m")
		if err != nil {
			return err
		}
		p.join += fmt.Sprintf("\n  ca_pin: %q\n  join_params: {method: token, token_name: %s}", c.pin, token)
		if err := c.configure(p); err != nil {
			return err
		}
		if _, err := c.start(ctx, p.name); err != nil {
			return err
		}
	}
	if err := c.login(ctx, login); err != nil {
		return err
	}
	return c.firstSession(ctx, login)
}

// firstSession waits until the proxy routes to the agent.
func (c *cluster) firstSession(ctx context.Context, login string) error {
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		if _, err = output(c.tsh(login, "true")); err == nil {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

func (c *cluster) tctl(args ...string) (string, error) {
	return output(exec.Command(filepath.Join(c.bin, "tctl"), append([]string{"-c", c.configs["auth"]}, args...)...))
}

func (c *cluster) findPin() (string, error) {
	out, err := c.tctl("status", "-f", "json")
	if err != nil {
		return "", err
	}
	var status struct {
		Pins []string `json:"ca_pins"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Pins) != 1 {
		return "", fmt.Errorf("tctl status shows no pin: %w", err)
	}
	return status.Pins[0], nil
}

func (c *cluster) token(role, ttl string) (string, error) {
	out, err := c.tctl("tokens", "add", "--type="+role, "--ttl="+ttl, "-f", "json")
	if err != nil {
		return "", err
	}
	var made struct {
		Token string `json:"token"`
	}
	err = json.Unmarshal([]byte(out), &made)
	return made.Token, err
}

// recordingMode is what the newest session's own event says of its recording.
func (c *cluster) recordingMode() (string, error) {
	out, err := c.tctl("audit", "ls", "--type=session.start", "--limit=1", "-f", "json")
	if err != nil {
		return "", err
	}
	var starts []struct {
		Recording string `json:"session_recording"`
	}
	if err := json.Unmarshal([]byte(out), &starts); err != nil || len(starts) != 1 {
		return "", fmt.Errorf("the audit log shows no session: %w", err)
	}
	return starts[0].Recording, nil
}

var inviteLink = regexp.MustCompile(`/web/invite/(\S+)`)

// login goes the way of a new user: invite, password and one-time code, tsh login.
func (c *cluster) login(ctx context.Context, login string) error {
	out, err := c.tctl("users", "add", userName, "--roles=access", "--logins="+login, "--db-users="+dbUser, "--db-names="+dbName)
	if err != nil {
		return err
	}
	link := inviteLink.FindStringSubmatch(out)
	if link == nil {
		return errors.New("tctl users add prints no invite")
	}
	if err := c.acceptInvite(ctx, link[1]); err != nil {
		return err
	}
	next, err := c.nextCode(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "tsh"), "login", "--proxy="+c.proxy, "--user="+userName, "--insecure")
	cmd.Env = append(os.Environ(), "TELEPORT_HOME="+c.home)
	cmd.Stdin = strings.NewReader(password + "\n" + next + "\n")
	_, err = output(cmd)
	return err
}

// acceptInvite sets password and second factor.
func (c *cluster) acceptInvite(ctx context.Context, token string) error {
	b, err := c.browser()
	if err != nil {
		return err
	}
	defer b.hc.CloseIdleConnections()
	base := "https://" + c.proxy
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/webapi/invites/"+token, nil)
	if err != nil {
		return err
	}
	var invite struct {
		Secret string `json:"otp_secret"`
	}
	if err := b.do(req, &invite); err != nil {
		return err
	}
	c.secret = invite.Secret
	code, err := c.nextCode(ctx)
	if err != nil {
		return err
	}
	return b.post(ctx, base, "/webapi/invites/"+token, map[string]string{"password": password, "otp": code}, nil)
}

// tsh runs a line on the node.
func (c *cluster) tsh(login, line string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, "tsh"), "ssh", login+"@agent", line)
	cmd.Env = append(os.Environ(), "TELEPORT_HOME="+c.home)
	return cmd
}

// freePort finds an address on the loopback that nobody listens on.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
