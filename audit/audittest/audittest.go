// Package audittest holds what tests need of the audit log: an emitter that
// remembers, and the oracle that every test cluster runs over its log at the
// end.
package audittest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"teleport/audit"
	"teleport/audit/chain"
	"teleport/types/event"
)

// Recorder is an emitter that keeps what it was given. The zero value is not
// usable; Fail makes Emit refuse. Safe for concurrent use.
type Recorder struct {
	codec *event.Codec
	mu    sync.Mutex
	all   []event.Event
	fail  error
}

var _ audit.Emitter = (*Recorder)(nil)

// NewRecorder makes one.
func NewRecorder() *Recorder { return &Recorder{codec: event.NewCodec()} }

// Emit implements audit.Emitter with the real one's checks.
func (r *Recorder) Emit(_ context.Context, events ...event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	for _, e := range events {
		if _, err := r.codec.Encode(e); err != nil {
			return err
		}
	}
	r.all = append(r.all, events...)
	return nil
}

// Fail makes every Emit return err; nil ends that.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Events returns what was emitted so far, only the given types if any.
func (r *Recorder) Events(types ...string) []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event.Event
	for _, e := range r.all {
		if len(types) == 0 || slices.Contains(types, e.EventMeta().Type) {
			out = append(out, e)
		}
	}
	return out
}

// Complete fails the test unless the log verifies from its first event on, no
// writer has a gap, every session that started has ended, once, and the log
// has raised no alarm. Flush the cluster's shippers before.
func Complete(t testing.TB, log *audit.Log) chain.Report {
	t.Helper()
	var b bytes.Buffer
	if err := log.Export(context.Background(), audit.ExportOptions{}, &b); err != nil {
		t.Errorf("audit export: %v", err)
		return chain.Report{}
	}
	report, err := chain.Verify(bytes.NewReader(b.Bytes()), log.Keys(), nil)
	if err != nil {
		t.Errorf("audit log: %v", err)
		for _, p := range report.Problems {
			t.Errorf("audit log: %s: %s", p.Kind, p.Text)
		}
	}
	for _, problem := range Sessions(b.Bytes()) {
		t.Error(problem)
	}
	return report
}

// Sessions reads an export and returns a line for each session that has not
// one start and one end, and for each alarm of the log.
func Sessions(export []byte) []string {
	starts, ends := make(map[string]int), make(map[string]int)
	var out []string
	for ln := range bytes.Lines(export) {
		var x struct {
			Event *struct {
				Public struct {
					Type string `json:"event"`
					SID  string `json:"sid"`
				} `json:"public"`
			} `json:"event"`
		}
		if json.Unmarshal(ln, &x) != nil || x.Event == nil {
			continue
		}
		switch p := x.Event.Public; p.Type {
		case event.TypeSessionStart:
			starts[p.SID]++
		case event.TypeSessionEnd:
			ends[p.SID]++
		case event.TypeAuditGap, event.TypeAuditFork, event.TypeAuditRefused, event.TypeAuditLost, event.TypeAuditCut:
			out = append(out, "the audit log raised "+p.Type+": "+string(bytes.TrimSpace(ln)))
		}
	}
	for sid, n := range starts {
		if n != 1 || ends[sid] != 1 {
			out = append(out, "session "+sid+" does not have one start and one end")
		}
	}
	for sid := range ends {
		if starts[sid] == 0 {
			out = append(out, "session "+sid+" ended and never started")
		}
	}
	slices.Sort(out)
	return out
}
