package access

import (
	"fmt"
	"strings"

	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
)

// Validate checks of a role what types.Role.Validate cannot: that templates,
// patterns, expressions and where clauses compile. Store is given it as the
// validator of the kind role. It returns fault.Invalid with the field's path.
func Validate(r *types.Role) error {
	for _, side := range []struct {
		path string
		c    *types.RoleConditions
	}{{"spec.allow", &r.Spec.Allow}, {"spec.deny", &r.Spec.Deny}} {
		for _, check := range []func(string, *types.RoleConditions) error{checkPrincipals, checkLabels, checkExpressions, checkClauses, checkMatchers} {
			if err := check(side.path, side.c); err != nil {
				return err
			}
		}
	}
	for i, e := range r.Spec.Options.CertExtensions {
		if err := checkTemplate(fmt.Sprintf("spec.options.cert_extensions[%d].value", i), e.Value); err != nil {
			return err
		}
	}
	return nil
}

// ValidateApp checks of an app what types.App.Validate cannot: that the templates of
// its headers compile.
func ValidateApp(a *types.App) error {
	if a.Spec.Rewrite == nil {
		return nil
	}
	for i, h := range a.Spec.Rewrite.Headers {
		if err := checkTemplate(types.IndexPath("spec.rewrite.headers", i)+".value", h.Value); err != nil {
			return err
		}
	}
	return nil
}

// field puts a path before an error's message and keeps its hint.
func field(path string, err error) error {
	if err == nil {
		return nil
	}
	out := fault.New(fault.Invalid, "%s: %s", path, fault.Message(err))
	if w, ok := fault.Wrap(&types.FieldError{Path: path}, fault.Invalid, "%s: %s", path, fault.Message(err)).(*fault.Error); ok {
		out = w
	}
	if hint := fault.Hint(err); hint != "" {
		return out.WithHint("%s", hint)
	}
	return out
}

func checkTemplate(path, src string) error {
	_, err := predicate.ParseTemplate(src)
	return field(path, err)
}

func checkPrincipals(path string, c *types.RoleConditions) error {
	lists := []struct {
		name string
		list []string
	}{
		{"logins", c.Logins}, {"host_groups", c.HostGroups}, {"host_sudoers", c.HostSudoers}, {"kubernetes_groups", c.KubernetesGroups},
		{"kubernetes_users", c.KubernetesUsers}, {"db_names", c.DBNames}, {"db_users", c.DBUsers}, {"db_roles", c.DBRoles},
		{"aws_role_arns", c.AWSRoleARNs}, {"azure_identities", c.AzureIdentities}, {"gcp_service_accounts", c.GCPServiceAccounts},
		{"windows_desktop_logins", c.WindowsDesktopLogins}, {"linux_desktop_logins", c.LinuxDesktopLogins}, {"desktop_groups", c.DesktopGroups},
	}
	if c.Impersonate != nil {
		lists = append(lists, struct {
			name string
			list []string
		}{"impersonate.users", c.Impersonate.Users}, struct {
			name string
			list []string
		}{"impersonate.roles", c.Impersonate.Roles})
	}
	for _, l := range lists {
		for i, s := range l.list {
			if err := checkTemplate(types.IndexPath(path+"."+l.name, i), s); err != nil {
				return err
			}
		}
	}
	return nil
}

// selectors lists all selectors of a side with the names of their fields.
func selectors(c *types.RoleConditions) []struct {
	name   string
	labels types.Labels
	expr   string
} {
	return []struct {
		name   string
		labels types.Labels
		expr   string
	}{
		{"node_labels", c.NodeLabels, c.NodeLabelsExpression},
		{"kubernetes_labels", c.KubernetesLabels, c.KubernetesLabelsExpression},
		{"db_labels", c.DBLabels, c.DBLabelsExpression},
		{"db_service_labels", c.DBServiceLabels, c.DBServiceLabelsExpression},
		{"app_labels", c.AppLabels, c.AppLabelsExpression},
		{"windows_desktop_labels", c.WindowsDesktopLabels, c.WindowsDesktopLabelsExpression},
		{"linux_desktop_labels", c.LinuxDesktopLabels, c.LinuxDesktopLabelsExpression},
		{"cluster_labels", c.ClusterLabels, c.ClusterLabelsExpression},
		{"group_labels", c.GroupLabels, c.GroupLabelsExpression},
		{"workload_identity_labels", c.WorkloadIdentityLabels, c.WorkloadIdentityLabelsExpression},
	}
}

