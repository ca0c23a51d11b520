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
	"strconv"
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

// buildDiagnostics comes first, so that a process which waits for its cluster
// answers already, and a draining one to the end.
func (p *Process) buildDiagnostics(ctx context.Context) error {
	d := &diagnostics{health: p.health, metrics: p.metrics, level: p.level, log: p.log}
	if p.cfg.DiagAddr != "" {
		ln, err := p.gen.Listen(ctx, p.cfg.DiagAddr)
		if err != nil {
			return err
		}
		p.handOver = p.serveEarly(ln, d.public())
	}
	if p.cfg.Debug {
		var err error
		if p.debug, err = listenDebug(p.cfg.DataDir, p.number, p.gen.First()); err != nil {
			return err
		}
		p.serveEarly(p.debug.ln, d.private())
	}
	return nil
}

// serveEarly serves while the process is built and until all else has stopped,
// or end is called.
func (p *Process) serveEarly(ln net.Listener, h http.Handler) (end context.CancelFunc) {
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serveHTTP(ctx, ln, h, p.log) }()
	p.closers = append(p.closers, func() error { end(); return <-done })
	return end
}

// debugSocket is the Unix socket of a generation. It carries a name of its own
// until the process is ready: one that fails must not take the name from the
// process that goes on.
type debugSocket struct {
	ln         net.Listener
	path, name string
}

// listenDebug makes the socket, mode 0600, in a directory that only its owner
// enters. The first generation has the known name at once.
func listenDebug(dataDir string, number uint64, first bool) (*debugSocket, error) {
	s := &debugSocket{name: filepath.Join(dataDir, "debug.sock")}
	s.path = s.name + "." + strconv.FormatUint(number, 10)
	ln, err := net.Listen("unix", s.path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot make the debug socket %s: %v", s.path, reason(err))
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // a newer generation's socket may have the name by then
	s.ln = ln
	if err = os.Chmod(s.path, 0o600); err == nil && first {
		err = s.publish()
	}
	if err != nil {
		ln.Close()
		return nil, fault.Wrap(err, fault.Unavailable, "cannot protect the debug socket %s", s.path)
	}
	return s, nil
}

// publish gives the socket its known name, in place of one that another process
// left or has.
func (s *debugSocket) publish() error {
	if s.path == s.name {
		return nil
	}
	if err := os.Rename(s.path, s.name); err != nil {
		return err
	}
	s.path = s.name
	return nil
}

// serveHTTP runs a plain HTTP server until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fault.Wrap(err, fault.Unavailable, "the listener %s failed", ln.Addr())
	}
	return nil
}
