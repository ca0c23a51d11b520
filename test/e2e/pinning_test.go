package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"teleport/netx"
	"teleport/test/cluster"
)

// Where alice works, where a stolen certificate of hers is tried, and what a forged
// header says. The proxies themselves come from 127.0.0.1.
const (
	own   = "127.0.0.5"
	thief = "127.0.0.44"
	claim = "PROXY TCP4 " + own + " 127.0.0.1 4000 443\r\n"
)

// way is a person's network: from which address it comes, to whom, and what it
// says first.
type way struct{ from, to, prologue string }

// path forwards a person's connections along the way of the moment.
type path struct {
	addr string
	mu   sync.Mutex
	now  way
	open []net.Conn
}

// newPath is open until the test has ended, which is to be made before its cluster is:
// what the proxy announces leads here.
func newPath(t *testing.T) *path {
	p := &path{}
	ctx, stop := context.WithCancel(context.Background()) // that of the test ends before its cluster
	t.Cleanup(stop)
	p.addr = listen(t, func(c net.Conn) {
		w := p.take(c)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(w.from)}}
		far, err := d.DialContext(ctx, "tcp", w.to)
		if err != nil {
			return // the client sees its connection end
		}
		if _, err := io.WriteString(far, w.prologue); err != nil {
			far.Close()
			return
		}
		_ = netx.Splice(ctx, c, far, netx.SpliceOptions{}) // either end may go
	})
	return p
}

func (p *path) take(c net.Conn) way {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, c)
	return p.now
}

func (p *path) lead(w way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = w
}

func (p *path) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// TestAPinnedCertificateIsWorthNothingElsewhere: behind HAProxy, alice's login is
// tried from her own address, from another, and from another with a header that
// claims hers.
func TestAPinnedCertificateIsWorthNothingElsewhere(t *testing.T) {
	t.Parallel()
	p := newPath(t)
	c := cluster.New(t, cluster.Opts{Proxies: 1, Config: func(process string, conf cluster.Doc) {
		if process == "proxy-1" {
			conf.Set("proxy_service.public_addr", []string{p.addr}).Set("proxy_service.proxy_protocol", "on").
				Set("proxy_service.trusted_balancers", []string{balancerSide})
		}
	}})
	proxy := c.Proxies[0].WebAddr
	front := haproxy(t, c, "send-proxy-v2").addr
	c.Front = front
	home := way{from: own, to: front}
	p.lead(home)
	w := &world{Cluster: c, os: c.OSUser(t, "/bin/sh")}
	w.Tctl("create", "-f", write(t, filepath.Join(w.Dir, "pinned.yaml"), "kind: role\nversion: v7\nmetadata: {name: pinned}\nspec: {options: {pin_source_ip: true}}\n")).OK(t)
	w.alice = w.User(t, "alice", []string{"access", "pinned"}, []string{w.os.Name})
	direct1 := "127.0.0.2:" + cluster.FreePort(t)
	w.AddAgent(t, "node-1", func(cluster.Doc) {})
	w.AddAgent(t, "db-1", direct(c, direct1))
	w.alice.Login(t, "--proxy="+p.addr)
	w.startSSHD(t, "plain-1")
	cookie := w.cookie(t, p)
	ways := w.ways(t, p)
	for name, try := range ways {
		cluster.Until(t, within, name+" from home", func() bool { return try(own).Code == 0 })
	}
	if status := w.whoAmI(t, p, cookie); status != http.StatusOK {
		t.Errorf("the cookie at home: %d", status)
	}
	live := count(t, "alice's session", w.alice.StartTsh(t, "ssh", w.os.Name+"@node-1", echoLoop))

	for name, to := range map[string]way{
		"elsewhere":                         {from: thief, to: front},
		"elsewhere, a header to HAProxy":    {from: thief, to: front, prologue: claim},
		"elsewhere, a header past HAProxy":  {from: thief, to: proxy, prologue: claim},
		"home's address, no HAProxy at all": {from: own, to: proxy, prologue: claim},
	} {
		p.lead(to)
		for way, try := range ways {
			if way == "plain ssh to a host that listens" && to.from != thief {
				continue // it goes past all that; from home it may
			}
			r := try(to.from)
			if r.Code == 0 {
				t.Errorf("%s, by %s: %s", name, way, r)
			}
			if to.prologue == "" && way == "tsh ssh" {
				contains(t, r.Stderr, "another address than "+thief)
			}
		}
		if status := w.whoAmI(t, p, cookie); status == http.StatusOK {
			t.Errorf("%s, by the cookie: %d", name, status)
		}
	}
	// A session is gone when its client comes back from elsewhere, and only then.
	p.lead(way{from: thief, to: front})
	p.cut()
	live.isCut(t)
	cluster.Until(t, within, "word of it in the audit log", func() bool {
		return slices.ContainsFunc(w.Events(t, 1, "access.denied", "alice"), func(e map[string]any) bool {
			return strings.Contains(fmt.Sprint(e["reasons"]), "ip_mismatch") && strings.HasPrefix(fmt.Sprint(e["addr.remote"]), thief)
		})
	})
	p.lead(home)
	cluster.Until(t, within, "the way home", func() bool { return ways["tsh ssh"]("").Code == 0 }) // agents may have come by the path that was cut
}

// ways are how a person reaches nodes with what their profile holds.
func (w *world) ways(t *testing.T, p *path) map[string]func(from string) cluster.Result {
	t.Helper()
	config := write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n    ConnectTimeout 20\n")
	ssh := func(args ...string) cluster.Result {
		return w.alice.Run(cluster.Command{Path: cluster.Need(t, "ssh", "openssh-client"), Args: append([]string{"-F", config}, args...)})
	}
	tsh := func(args ...string) func(string) cluster.Result {
		return func(string) cluster.Result { return w.alice.Tsh(args...) }
	}
	return map[string]func(from string) cluster.Result{
		"tsh ssh":                             tsh("ssh", w.os.Name+"@node-1", "true"),
		"tsh ls":                              tsh("ls"),
		"tsh, to a host that listens":         tsh("ssh", w.os.Name+"@db-1", "true"),
		"tsh, to a server without an agent":   tsh("ssh", w.os.Name+"@plain-1", "true"),
		"ssh by tsh proxy ssh":                func(string) cluster.Result { return ssh("node-1."+w.Name, "true") },
		"ssh -J":                              func(string) cluster.Result { return ssh("-J", p.addr, "node-1."+w.Name, "true") },
		"ssh -J to a server without an agent": func(string) cluster.Result { return ssh("-J", p.addr, "plain-1."+w.Name, "true") },
		"plain ssh to a host that listens":    func(from string) cluster.Result { return ssh("-b", from, "db-1", "true") },
	}
}

// cookie signs alice in as a browser does.
func (w *world) cookie(t *testing.T, p *path) *http.Cookie {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user": w.alice.Name, "password": w.alice.Password, "otp": w.alice.OTP(t)})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.web(t, p, http.MethodPost, bytes.NewReader(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		w.Secret(c.Value, "session cookie")
		return c
	}
	t.Fatalf("signing in: %s", resp.Status)
	return nil
}

// whoAmI is the status of what a cookie is answered, 0 for no answer.
func (w *world) whoAmI(t *testing.T, p *path, c *http.Cookie) int {
	t.Helper()
	resp, err := w.web(t, p, http.MethodGet, nil, c)
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

func (w *world) web(t *testing.T, p *path, method string, body io.Reader, cookie *http.Cookie) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+p.addr+"/webapi/sessions/web", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "https://"+p.addr)
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := cluster.WebClient().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}
