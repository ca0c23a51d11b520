package assembly

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport/fault"
	"teleport/telemetry"
)

// diagnostics answers for the health of a process: health, readiness and metrics
// on diag_addr; profiles and the log level only on a Unix socket that its owner
// alone may open.
type diagnostics struct {
	health  *health
	metrics prometheus.Gatherer
	level   *slog.LevelVar
	log     *slog.Logger
}

func (d *diagnostics) public() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.Handle("GET /metrics", telemetry.MetricsHandler(d.metrics))
	return mux
}

func (d *diagnostics) private() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", d.readyz)
	mux.Handle("GET /metrics", telemetry.MetricsHandler(d.metrics))
	mux.HandleFunc("GET /log-level", func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, http.StatusOK, d.level.Level().String()) })
	mux.HandleFunc("PUT /log-level/{level}", func(w http.ResponseWriter, r *http.Request) {
		l, err := telemetry.ParseLevel(r.PathValue("level"))
		if err != nil {
			writeStatus(w, http.StatusBadRequest, fault.Message(err))
			return
		}
		d.level.Set(l)
		writeStatus(w, http.StatusOK, l.String())
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (d *diagnostics) readyz(w http.ResponseWriter, _ *http.Request) {
	state, code := d.health.state()
	writeStatus(w, code, state)
}

func writeStatus(w http.ResponseWriter, code int, status string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "pid": os.Getpid()})
}

// listenDebug makes the Unix socket: in a directory that only the owner enters,
// itself mode 0600, replacing one that a dead process left.
func listenDebug(dataDir string) (net.Listener, error) {
	path := filepath.Join(dataDir, "debug.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot replace %s", path)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot make the debug socket %s", path)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // a newer generation's socket has the same name
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fault.Wrap(err, fault.Unavailable, "cannot protect the debug socket %s", path)
	}
	return ln, nil
}

// serveHTTP runs a plain HTTP server until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fault.Wrap(err, fault.Unavailable, "the listener %s failed", ln.Addr())
	}
	return nil
}
