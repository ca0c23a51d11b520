package e2e

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/test/cluster"
)

// TestCurlWithACertificateOfAnApp: curl reaches an app at its own address with the
// files of tsh apps login, until the person may not use it any more, or the
// certificate has ended.
func TestCurlWithACertificateOfAnApp(t *testing.T) {
	t.Parallel()
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": intranet(t), "labels": map[string]string{"env": "dev"}}, map[string]any{"name": "vault", "uri": intranet(t)})
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "the app in tsh apps ls", func() bool { return strings.Contains(alice.Tsh("apps", "ls").Stdout, "wiki") })
	contains(t, alice.Tsh("apps", "login", "wiki").OK(t), "--no-alpn", "--cert", "--key", "https://wiki.")
	file := func(of *cluster.Person, what string) string {
		return strings.TrimSpace(of.Tsh("apps", "config", "wiki", "--format="+what).OK(t))
	}
	_, port, err := net.SplitHostPort(c.Proxies[0].Conf.Get("proxy_service.public_addr").(string))
	if err != nil {
		t.Fatal(err)
	}
	_, web, err := net.SplitHostPort(c.Proxies[0].WebAddr)
	if err != nil {
		t.Fatal(err)
	}
	// All that tsh prints is what a browser opens, though the log-in used an address.
	open := "https://wiki." + appHost + ":" + port
	if uri := file(alice, "uri"); uri != open || !strings.HasSuffix(file(alice, "curl"), " "+open) {
		t.Errorf("tsh apps config: %s, %s", uri, file(alice, "curl"))
	}
	contains(t, alice.Tsh("apps", "ls").OK(t), open+" ")
	contains(t, alice.Tsh("apps", "ls", "--format=json").OK(t), `"url": "`+open+`"`)
	curl := func(cert, key, app, path string) cluster.Result {
		host := app + "." + appHost + ":" + port
		return alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: []string{"-sS", "-k", "--max-time", "60", "--no-alpn", "--cert", cert, "--key", key,
			"--connect-to", host + ":127.0.0.1:" + web, "-w", " [%{http_code}]", "https://" + host + path}})
	}
	bob := c.User(t, "bob", []string{"access"}, nil)
	bob.Login(t, "--ttl=1")
	bob.Tsh("apps", "login", "wiki").OK(t)
	bobs := []string{file(bob, "cert"), file(bob, "key")}
	contains(t, curl(bobs[0], bobs[1], "wiki", "/before").OK(t), "[200]")
	cert, key := file(alice, "cert"), file(alice, "key")
	contains(t, curl(cert, key, "wiki", "/page?x=1").OK(t), "asked for /page?x=1 with cookies <> from 127.0.0.1 at wiki."+appHost, "[200]")
	contains(t, curl(cert, key, "vault", "/").OK(t), "the certificate is not for this app", "[403]")
	c.Tctl("lock", "--user=alice", "--ttl=1h", "--message=leaves").OK(t)
	cluster.Until(t, within, "the lock", func() bool { return strings.Contains(curl(cert, key, "wiki", "/").OK(t), "leaves") })
	contains(t, curl(cert, key, "wiki", "/").OK(t), "leaves", "[403]")
	aMinuteLater(t, func(t *testing.T) {
		var said cluster.Result
		cluster.Until(t, within, "the end of the certificate", func() bool {
			said = curl(bobs[0], bobs[1], "wiki", "/after")
			return !strings.Contains(said.OK(t), "[200]")
		})
		contains(t, said.Stdout, "the certificate expired at", "tsh apps login wiki", "[401]")
		r := &refusals{Cluster: c, t: t, seen: map[string]bool{}}
		r.told("a certificate that has ended", "", "wiki", "the certificate expired at")
		for _, e := range c.Events(t, 1, "app.session.request", "bob") {
			if e["path"] == "/after" {
				t.Errorf("it came to the agent: %v", e)
			}
		}
	})
}

