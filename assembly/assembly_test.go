package assembly

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"teleport/config"
	"teleport/fault"
	"teleport/generation"
	"teleport/telemetry"
	"teleport/types"
)

func TestHealthFollowsItsParts(t *testing.T) {
	h := newHealth()
	h.expect("auth")
	h.expect("tunnels")
	says := func(want string, code int) {
		t.Helper()
		if got, c := h.state(); got != want || c != code {
			t.Errorf("%q %d, not %q %d", got, c, want, code)
		}
	}
	says("starting: auth, tunnels", http.StatusBadRequest)
	h.report("tunnels", false) // not up yet is no degradation
	h.report("auth", true)
	says("starting: tunnels", http.StatusBadRequest)
	h.report("tunnels", true)
	says("ok", http.StatusOK)
	h.report("tunnels", false)
	says("degraded: tunnels", http.StatusServiceUnavailable)
	h.report("tunnels", true)
	says("ok", http.StatusOK)
	h.drain()
	says("draining", http.StatusServiceUnavailable)
}

func TestDiagnosticsKeepTheirSecretsOnTheSocket(t *testing.T) {
	d := &diagnostics{health: newHealth(), metrics: telemetry.NewRegistry(), level: new(slog.LevelVar), log: telemetry.Discard()}
	for _, c := range []struct {
		method, path    string
		public, private int
	}{
		{"GET", "/healthz", 200, 404}, {"GET", "/readyz", 200, 200}, {"GET", "/metrics", 200, 200},
		{"GET", "/debug/pprof/", 404, 200}, {"GET", "/debug/pprof/goroutine", 404, 200}, {"GET", "/log-level", 404, 200},
		{"PUT", "/log-level/DEBUG", 404, 200}, {"PUT", "/log-level/loud", 404, 400}, {"POST", "/readyz", 405, 405},
	} {
		for name, h := range map[string]http.Handler{"public": d.public(), "private": d.private()} {
			want := c.public
			if name == "private" {
				want = c.private
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
			if rec.Code != want {
				t.Errorf("%s %s (%s): %d, not %d", c.method, c.path, name, rec.Code, want)
			}
		}
	}
	if d.level.Level() != slog.LevelDebug {
		t.Errorf("the level is %v", d.level.Level())
	}
}

func TestADebugSocketOfAnUnreadyGenerationTakesNoName(t *testing.T) {
	dir, err := os.MkdirTemp("", "as") // short: it is a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "debug.sock")
	first, err := listenDebug(dir, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer first.ln.Close()
	second, err := listenDebug(dir, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer second.ln.Close()
	reaches := func(s *debugSocket) {
		t.Helper()
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := s.ln.Accept() // hangs, where another one was reached
		if err != nil {
			t.Fatal(err)
		}
		got.Close()
	}
	reaches(first)
	if err := second.publish(); err != nil {
		t.Fatal(err)
	}
	reaches(second)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestADataDirectoryThatOthersWriteInIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := prepareDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := prepareDataDir(dir); !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Hint(err), "chmod 0700 "+dir) {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := prepareDataDir(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestAPIDFileIsRemovedByItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	p := &Process{cfg: &config.Config{PIDFile: path}}
	if err := p.writePID(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil { // the next generation's
		t.Fatal(err)
	}
	if err := p.removePID(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another generation's file was removed: %v", err)
	}
	if err := errors.Join(p.writePID(), p.removePID()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestPresenceAnnouncesTheWhole(t *testing.T) {
	var last []string
	s := &presence{announce: func(docs ...types.Resource) error {
		last = nil
		for _, d := range docs {
			last = append(last, d.Head().Name())
		}
		slices.Sort(last)
		return nil
	}}
	node := func(name string) types.Resource {
		return &types.Node{Header: types.Header{Metadata: types.Metadata{Name: name}}}
	}
	for _, step := range []struct {
		part string
		docs []types.Resource
		want []string
	}{
		{"ssh", []types.Resource{node("n")}, []string{"n"}},
		{"proxy", []types.Resource{node("p")}, []string{"n", "p"}},
		{"ssh", []types.Resource{node("m")}, []string{"m", "p"}},
		{"proxy", nil, []string{"m"}},
	} {
		if err := s.set(step.part, step.docs...); err != nil || !slices.Equal(last, step.want) {
			t.Errorf("%s: %v, %v", step.part, last, err)
		}
	}
}

func TestAProcessThatNeverGotReadyStopsWhenToldAndIsNotReplaced(t *testing.T) {
	gen, err := generation.Open()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // an auth service that says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, stop := range map[string]func(*Process, context.CancelFunc){
		"fast":   func(_ *Process, cancel context.CancelFunc) { cancel() },
		"gentle": func(p *Process, _ context.CancelFunc) { p.Drain() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &config.Config{DataDir: filepath.Join(t.TempDir(), "data"), Nodename: "n", AuthServer: ln.Addr().String(), JoinMethod: "token",
				Token: types.NewSecret("0123456789abcdef0123456789abcdef"), CAPins: []string{"sha256:" + strings.Repeat("0", 64)}, SSH: &config.SSH{}}
			p, err := New(Options{Config: cfg, Generation: gen, Log: telemetry.Discard(), Level: new(slog.LevelVar)})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- p.Serve(ctx) }()
			if _, err := ln.Accept(); err != nil { // it tries to join
				t.Fatal(err)
			}
			if err := p.Replace(ctx); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "not ready") {
				t.Errorf("Replace: %v", err)
			}
			stop(p, cancel)
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}
