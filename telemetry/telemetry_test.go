package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"teleport/fault"
)

func TestLoggerLevelChangesWhileRunning(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log, err := NewLogger(&out, "json", &level)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("hidden")
	level.Set(slog.LevelDebug)
	log.Debug("shown", KeyUser, "alice")
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"user":"alice"`) {
		t.Errorf("log: %s", got)
	}
	if _, err := NewLogger(&out, "xml", &level); !errors.Is(err, fault.Invalid) {
		t.Errorf("format xml: %v", err)
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]slog.Level{"": slog.LevelInfo, "debug": slog.LevelDebug, "WARNING": slog.LevelWarn, "err": slog.LevelError} {
		if got, err := ParseLevel(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := ParseLevel("loud"); !errors.Is(err, fault.Invalid) {
		t.Errorf("loud: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	rec := httptest.NewRecorder()
	MetricsHandler(NewRegistry()).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(rec.Body.String(), "go_goroutines") {
		t.Error("no runtime metrics")
	}
}
