package assembly

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"teleport/telemetry"
)

// What can change or read a process is on the socket alone, which its owner
// alone may open.
func TestDebugIsOnTheSocketAlone(t *testing.T) {
	d := &diagnostics{health: newHealth(), metrics: telemetry.NewRegistry(), level: new(slog.LevelVar), log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct{ method, path string }{{"GET", "/debug/pprof/"}, {"GET", "/debug/pprof/profile"}, {"GET", "/debug/pprof/heap"},
		{"GET", "/debug/pprof/cmdline"}, {"GET", "/log-level"}, {"PUT", "/log-level/DEBUG"}, {"GET", "/debug/vars"}} {
		rec := httptest.NewRecorder()
		d.public().ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != http.StatusNotFound {
			t.Errorf("diag_addr answers %s %s with %d", c.method, c.path, rec.Code)
		}
	}
	dir := t.TempDir()
	s, err := listenDebug(dir, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	info, err := os.Stat(filepath.Join(dir, "debug.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}
