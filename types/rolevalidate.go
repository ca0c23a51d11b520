package types

import (
	"slices"
	"strings"
	"time"
)

// Versions of roles. They differ in what a field that is not said means (§ fill).
const (
	V3 = "v3"
	V4 = "v4"
	V5 = "v5"
	V6 = "v6"
	V7 = "v7"
	V8 = "v8"
	V9 = "v9"
)

// DefaultMaxSessionTTL is the longest certificate life of a role that says nothing.
const DefaultMaxSessionTTL = 30 * time.Hour

// Wildcard matches everything where wildcards are allowed.
const Wildcard = "*"

// Validate implements Resource. Templates, patterns and expressions are compiled
// by access.Validate.
func (r *Role) Validate() error {
	if err := r.check(KindRole, &r.Spec); err != nil {
		return err
	}
	if err := r.checkOptions(); err != nil {
		return err
	}
	r.fill()
	for _, side := range []struct {
		c    *RoleConditions
		path string
		deny bool
	}{{&r.Spec.Allow, "spec.allow", false}, {&r.Spec.Deny, "spec.deny", true}} {
		if err := side.c.check(r.Version, side.path, side.deny); err != nil {
			return err
		}
	}
	return nil
}

func (r *Role) checkOptions() error {
	o := &r.Spec.Options
	if o.MaxSessionTTL == 0 {
		o.MaxSessionTTL = Duration(DefaultMaxSessionTTL)
	}
	for i, e := range o.EnhancedRecording {
		if err := oneOf(IndexPath("spec.options.enhanced_recording", i), e, "command", "disk", "network"); err != nil {
			return err
		}
	}
	for i, e := range o.CertExtensions {
		p := IndexPath("spec.options.cert_extensions", i)
		if e.Name == "" || e.Type == "" || e.Mode == "" {
			return fieldFault(p, "needs type, mode and name")
		}
		if strings.HasPrefix(e.Name, "permit-") || strings.HasPrefix(e.Name, "teleport-") {
			return fieldFault(JoinPath(p, "name"), "%q is reserved", e.Name)
		}
	}
	if o.IDP != nil && r.Version >= V8 {
		return fieldFault("spec.options.idp", "is not used by roles of version %s", r.Version).WithHint("use app labels")
	}
	if s := o.CreateHostUserShell; s != "" && (s[0] != '/' || strings.ContainsAny(s, " \t\n:")) {
		return fieldFault("spec.options.create_host_user_default_shell", "wants the full path of a shell")
	}
	return nil
}

// fill writes out what a version means by fields that are not said.
func (r *Role) fill() {
	a := &r.Spec.Allow
	all := func() Labels { return Labels{Wildcard: {Wildcard}} }
	if r.Version == V3 {
		if a.NodeLabels == nil && a.NodeLabelsExpression == "" && len(a.Logins) > 0 {
			a.NodeLabels = all()
		}
		if a.AppLabels == nil && a.AppLabelsExpression == "" {
			a.AppLabels = all()
		}
		if a.KubernetesLabels == nil && a.KubernetesLabelsExpression == "" {
			a.KubernetesLabels = all()
		}
		if a.DBLabels == nil && a.DBLabelsExpression == "" {
			a.DBLabels = all()
		}
	}
	if a.KubernetesResources == nil && (len(a.KubernetesLabels) > 0 || a.KubernetesLabelsExpression != "") {
		a.KubernetesResources = defaultKubernetesResources(r.Version)
	}
	for i := range a.RequireSessionJoin {
		p := &a.RequireSessionJoin[i]
		if p.OnLeave == "" {
			p.OnLeave = "terminate"
		}
		if p.Count == 0 {
			p.Count = 1
		}
	}
	for i := range a.JoinSessions {
		if len(a.JoinSessions[i].Modes) == 0 {
			a.JoinSessions[i].Modes = []string{"observer"}
		}
	}
}

func defaultKubernetesResources(version string) []KubernetesResource {
	w := Wildcard
	switch version {
	case V3, V4, V5:
		return []KubernetesResource{{Kind: "pod", Namespace: w, Name: w}}
	case V6:
		return []KubernetesResource{}
	case V7:
		return []KubernetesResource{{Kind: w, Namespace: w, Name: w, Verbs: []string{w}}}
	}
	return []KubernetesResource{{Kind: w, APIGroup: w, Namespace: w, Name: w, Verbs: []string{w}}}
}

func (c *RoleConditions) check(version, path string, deny bool) error {
	for i, l := range c.Logins {
		p := IndexPath(path+".logins", i)
		if l == Wildcard && !deny {
			return fieldFault(p, "%q is not a login; name the logins", l).WithHint("use {{internal.logins}} for the logins of each user")
		}
		if l != Wildcard && !strings.Contains(l, "{{") {
			if err := at(p, CheckLogin(l)); err != nil {
				return err
			}
		}
	}
	if err := c.checkSelectors(path); err != nil {
		return err
	}
	if err := c.checkKubernetes(version, path+".kubernetes_resources"); err != nil {
		return err
	}
	if len(c.DBRoles) > 0 && len(c.DBPermissions) > 0 {
		return fieldFault(path+".db_roles", "db_roles and db_permissions exclude each other")
	}
	if err := c.checkApps(version, path, deny); err != nil {
		return err
	}
	if err := c.checkGovernance(version, path, deny); err != nil {
		return err
	}
	for i := range c.Rules {
		if err := c.Rules[i].check(IndexPath(path+".rules", i)); err != nil {
			return err
		}
	}
	return nil
}

