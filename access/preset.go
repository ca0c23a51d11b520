package access

import "teleport/types"

// Names of preset roles.
const (
	PresetAccess  = "access"
	PresetEditor  = "editor"
	PresetAuditor = "auditor"
)

// Presets returns the roles that a new cluster starts with: access (every
// resource, with the user's own principals), editor (configuration, no
// resources) and auditor (events and recordings, read only). They are fresh.
func Presets() []*types.Role { return []*types.Role{presetAccess(), presetEditor(), presetAuditor()} }

func preset(name, description string) *types.Role {
	r := &types.Role{}
	r.Kind, r.Version = types.KindRole, types.V8
	r.Metadata.Name, r.Metadata.Description = name, description
	r.Metadata.Labels = map[string]string{"teleport.internal/resource-type": "preset"}
	return r
}

func presetAccess() *types.Role {
	r := preset(PresetAccess, "Access to all resources with the user's own logins")
	yes, all := true, types.Labels{types.Wildcard: {types.Wildcard}}
	r.Spec.Options = types.RoleOptions{ForwardAgent: &yes, SSHPortForwarding: &types.SSHPortForwarding{
		Local: &types.Switch{Enabled: &yes}, Remote: &types.Switch{Enabled: &yes}},
		MaxSessionTTL: types.Duration(types.DefaultMaxSessionTTL), EnhancedRecording: []string{"command", "network"}}
	r.Spec.Allow = types.RoleConditions{
		Logins: []string{"{{internal.logins}}"}, NodeLabels: all,
		KubernetesLabels: all, KubernetesGroups: []string{"{{internal.kubernetes_groups}}"}, KubernetesUsers: []string{"{{internal.kubernetes_users}}"},
		KubernetesResources: []types.KubernetesResource{{Kind: "*", APIGroup: "*", Namespace: "*", Name: "*", Verbs: []string{"*"}}},
		DBLabels:            all, DBNames: []string{"{{internal.db_names}}"}, DBUsers: []string{"{{internal.db_users}}"}, DBRoles: []string{"{{internal.db_roles}}"}, DBServiceLabels: all,
		AppLabels: all, AWSRoleARNs: []string{"{{internal.aws_role_arns}}"}, AzureIdentities: []string{"{{internal.azure_identities}}"}, GCPServiceAccounts: []string{"{{internal.gcp_service_accounts}}"},
		WindowsDesktopLabels: all, WindowsDesktopLogins: []string{"{{internal.windows_logins}}"},
		Rules: []types.Rule{
			{Resources: []string{"session"}, Verbs: []string{types.VerbList, types.VerbRead}, Where: `contains(session.participants, user.metadata.name)`},
			{Resources: []string{types.KindSessionTracker}, Verbs: []string{types.VerbList, types.VerbRead}, Where: `contains(session_tracker.participants, user.metadata.name)`},
		},
	}
	return r
}

func presetEditor() *types.Role {
	r := preset(PresetEditor, "Edits users, roles and the cluster's configuration; no access to resources")
	full := []string{types.VerbList, types.VerbCreate, types.VerbRead, types.VerbUpdate, types.VerbDelete}
	r.Spec.Allow.Rules = []types.Rule{
		{Resources: []string{"user", "role", "auth_connector", "oidc", "saml", "github", "token", "lock", "trusted_cluster", "remote_cluster",
			"cluster_auth_preference", "cluster_networking_config", "session_recording_config", "cluster_audit_config", "cluster_config",
			"network_restrictions", "ui_config", "vnet_config", "cluster_maintenance_config", "cluster_alert",
			"node", "app", "db", "kube_cluster", "windows_desktop", "dynamic_windows_desktop", "git_server",
			"app_server", "db_server", "db_service", "kube_server", "windows_desktop_service",
			"bot", "bot_instance", "device", "login_rule", "installer", "integration", "plugin", "discovery_config", "access_list",
			"access_request", "access_monitoring_rule", "saml_idp_service_provider", "user_group", "health_check_config",
			"autoupdate_config", "autoupdate_version", "static_host_user", "workload_identity", "database_object_import_rule"}, Verbs: full},
		{Resources: []string{"integration"}, Verbs: []string{types.VerbUse}},
		{Resources: []string{"device"}, Verbs: []string{"create_enroll_token", "enroll"}},
		{Resources: []string{"cert_authority"}, Verbs: []string{types.VerbList, types.VerbReadNoSecrets, types.VerbRotate}},
		{Resources: []string{"proxy", "auth_server", "instance", "cluster_name", "session_tracker", "event"}, Verbs: []string{types.VerbList, types.VerbRead}},
		{Resources: []string{"instance"}, Verbs: []string{types.VerbDelete}},
	}
	return r
}

func presetAuditor() *types.Role {
	r := preset(PresetAuditor, "Reads the audit log, live sessions and recordings")
	read := []string{types.VerbList, types.VerbRead}
	r.Spec.Allow.Rules = []types.Rule{
		{Resources: []string{"event", "session", "session_tracker", "cluster_audit_config", "session_recording_config", "audit_checkpoint", "instance"}, Verbs: read},
	}
	return r
}
