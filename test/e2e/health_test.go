package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

func TestReadinessTellsTheTruth(t *testing.T) {
	t.Parallel()
	diag := map[string]string{"node-1": "127.0.0.1:" + cluster.FreePort(t), "proxy-1": "127.0.0.1:" + cluster.FreePort(t)}
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1, Config: func(process string, conf cluster.Doc) {
		if addr := diag[process]; addr != "" {
			conf.Set("teleport.diag_addr", addr)
		}
	}})
	agent, proxy := s.Agents[0], s.Proxies[0]
	says := func(p *cluster.Process, want string) {
		t.Helper()
		last := ""
		if !cluster.Poll(patience, func() bool {
			last, _ = get(t, diag[p.Name], "/readyz")
			return strings.Contains(last, want)
		}) {
			t.Fatalf("/readyz of %s says %s, not %q", p.Name, last, want)
		}
		if body, code := get(t, diag[p.Name], "/healthz"); code != http.StatusOK {
			t.Errorf("/healthz of %s: %d %s", p.Name, code, body)
		}
	}
	says(agent, `"ok"`)
	says(proxy, `"ok"`)
	proxy.Kill9(t)
	says(agent, "tunnels")
	proxy.Start(t)
	says(agent, `"ok"`)
	s.Auth.Kill9(t)
	says(proxy, "degraded: control stream")
	says(agent, "degraded: control stream")
	s.Auth.Start(t)
	says(proxy, `"ok"`)
	says(agent, `"ok"`)

	// While it drains it says so; after HUP the new one answers, and only it.
	live := s.counting(t, s.alice, agent)
	agent.HUP(t)
	body := ""
	if !cluster.Poll(patience, func() bool { // the old one answers until it has heard that the new one is ready
		for range 20 {
			if body, _ = get(t, diag["node-1"], "/readyz"); !strings.Contains(body, fmt.Sprintf(`"pid":%d`, agent.PID())) {
				return false
			}
		}
		return true
	}) {
		t.Errorf("the old generation answers: %s", body)
	}
	live.finish(t)
	live = s.counting(t, s.alice, agent)
	agent.Quit(t)
	says(agent, "draining")
	live.finish(t)
	agent.WaitGone(t)
	agent.Start(t)

	if body, code := get(t, diag["node-1"], "/metrics"); code != http.StatusOK || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics: %d", code)
	}
	// What debugs is on the Unix socket alone, and for its owner alone.
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/log-level"} {
		if body, code := get(t, diag["node-1"], path); code != http.StatusNotFound {
			t.Errorf("%s on diag_addr: %d %s", path, code, body)
		}
	}
	info, err := os.Stat(filepath.Join(agent.DataDir, "debug.sock"))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("debug.sock: %v, %v", info.Mode(), err)
	}
	resp, err := agent.Debug("/debug/pprof/heap")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a profile by the socket: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

// get asks a diagnostic address; an answer that does not come is no answer.
func get(t *testing.T, addr, path string) (string, int) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err.Error(), 0
	}
	return string(b), resp.StatusCode
}

// TestASupervisedProcessComesBackByItself is about machines without systemd.
func TestASupervisedProcessComesBackByItself(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Agents: 1})
	agent := s.Agents[0]
	agent.Term(t)
	top := s.alice.Go(t, filepath.Join(s.Bin(), "teleport"), "start", "-c", agent.ConfigPath, "--supervise")
	pid := 0
	next := func() {
		t.Helper()
		cluster.Until(t, patience, "another process to be ready", func() bool {
			if top.Ended() {
				t.Fatalf("the supervisor ended: %s", top.Errs)
			}
			status, now := agent.Readyz()
			if status != "ok" || now == pid || now == top.Process.Pid {
				return false
			}
			pid = now
			return true
		})
	}
	next()
	s.hello(t, s.alice, agent)
	for range 2 {
		kill(t, pid, syscall.SIGKILL)
		next()
		s.hello(t, s.alice, agent)
	}
	live := s.counting(t, s.alice, agent)
	kill(t, top.Process.Pid, syscall.SIGHUP)
	next()
	s.hello(t, s.bob, agent)
	live.finish(t)
	kill(t, top.Process.Pid, syscall.SIGTERM)
	if code := top.Wait(t); code != 0 {
		t.Errorf("TERM ended the supervisor with %d: %s", code, top.Errs)
	}
	agent.Start(t) // what the end of the cluster looks at
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
