package access

import (
	"strings"

	"teleport/predicate"
	"teleport/types"
)

// family ties a kind to the usage of certificates and to the selectors of roles.
type family struct {
	usage  string
	labels func(*types.RoleConditions) (types.Labels, string)
}

func familyOf(kind string) family {
	switch kind {
	case types.KindNode:
		return family{"ssh", func(c *types.RoleConditions) (types.Labels, string) { return c.NodeLabels, c.NodeLabelsExpression }}
	case "kube_cluster", "kube_server":
		return family{"kube", func(c *types.RoleConditions) (types.Labels, string) {
			return c.KubernetesLabels, c.KubernetesLabelsExpression
		}}
	case "db", "db_server":
		return family{"db", func(c *types.RoleConditions) (types.Labels, string) { return c.DBLabels, c.DBLabelsExpression }}
	case "app", "app_server":
		return family{"app", func(c *types.RoleConditions) (types.Labels, string) { return c.AppLabels, c.AppLabelsExpression }}
	case "windows_desktop":
		return family{"desktop", func(c *types.RoleConditions) (types.Labels, string) {
			return c.WindowsDesktopLabels, c.WindowsDesktopLabelsExpression
		}}
	}
	return family{}
}

// matchRoles collects the roles whose allow selectors match the resource.
func (d *decider) matchRoles() {
	d.matched = make([]*types.Role, 0, len(d.roles))
	for _, role := range d.roles {
		if d.allowsLabels(role) {
			d.matched = append(d.matched, role)
		}
	}
}

// allowsLabels reports whether a role's allow selectors match the resource. What
// cannot be evaluated does not.
func (d *decider) allowsLabels(role *types.Role) bool {
	sel, expr := familyOf(d.r.Resource.Head().Kind).labels(&role.Spec.Allow)
	if len(sel) == 0 && expr == "" || len(sel) > 0 && !d.allowSelects(sel) {
		return false
	}
	if expr == "" {
		return true
	}
	ok, err := d.evalLabels(expr)
	return ok && err == nil
}

// deniesLabels reports whether a role's deny selectors hit the resource. What
// cannot be evaluated denies.
func (d *decider) deniesLabels(role *types.Role) bool {
	sel, expr := familyOf(d.r.Resource.Head().Kind).labels(&role.Spec.Deny)
	if d.denySelects(sel) {
		return true
	}
	if expr == "" {
		return false
	}
	ok, err := d.evalLabels(expr)
	return ok || err != nil
}

// allowSelects: every key must be there with one of its values.
func (d *decider) allowSelects(sel types.Labels) bool {
	for key, values := range sel {
		if key == types.Wildcard {
			if len(values) != 1 || values[0] != types.Wildcard {
				return false
			}
			continue
		}
		have, ok := d.labels[key]
		if !ok || !d.oneMatches(values, have, false) {
			return false
		}
	}
	return true
}

// denySelects: one key with one matching value is enough.
func (d *decider) denySelects(sel types.Labels) bool {
	for key, values := range sel {
		if key == types.Wildcard {
			return true
		}
		if have, ok := d.labels[key]; ok && d.oneMatches(values, have, true) {
			return true
		}
	}
	return false
}

func (d *decider) oneMatches(values types.StringList, have string, deny bool) bool {
	for _, v := range values {
		if predicate.IsTemplate(v) {
			if d.templateMatches(v, have, deny) {
				return true
			}
			continue
		}
		ok, err := predicate.MatchPattern(d.r.Cache, v, have)
		if ok || err != nil && deny {
			return true
		}
	}
	return false
}

// templateMatches expands a value. Traits come from outside, so in an allow they
// cannot bring wildcards along: only those that the role itself writes count. In
// a deny they may, which denies more.
func (d *decider) templateMatches(v, have string, deny bool) bool {
	d.buf = predicate.AppendExpanded(d.buf[:0], d.r.Cache, v, d.traits)
	stars := strings.Count(v, "*")
	for _, p := range d.buf {
		if !deny && (strings.HasPrefix(p, "^") || strings.Count(p, "*") != stars) {
			if stars == 0 && p == have {
				return true
			}
			continue
		}
		ok, err := predicate.MatchPattern(d.r.Cache, p, have)
		if ok || err != nil && deny {
			return true
		}
	}
	return false
}

func (d *decider) evalLabels(expr string) (bool, error) {
	p, err := d.r.Cache.LabelExpr(expr)
	if err != nil {
		return false, err
	}
	return p.Eval(d.vars())
}

// subject is the user root of expressions.
type subject struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Name string `json:"name"`
	Spec struct {
		Roles  []string            `json:"roles"`
		Traits map[string][]string `json:"traits"`
	} `json:"spec"`
}

// vars builds the environment of expressions, once per decision.
func (d *decider) vars() predicate.Vars {
	if d.env != nil {
		return d.env
	}
	u := &subject{Name: d.r.Identity.Name}
	u.Metadata.Name = d.r.Identity.Name
	u.Spec.Traits = d.traits.External
	for _, role := range d.roles {
		u.Spec.Roles = append(u.Spec.Roles, role.Metadata.Name)
	}
	labels := d.labels
	if labels == nil {
		labels = map[string]string{}
	}
	d.env = predicate.Vars{"user": u, "labels": labels}
	for k, v := range d.r.Vars {
		if k != "user" && k != "labels" {
			d.env[k] = v
		}
	}
	if d.r.Subject != nil {
		d.env["resource"] = d.r.Subject
		if t, ok := d.r.Subject.(*types.SessionTracker); ok {
			d.env["session_tracker"] = trackerVars(t)
		}
	}
	return d.env
}

// trackerVars shows participants as user names, which is what clauses compare.
func trackerVars(t *types.SessionTracker) any {
	names := make([]string, len(t.Spec.Participants))
	for i, p := range t.Spec.Participants {
		names[i] = p.User
	}
	return struct {
		Participants []string                 `json:"participants"`
		Metadata     types.Metadata           `json:"metadata"`
		Spec         types.SessionTrackerSpec `json:"spec"`
	}{names, t.Metadata, t.Spec}
}