func checkLabels(path string, c *types.RoleConditions) error {
	for _, s := range selectors(c) {
		for key, values := range s.labels {
			for i, v := range values {
				p := types.IndexPath(types.JoinPath(path+"."+s.name, key), i)
				if err := checkLabelValue(p, v); err != nil {
					return err
				}
			}
		}
	}
	for i, r := range c.KubernetesResources {
		p := types.IndexPath(path+".kubernetes_resources", i)
		for name, v := range map[string]string{"name": r.Name, "namespace": r.Namespace, "api_group": r.APIGroup} {
			if err := field(p+"."+name, predicate.CheckPattern(v)); err != nil {
				return err
			}
		}
	}
	if c.MCP != nil {
		for i, t := range c.MCP.Tools {
			if err := field(types.IndexPath(path+".mcp.tools", i), predicate.CheckPattern(t)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkLabelValue(path, v string) error {
	if !predicate.IsTemplate(v) {
		return field(path, predicate.CheckPattern(v))
	}
	if strings.HasPrefix(v, "^") {
		return field(path, fault.New(fault.Invalid, "a template cannot be part of a regular expression"))
	}
	return checkTemplate(path, v)
}

func checkExpressions(path string, c *types.RoleConditions) error {
	for _, s := range selectors(c) {
		if s.expr == "" {
			continue
		}
		if _, err := predicate.Compile(predicate.LabelExpr(), s.expr); err != nil {
			return field(path+"."+s.name+"_expression", err)
		}
	}
	return nil
}

func checkClauses(path string, c *types.RoleConditions) error {
	clauses := map[string]string{}
	for i, r := range c.Rules {
		clauses[types.IndexPath(path+".rules", i)+".where"] = r.Where
	}
	if c.Impersonate != nil {
		clauses[path+".impersonate.where"] = c.Impersonate.Where
	}
	if c.ReviewRequests != nil {
		clauses[path+".review_requests.where"] = c.ReviewRequests.Where
	}
	if c.Request != nil {
		for i, t := range c.Request.Thresholds {
			clauses[types.IndexPath(path+".request.thresholds", i)+".filter"] = t.Filter
		}
	}
	for i, p := range c.RequireSessionJoin {
		clauses[types.IndexPath(path+".require_session_join", i)+".filter"] = p.Filter
	}
	for p, src := range clauses {
		if src == "" {
			continue
		}
		if _, err := predicate.Compile(predicate.Where(), src); err != nil {
			return field(p, err)
		}
	}
	return nil
}

func checkMatchers(path string, c *types.RoleConditions) error {
	lists := map[string][]string{}
	claims := map[string][]types.ClaimMapping{}
	if q := c.Request; q != nil {
		lists["request.roles"], claims["request.claims_to_roles"] = q.Roles, q.ClaimsToRoles
		for key, values := range q.Annotations {
			for i, v := range values {
				if err := checkTemplate(types.IndexPath(types.JoinPath(path+".request.annotations", key), i), v); err != nil {
					return err
				}
			}
		}
	}
	if q := c.ReviewRequests; q != nil {
		lists["review_requests.roles"], claims["review_requests.claims_to_roles"] = q.Roles, q.ClaimsToRoles
	}
	for i, p := range c.JoinSessions {
		for j, s := range p.Roles {
			if err := field(types.IndexPath(types.IndexPath(path+".join_sessions", i)+".roles", j), predicate.CheckPattern(s)); err != nil {
				return err
			}
		}
	}
	for name, list := range lists {
		for i, s := range list {
			if _, err := predicate.ParseRoleMatcher(s); err != nil {
				return field(types.IndexPath(path+"."+name, i), err)
			}
		}
	}
	for name, list := range claims {
		for i, m := range list {
			if err := field(types.IndexPath(path+"."+name, i)+".value", predicate.CheckPattern(m.Value)); err != nil {
				return err
			}
		}
	}
	return nil
}
