package healthcheck_test

import (
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/healthcheck"
	"teleport/types"
)

func config(name string, interval time.Duration, expr string, labels ...types.LabelMatch) *types.HealthCheckConfig {
	c := &types.HealthCheckConfig{}
	c.Metadata.Name, c.Spec.Interval = name, types.Duration(interval)
	c.Spec.Match = types.HealthCheckMatch{DBLabels: labels, DBLabelsExpression: expr}
	return c
}

func label(name string, values ...string) types.LabelMatch {
	return types.LabelMatch{Name: name, Values: values}
}

func TestPlanFor(t *testing.T) {
	configs := []*types.HealthCheckConfig{
		config("z-all", 10*time.Second, "", label("*", "*")),
		config("b-both", 20*time.Second, `labels["team"] == "shop"`, label("env", "prod", "test-*")),
		config("a-regexp", 30*time.Second, "", label("env", "^stag.*$"), label("tier", "1")),
		config("0-nothing", 40*time.Second, ""),
		config("1-broken", 50*time.Second, `labels["x"`),
		config("2-no-user", 60*time.Second, `user.metadata.name == ""`),
	}
	for _, c := range configs[:4] {
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := healthcheck.Validate(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range configs[4:] {
		if err := healthcheck.Validate(c); fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(fault.Message(err), "spec.match.db_labels_expression: ") {
			t.Errorf("%s: %v", c.Metadata.Name, err)
		}
	}
	for _, x := range []struct {
		labels map[string]string
		want   time.Duration
	}{
		{nil, 10 * time.Second},
		{map[string]string{"env": "prod"}, 10 * time.Second}, // the expression does not hold
		{map[string]string{"env": "prod", "team": "shop"}, 20 * time.Second},
		{map[string]string{"env": "test-7", "team": "shop"}, 20 * time.Second},
		{map[string]string{"env": "staging", "tier": "1"}, 30 * time.Second},
		{map[string]string{"env": "staging"}, 10 * time.Second}, // all of the list must match
	} {
		if p := healthcheck.PlanFor(configs, types.KindDatabase, x.labels, nil); p.Interval != x.want {
			t.Errorf("%v: %s, want %s", x.labels, p.Interval, x.want)
		}
	}
	if p := healthcheck.PlanFor(configs, types.KindNode, nil, nil); p != (healthcheck.Plan{}) {
		t.Errorf("a node is checked: %+v", p)
	}
	if p := healthcheck.PlanFor(configs[1:], types.KindDatabase, nil, nil); p != (healthcheck.Plan{}) {
		t.Errorf("nothing matches, and it is checked: %+v", p)
	}
}

func TestDefault(t *testing.T) {
	d := healthcheck.Default()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	want := healthcheck.Plan{Interval: 30 * time.Second, Timeout: 5 * time.Second, Healthy: 2, Unhealthy: 1}
	if p := healthcheck.PlanFor([]*types.HealthCheckConfig{d}, types.KindDatabase, nil, nil); p != want {
		t.Errorf("%+v", p)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	for path, edit := range map[string]func(*types.HealthCheckSpec){
		"spec.interval":                     func(s *types.HealthCheckSpec) { s.Interval = types.Duration(time.Second) },
		"spec.timeout":                      func(s *types.HealthCheckSpec) { s.Timeout = types.Duration(time.Minute) },
		"spec.healthy_threshold":            func(s *types.HealthCheckSpec) { s.HealthyThreshold = 11 },
		"spec.unhealthy_threshold":          func(s *types.HealthCheckSpec) { s.UnhealthyThreshold = 11 },
		"spec.match.db_labels[0].name":      func(s *types.HealthCheckSpec) { s.Match.DBLabels = []types.LabelMatch{label("", "x")} },
		"spec.match.db_labels[1].values":    func(s *types.HealthCheckSpec) { s.Match.DBLabels = []types.LabelMatch{label("a", "x"), label("b")} },
		"spec.match.db_labels[0].values":    func(s *types.HealthCheckSpec) { s.Match.DBLabels = []types.LabelMatch{label("*", "x")} },
		"spec.match.db_labels[0].values[1]": func(s *types.HealthCheckSpec) { s.Match.DBLabels = []types.LabelMatch{label("a", "x", "^(")} },
	} {
		c := config("c", 0, "")
		edit(&c.Spec)
		err := c.Validate()
		if err == nil {
			err = healthcheck.Validate(c)
		}
		if fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(fault.Message(err), path+": ") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
