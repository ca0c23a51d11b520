package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

// balancerSide is the address from which balancers dial the proxies; people come
// from 127.0.0.1. So an address in the log tells whose it is.
const balancerSide = "127.0.0.9"

// balancer is HAProxy or nginx on a port of this machine.
type balancer struct {
	addr, dir string
}

func newBalancer(t *testing.T, c *cluster.Cluster) *balancer {
	t.Helper()
	dir := filepath.Join(c.Dir, "balancer")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &balancer{addr: net.JoinHostPort("127.0.0.1", cluster.FreePort(t)), dir: dir}
}

// run starts the program and waits until it listens. It stops after the cluster,
// whose agents ship their last events through it.
func (b *balancer) run(t *testing.T, c *cluster.Cluster, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }() // its end is looked at below
	c.After(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // both end at once; one that has ended is fine
		if !cluster.Poll(within, func() bool { return ended(done) }) {
			t.Errorf("%s does not end", path)
			_ = cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", path, log.String())
		}
	})
	cluster.Until(t, within, path+" to listen", func() bool {
		if ended(done) {
			t.Fatalf("%s ended: %s", path, log.String())
		}
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// haproxy balances connections (layer 4), each to the next proxy in turn.
func haproxy(t *testing.T, c *cluster.Cluster, option string) *balancer {
	t.Helper()
	b := newBalancer(t, c)
	conf := "defaults\n mode tcp\n timeout connect 2s\n timeout client 1h\n timeout server 1h\n retries 3\n option redispatch 1\n" +
		"frontend front\n bind " + b.addr + "\n default_backend proxies\nbackend proxies\n balance roundrobin\n source " + balancerSide + "\n"
	for i, p := range c.Proxies {
		conf += fmt.Sprintf(" server p%d %s %s\n", i, p.WebAddr, option)
	}
	b.run(t, c, cluster.Need(t, "haproxy", "haproxy"), "-db", "-f", write(t, b.dir+"/haproxy.cfg", conf))
	return b
}

// both waits until the agent has a tunnel to each proxy.
func (s *survivors) both(t *testing.T) {
	t.Helper()
	for _, p := range s.Proxies {
		cluster.Until(t, patience, "a tunnel to "+p.Name, func() bool { return metric(t, p, "teleport_tunnels") == "1" })
	}
}

func metric(t *testing.T, p *cluster.Process, name string) string {
	t.Helper()
	resp, err := p.Debug("/metrics")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// behind makes a cluster of two proxies, an agent that knows only the balancer,
// and alice, who does too.
func behind(t *testing.T, config func(cluster.Doc), start func(*testing.T, *cluster.Cluster) *balancer, agent func(cluster.Doc), env ...string) *survivors {
	t.Helper()
	s := &survivors{Cluster: cluster.New(t, cluster.Opts{Proxies: 2, Env: env, Config: func(process string, conf cluster.Doc) {
		if strings.HasPrefix(process, "proxy") {
			config(conf)
		}
	}})}
	s.Front = start(t, s.Cluster).addr
	s.login = s.OSUser(t, "/bin/sh").Name
	s.AddAgent(t, "node-1", agent)
	s.alice = s.User(t, "alice", []string{"access"}, []string{s.login})
	s.alice.MoreEnv = env
	s.bob = s.alice
	s.both(t)
	return s
}

func TestTwoProxiesBehindHAProxy(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct{ proxyProtocol, option, client string }{
		"plain":         {"off", "", balancerSide},
		"send-proxy-v2": {"on", "send-proxy-v2", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := behind(t, func(d cluster.Doc) {
				d.Set("proxy_service.proxy_protocol", v.proxyProtocol).Set("proxy_service.trusted_balancers", []string{balancerSide})
			},
				func(t *testing.T, c *cluster.Cluster) *balancer { return haproxy(t, c, v.option) },
				func(cluster.Doc) {})
			s.alice.Login(t)
			s.survivesEither(t)
			s.seenFrom(t, v.client)
		})
	}
}

// survivesEither kills each proxy in turn and uses the other.
func (s *survivors) survivesEither(t *testing.T) {
	t.Helper()
	agent := s.Agents[0]
	cookie := s.signIn(t)
	for _, p := range s.Proxies {
		s.both(t)
		s.hello(t, s.alice, agent)
		s.openssh(t, s.alice, agent).finish(t)
		p.Kill9(t)
		s.hello(t, s.alice, agent)
		s.alice.Tsh("ls").OK(t)
		s.signedIn(t, cookie)
		p.Start(t)
	}
	s.both(t)
	s.hello(t, s.alice, agent)
	for range 2 * len(s.Proxies) { // each in turn answers
		s.signedIn(t, cookie)
	}
}

// seenFrom checks the client's address in what the log says of alice.
func (s *survivors) seenFrom(t *testing.T, addr string) {
	t.Helper()
	for _, typ := range []string{"user.login", "session.start"} {
		for _, e := range s.Events(t, 1, typ, "alice") {
			if got, _ := e["addr.remote"].(string); !strings.HasPrefix(got, addr+":") {
				t.Errorf("%s came from %q, not from %s: %v", typ, got, addr, e)
			}
		}
	}
}

// signIn signs alice in as a browser does, through the balancer.
func (s *survivors) signIn(t *testing.T) *http.Cookie {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user": s.alice.Name, "password": s.alice.Password, "otp": s.alice.OTP(t)})
	if err != nil {
		t.Fatal(err)
	}
	resp := s.request(t, http.MethodPost, "/webapi/sessions/web", bytes.NewReader(body), nil)
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-") {
			s.Secret(c.Value, "session cookie")
			return c
		}
	}
	t.Fatalf("signing in: %s", resp.Status)
	return nil
}

