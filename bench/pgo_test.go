package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/pprof/profile"
)

// TestOneProfileForTheCompiler: it has the samples of all and of no heap, and does not
// say where they were taken.
func TestOneProfileForTheCompiler(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "default.pgo")
	if err := mergeProfiles(dir, to); err == nil {
		t.Error("a profile of nothing")
	}
	for name, samples := range map[string]int64{"apps-proxy.pprof": 2, "apps-agent.pprof": 3, "apps-agent-heap.pprof": 100} {
		m := &profile.Mapping{ID: 1, File: "/home/somebody/teleport", BuildID: "abc"}
		f := &profile.Function{ID: 1, Name: "main.main"}
		l := &profile.Location{ID: 1, Mapping: m, Line: []profile.Line{{Function: f, Line: 7}}}
		p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}}, PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
			Sample: []*profile.Sample{{Location: []*profile.Location{l}, Value: []int64{samples}}}, Mapping: []*profile.Mapping{m}, Function: []*profile.Function{f},
			Location: []*profile.Location{l}}
		out, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(out); err != nil {
			t.Fatal(err)
		}
		out.Close()
	}
	if err := mergeProfiles(dir, to); err != nil {
		t.Fatal(err)
	}
	p, err := readProfile(to)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, s := range p.Sample {
		total += s.Value[0]
	}
	if total != 5 || p.Mapping[0].File != "teleport" || p.Mapping[0].BuildID != "" {
		t.Errorf("%d samples of %+v", total, p.Mapping[0])
	}
}
