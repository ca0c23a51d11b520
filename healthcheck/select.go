package healthcheck

import (
	"slices"
	"strings"

	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
)

// PlanFor returns how a resource of a kind with these labels is checked: as the
// first configuration by name says that matches, and not at all when none does.
// What cannot be evaluated does not match. cache may be nil.
func PlanFor(configs []*types.HealthCheckConfig, kind string, labels map[string]string, cache *predicate.Cache) Plan {
	var first *types.HealthCheckConfig
	for _, c := range configs {
		if (first == nil || strings.Compare(c.Metadata.Name, first.Metadata.Name) < 0) && matches(&c.Spec.Match, kind, labels, cache) {
			first = c
		}
	}
	if first == nil {
		return Plan{}
	}
	s := &first.Spec
	return Plan{Interval: s.Interval.Std(), Timeout: s.Timeout.Std(), Healthy: s.HealthyThreshold, Unhealthy: s.UnhealthyThreshold}
}

// selector is what a configuration says of one kind.
func selector(m *types.HealthCheckMatch, kind string) (labels []types.LabelMatch, expr string) {
	switch kind {
	case types.KindDatabase:
		return m.DBLabels, m.DBLabelsExpression
	case types.KindApp:
		return m.AppLabels, m.AppLabelsExpression
	}
	return nil, ""
}

func matches(m *types.HealthCheckMatch, kind string, labels map[string]string, cache *predicate.Cache) bool {
	list, expr := selector(m, kind)
	if len(list) == 0 && expr == "" {
		return false
	}
	for _, l := range list {
		if l.Name == types.Wildcard {
			continue
		}
		have, ok := labels[l.Name]
		if !ok || !slices.ContainsFunc(l.Values, func(v string) bool {
			hit, err := predicate.MatchPattern(cache, v, have)
			return hit && err == nil
		}) {
			return false
		}
	}
	if expr == "" {
		return true
	}
	p, err := cache.TargetExpr(expr)
	if err != nil {
		return false
	}
	if labels == nil {
		labels = map[string]string{}
	}
	ok, err := p.Eval(predicate.Vars{"labels": labels})
	return ok && err == nil
}

// Validate checks of a configuration what its own Validate cannot: patterns and
// expressions. Store is given it as the validator of the kind.
func Validate(c *types.HealthCheckConfig) error {
	for _, kind := range []string{types.KindDatabase, types.KindApp} {
		labels, expr := selector(&c.Spec.Match, kind)
		for i, l := range labels {
			for j, v := range l.Values {
				if err := predicate.CheckPattern(v); err != nil {
					return fault.Wrap(err, fault.Invalid, "spec.match.%s_labels[%d].values[%d]: %s", kind, i, j, fault.Message(err))
				}
			}
		}
		if expr == "" {
			continue
		}
		if _, err := predicate.Compile(predicate.TargetExpr(), expr); err != nil {
			return fault.Wrap(err, fault.Invalid, "spec.match.%s_labels_expression: %s", kind, fault.Message(err))
		}
	}
	return nil
}

// Default is the configuration that a new cluster starts with.
func Default() *types.HealthCheckConfig {
	c := &types.HealthCheckConfig{}
	c.Kind, c.Version = types.KindHealthCheckConfig, "v1"
	c.Metadata.Name, c.Metadata.Description = types.DefaultHealthCheck, "Checks everything that agents front"
	c.Metadata.Labels = map[string]string{"teleport.internal/resource-type": "preset"}
	all := []types.LabelMatch{{Name: types.Wildcard, Values: types.StringList{types.Wildcard}}}
	c.Spec.Match.DBLabels, c.Spec.Match.AppLabels = all, all
	return c
}
