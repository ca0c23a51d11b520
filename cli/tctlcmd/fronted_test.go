package tctlcmd_test

import (
	"strings"
	"testing"

	"teleport/types"
)

// TestWhatAgentsFrontIsListed: a line for each agent that fronts something.
func TestWhatAgentsFrontIsListed(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{types.KindNode, types.KindAppServer, types.KindDatabaseServer} {
		k, err := types.KindByName(kind)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := types.Encode(k.Example())
		if err != nil {
			t.Fatal(err)
		}
		w.resources.add(doc, kind)
	}
	for command, cells := range map[string][]string{
		"nodes": {"Host", "web-1"},
		"apps":  {"Public Address", "grafana", "http://"},
		"db":    {"Protocol", "db-agent-1", "orders", "postgres", "orders.example.com:5432", "healthy"},
	} {
		t.Run(command, func(t *testing.T) {
			r := w.tctl(command, "ls")
			for _, cell := range cells {
				if r.code != 0 || !strings.Contains(r.out, cell) {
					t.Errorf("%q is missing: %d, %s%s", cell, r.code, r.out, r.err)
				}
			}
			if r := w.tctl(command, "ls", "--format=json"); r.code != 0 || !strings.HasPrefix(r.out, "[\n") {
				t.Errorf("%d, %s%s", r.code, r.out, r.err)
			}
			if r := w.tctl(command, "ls", "prod"); r.code != 2 || !strings.Contains(r.err, "key=value") {
				t.Errorf("a label without a value: %d, %s", r.code, r.err)
			}
		})
	}
}