// signedIn asks, in a connection of its own, who the cookie belongs to.
func (s *survivors) signedIn(t *testing.T, cookie *http.Cookie) {
	t.Helper()
	if resp := s.request(t, http.MethodGet, "/webapi/sessions/web", nil, cookie); resp.StatusCode != http.StatusOK {
		t.Errorf("the cookie is not known to a proxy: %s", resp.Status)
	}
}

func (s *survivors) request(t *testing.T, method, path string, body io.Reader, cookie *http.Cookie) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.Front+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "https://"+s.Front)
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := cluster.WebClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// nginx ends TLS with a certificate of its own and passes HTTP on (layer 7).
func nginx(t *testing.T, c *cluster.Cluster, cert, key string) *balancer {
	t.Helper()
	b := newBalancer(t, c)
	servers := ""
	for _, p := range c.Proxies {
		servers += "  server " + p.WebAddr + " max_fails=0;\n"
	}
	temps := ""
	for _, k := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temps += " " + k + "_temp_path " + filepath.Join(b.dir, k) + ";\n"
	}
	conf := `daemon off;
worker_processes 1;
pid ` + b.dir + `/pid;
error_log stderr;
events {}
http {
` + temps + ` access_log ` + b.dir + `/access;
 map $http_upgrade $connection_upgrade { default upgrade; "" close; }
 upstream proxies {
` + servers + ` }
 server {
  listen ` + b.addr + ` ssl;
  ssl_certificate ` + cert + `;
  ssl_certificate_key ` + key + `;
  location / {
   proxy_pass https://proxies;
   proxy_bind ` + balancerSide + `;
   proxy_http_version 1.1;
   proxy_set_header Host $http_host;
   proxy_set_header Upgrade $http_upgrade;
   proxy_set_header Connection $connection_upgrade;
   proxy_set_header X-Forwarded-For $remote_addr;
   proxy_read_timeout 1h;
  }
 }
}
`
	b.run(t, c, cluster.Need(t, "nginx", "nginx"), "-p", b.dir, "-e", "stderr", "-c", write(t, b.dir+"/nginx.conf", conf))
	return b
}

func TestTwoProxiesBehindNginxThatEndsTLS(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	cert, key := authority.certificate(t)
	trust := "SSL_CERT_FILE=" + authority.file
	var front *balancer
	s := behind(t, func(d cluster.Doc) {
		d.Set("proxy_service.trust_x_forwarded_for", true).Set("proxy_service.trusted_balancers", []string{balancerSide + "/32"})
		// What proxies announce leads nowhere, as it does for agents outside: every
		// byte must go through nginx.
		d.Set("teleport.advertise_ip", "127.0.0.250")
	}, func(t *testing.T, c *cluster.Cluster) *balancer {
		front = nginx(t, c, cert, key)
		return front
	}, func(d cluster.Doc) {
		delete(d["teleport"].(map[string]any), "ca_pin") // the web certificate vouches for the proxy
	}, trust)
	r := s.alice.TshIn(s.alice.Password+"\n"+s.alice.OTP(t)+"\n", "login", "--proxy="+s.Front, "--user=alice")
	r.OK(t)
	s.survivesEither(t)
	s.seenFrom(t, "127.0.0.1")
	log, err := os.ReadFile(front.dir + "/access")
	if err != nil || strings.Count(string(log), "/webapi/connectionupgrade") == 0 {
		t.Errorf("no upgrade went through nginx (%v):\n%s", err, log)
	}
}