// TestPlayRequestsToAnApp: what was asked of an app is a recording that an auditor
// plays as a list of requests.
func TestPlayRequestsToAnApp(t *testing.T) {
	t.Parallel()
	m := newMall(t, cluster.Opts{})
	carol := m.User(t, "carol", []string{"auditor"}, nil)
	carol.Login(t)
	_, port := m.opened(t, "wiki", "")
	for _, path := range []string{"/page?a=1", "/who"} {
		resp, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	stream, err := http.Get("http://127.0.0.1:" + port + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	m.Tctl("lock", "--user=alice", "--ttl=1h", "--message=leaves").OK(t) // which ends the session
	m.Events(t, 1, "app.session.end", "alice")
	chunk, ok := m.Events(t, 1, "app.session.chunk", "alice")[0]["session_chunk_id"].(string)
	if !ok {
		t.Fatal("the chunk has no id")
	}
	var played cluster.Result
	cluster.Until(t, within, "the recording", func() bool {
		played = carol.Tsh("play", chunk, "--format=text")
		return played.Code == 0 && strings.Contains(played.Stdout, "/who")
	})
	contains(t, played.Stdout, "GET /page?a=1", "→ 200", "GET /who")
	m.Events(t, 1, "session.recording.access", "carol")
}

// TestAnAgentOfAppsOfFlags: teleport app start fronts an app without a file, and what
// teleport app configure create writes is a file that fronts one; teleport configure
// --roles=app writes one that fronts what is registered, or the app of its flags.
func TestAnAgentOfAppsOfFlags(t *testing.T) {
	t.Parallel()
	m := newMall(t, cluster.Opts{})
	m.alice = m.User(t, "bob", []string{"access"}, nil) // who sees them all
	m.alice.Login(t)
	teleport := filepath.Join(m.Bin(), "teleport")
	flags := func(name string) []string {
		return []string{"--proxy-server=" + m.ProxyAddr(), "--token=" + m.Token(t, "app"), "--ca-pin=" + m.CAPin(t), "--nodename=" + name,
			"--data-dir=" + filepath.Join(t.TempDir(), "data"), "--name=" + name, "--uri=" + m.web.URL, "--labels=env=test,from=flags"}
	}
	file := filepath.Join(t.TempDir(), "teleport.yaml")
	m.alice.Run(cluster.Command{Path: teleport, Args: append([]string{"app", "configure", "create", "-o", file}, flags("of-file")...)}).OK(t)
	contains(t, m.alice.Run(cluster.Command{Path: teleport, Args: []string{"configure", "--test=" + file}}).OK(t), "is good")
	// A role alone fronts what is registered; one app may be named by flags there, too.
	shared := func(name string, more ...string) []string {
		return append(more, "--roles=app", "--proxy="+m.ProxyAddr(), "--token="+m.Token(t, "app"), "--ca-pin="+m.CAPin(t), "--nodename="+name,
			"--data-dir="+filepath.Join(t.TempDir(), "data"))
	}
	for name, more := range map[string][]string{"of-role": nil, "of-name": {"--app-name=of-name", "--app-uri=" + m.web.URL}} {
		file := filepath.Join(t.TempDir(), "teleport.yaml")
		m.alice.Run(cluster.Command{Path: teleport, Args: append(shared(name, "configure", "-o", file), more...)}).OK(t)
		m.alice.Go(t, teleport, "start", "-c", file)
	}
	write(t, m.Dir+"/registered.yaml", "kind: app\nversion: v3\nmetadata: {name: of-role, labels: {from: flags}}\nspec: {uri: '"+m.web.URL+"'}\n")
	m.Tctl("create", m.Dir+"/registered.yaml").OK(t)
	m.alice.Go(t, teleport, shared("of-start", "start", "--app-name=of-start", "--app-uri="+m.web.URL)...)
	m.alice.Go(t, teleport, append([]string{"app", "start"}, flags("of-flags")...)...)
	m.alice.Go(t, teleport, "app", "start", "-c", file)
	for _, name := range []string{"of-flags", "of-file", "of-role", "of-name", "of-start"} {
		cluster.Until(t, within, name+" in tsh apps ls", func() bool { return strings.Contains(m.alice.Tsh("apps", "ls").Stdout, name) })
		_, port := m.opened(t, name, "")
		resp, err := http.Get("http://127.0.0.1:" + port + "/")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

// rest is between two requests of one person.
const rest = 20 * time.Millisecond

// TestAnAgentOfAnAppDies: of two agents before one app one is killed while people work
// in browsers and through tsh: of each, the request under way is lost at most.
func TestAnAgentOfAnAppDies(t *testing.T) {
	t.Parallel()
	uri := intranet(t)
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": uri})
	second := addAppAgent(t, c, "app-2", map[string]any{"name": "wiki", "uri": uri})
	agents := []*cluster.Process{c.Agents[0], second}
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "both agents", func() bool {
		out := c.Tctl("apps", "ls").Stdout
		return strings.Contains(out, "app-1") && strings.Contains(out, "app-2")
	})
	port := cluster.FreePort(t)
	live := alice.StartTsh(t, "proxy", "app", "wiki", "--port="+port)
	live.WaitFor(t, "127.0.0.1:"+port)
	stop := make(chan struct{})
	var work sync.WaitGroup
	var served, lost [8]atomic.Int64
	b := newBrowsing(t, c)
	b.signIn(alice)
	b.open(b.url("wiki", "/"))
	for i := range served {
		get := func() (int, error) {
			resp, err := http.Get("http://127.0.0.1:" + port + "/page")
			if err != nil {
				return 0, err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return resp.StatusCode, err
		}
		if i%2 == 0 {
			get = func() (int, error) {
				r, err := http.NewRequestWithContext(t.Context(), "GET", b.url("wiki", "/page"), nil)
				if err != nil {
					return 0, err
				}
				resp, err := b.client.Do(r)
				if err != nil {
					return 0, err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				return resp.StatusCode, err
			}
		}
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, err := get(); err != nil || status != http.StatusOK {
					lost[i].Add(1)
					t.Logf("%d: %d %v", i, status, err)
				} else {
					served[i].Add(1)
				}
				cluster.Poll(rest, func() bool { return false }) // other stories run beside this one
			}
		})
	}
	all := func() bool {
		var before [8]int64
		for i := range served {
			before[i] = served[i].Load()
		}
		return cluster.Poll(within, func() bool {
			for i := range served {
				if served[i].Load() < before[i]+5 {
					return false
				}
			}
			return true
		})
	}
	if !all() {
		t.Error("not everybody is served before")
	}
	agents[0].Kill9(t)
	if !all() {
		t.Error("not everybody is served by the other agent")
	}
	agents[0].Start(t)
	cluster.Until(t, within, "its tunnel", func() bool { return metric(t, c.Auth, "teleport_tunnels") == "2" })
	agents[1].Kill9(t)
	if !all() {
		t.Error("not everybody is served by the agent that is back")
	}
	close(stop)
	work.Wait()
	for i := range lost {
		if n := lost[i].Load(); n > 2 { // one for each that was killed
			t.Errorf("%d: %d requests were lost, %d served", i, n, served[i].Load())
		}
	}
	agents[1].Start(t)
}