func (c *RoleConditions) checkSelectors(path string) error {
	for _, s := range []struct {
		name   string
		labels Labels
	}{
		{"node_labels", c.NodeLabels}, {"kubernetes_labels", c.KubernetesLabels}, {"db_labels", c.DBLabels},
		{"db_service_labels", c.DBServiceLabels}, {"app_labels", c.AppLabels}, {"windows_desktop_labels", c.WindowsDesktopLabels},
		{"linux_desktop_labels", c.LinuxDesktopLabels}, {"cluster_labels", c.ClusterLabels}, {"group_labels", c.GroupLabels},
		{"workload_identity_labels", c.WorkloadIdentityLabels},
	} {
		values, ok := s.labels[Wildcard]
		if ok && !slices.Equal(values, StringList{Wildcard}) {
			return fieldFault(JoinPath(path+"."+s.name, Wildcard), "the key \"*\" goes only with the value \"*\"")
		}
	}
	return nil
}

func (c *RoleConditions) checkApps(version, path string, deny bool) error {
	if len(c.AppResources)+len(c.AppResourcesExpressions) == 0 {
		return nil
	}
	if deny {
		return fieldFault(path+".app_resources", "is not valid under deny")
	}
	if version < V9 {
		return fieldFault(path+".app_resources", "needs a role of version v9")
	}
	for i, a := range c.AppResources {
		if !a.AllowAll {
			return fieldFault(IndexPath(path+".app_resources", i), "wants allow_all: true")
		}
	}
	return nil
}

func (c *RoleConditions) checkGovernance(version, path string, deny bool) error {
	if deny && c.Request != nil && len(c.Request.Thresholds) > 0 {
		return fieldFault(path+".request.thresholds", "is not valid under deny")
	}
	if deny && len(c.RequireSessionJoin) > 0 {
		return fieldFault(path+".require_session_join", "is not valid under deny")
	}
	if version < V5 && len(c.RequireSessionJoin)+len(c.JoinSessions) > 0 {
		return fieldFault(path+".require_session_join", "needs a role of version v5 or later")
	}
	for i, p := range c.RequireSessionJoin {
		if err := checkJoin(IndexPath(path+".require_session_join", i), p.Name, p.Kinds, p.Modes); err != nil {
			return err
		}
	}
	for i, p := range c.JoinSessions {
		if err := checkJoin(IndexPath(path+".join_sessions", i), p.Name, p.Kinds, p.Modes); err != nil {
			return err
		}
	}
	return nil
}

func checkJoin(path, name string, kinds, modes []string) error {
	if name == "" {
		return fieldFault(path+".name", "is missing")
	}
	for i, k := range kinds {
		if err := oneOf(IndexPath(path+".kinds", i), k, "ssh", "k8s", Wildcard); err != nil {
			return err
		}
	}
	for i, m := range modes {
		if err := oneOf(IndexPath(path+".modes", i), m, "observer", "moderator", "peer", Wildcard); err != nil {
			return err
		}
	}
	return nil
}

// check holds a rule to the closed lists of kinds and verbs.
func (r *Rule) check(path string) error {
	if len(r.Resources) == 0 {
		return fieldFault(path+".resources", "is missing")
	}
	if len(r.Verbs) == 0 {
		return fieldFault(path+".verbs", "is missing")
	}
	known := RuleKinds()
	for i, k := range r.Resources {
		if k == "" {
			return fieldFault(IndexPath(path+".resources", i), "is empty")
		}
		if err := oneOf(IndexPath(path+".resources", i), k, known...); err != nil {
			return err
		}
	}
	for i, v := range r.Verbs {
		if v == "" {
			return fieldFault(IndexPath(path+".verbs", i), "is empty")
		}
		if err := oneOf(IndexPath(path+".verbs", i), v, Verbs()...); err != nil {
			return err
		}
	}
	return nil
}

// Verbs of rules.
const (
	VerbList          = "list"
	VerbCreate        = "create"
	VerbRead          = "read"
	VerbReadNoSecrets = "readnosecrets"
	VerbUpdate        = "update"
	VerbDelete        = "delete"
	VerbRotate        = "rotate"
	VerbUse           = "use"
)

// Verbs returns the closed list of verbs, the wildcard included.
func Verbs() []string {
	return []string{VerbList, VerbCreate, VerbRead, VerbReadNoSecrets, VerbUpdate, VerbDelete, VerbRotate, VerbUse,
		"create_enroll_token", "enroll", Wildcard}
}

// RuleKinds returns the names that rules may hold: every kind, also of families
// that do not exist yet, and groups of kinds.
func RuleKinds() []string {
	names := []string{Wildcard, "auth_connector", "oidc", "saml", "github", "oidc_request", "saml_request", "github_request",
		"trusted_cluster", "remote_cluster", "access_request", "access_plugin_data", "access_list", "access_monitoring_rule",
		"session", "ssh_session", "event", "network_restrictions", "app", "app_server", "db", "db_server", "db_service",
		"kube_cluster", "kube_server", "kube_service", "windows_desktop", "windows_desktop_service", "dynamic_windows_desktop",
		"git_server", "bot", "bot_instance", "device", "login_rule", "installer", "integration", "plugin", "discovery_config",
		"cluster_config", "cluster_audit_config", "cluster_alert", "saml_idp_service_provider", "user_group",
		"health_check_config", "autoupdate_config", "autoupdate_version", "autoupdate_agent_rollout", "ui_config", "vnet_config",
		"cluster_maintenance_config", "database_object_import_rule", "static_host_user", "workload_identity",
		"inference_model", "inference_policy", "inference_secret"}
	return append(names, kindNames(Kinds())...)
}
