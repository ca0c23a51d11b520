// Package telemetry makes what every process reports with: slog loggers whose
// level can change while running, the names of log attributes, and the
// Prometheus registry that is passed to each part. Nothing here is global.
package telemetry

import (
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"teleport/fault"
)

// Names of log attributes, so that one search finds a thing in every log.
const (
	KeyComponent = "component" // part of the process: "auth", "proxy", "ssh" …
	KeyErr       = "err"
	KeyCluster   = "cluster"
	KeyUser      = "user"
	KeyLogin     = "login"
	KeyHostID    = "host_id" // UUID of an agent, proxy or auth process
	KeyHostname  = "hostname"
	KeyKind      = "kind"     // resource kind
	KeyResource  = "resource" // resource name
	KeySession   = "session"
	KeyClient    = "client" // address of the client, as verified
	KeyAddr      = "addr"   // address that we listen on or dial
	KeyALPN      = "alpn"
	KeyTrace     = "trace"
	KeyDuration  = "duration"
	KeyBytes     = "bytes"
)

// NewLogger makes a logger that writes to w. format is "text" or "json"; level
// may be changed while the logger is in use.
func NewLogger(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fault.New(fault.Invalid, "log format %q is neither text nor json", format)
}

// ParseLevel reads the severities that configurations use: DEBUG, INFO, WARN
// (WARNING), ERROR (ERR), in any case. Empty is INFO.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToUpper(s) {
	case "", "INFO":
		return slog.LevelInfo, nil
	case "DEBUG", "TRACE":
		return slog.LevelDebug, nil
	case "WARN", "WARNING":
		return slog.LevelWarn, nil
	case "ERR", "ERROR":
		return slog.LevelError, nil
	}
	return 0, fault.New(fault.Invalid, "log severity %q is not one of DEBUG, INFO, WARN, ERROR", s)
}

// Discard is a logger that writes nothing, for tests and defaults.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// NewRegistry makes the metrics registry of a process, with the numbers of the
// Go runtime and of the process in it.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// MetricsHandler serves a registry in the Prometheus text format.
func MetricsHandler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
