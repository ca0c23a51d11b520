package types

// RoleConditions is what a role allows or denies; both sides have one shape.
// Label selectors and kubernetes_resources tell "not said" (nil) from "none"
// (empty), as the version of the role gives the former a default.
type RoleConditions struct {
	// SSH.
	Logins               []string `json:"logins,omitempty" doc:"OS logins; templates such as {{internal.logins}} are expanded."`
	NodeLabels           Labels   `json:"node_labels,omitzero" doc:"Nodes by label; '*': '*' is every node."`
	NodeLabelsExpression string   `json:"node_labels_expression,omitempty" doc:"Nodes by expression over labels and the user's traits."`
	HostGroups           []string `json:"host_groups,omitempty"`
	HostSudoers          []string `json:"host_sudoers,omitempty"`
	// Kubernetes.
	KubernetesLabels           Labels               `json:"kubernetes_labels,omitzero"`
	KubernetesLabelsExpression string               `json:"kubernetes_labels_expression,omitempty"`
	KubernetesGroups           []string             `json:"kubernetes_groups,omitempty"`
	KubernetesUsers            []string             `json:"kubernetes_users,omitempty"`
	KubernetesResources        []KubernetesResource `json:"kubernetes_resources,omitzero" doc:"Objects within a cluster; unset is decided by the role's version."`
	// Databases.
	DBLabels                  Labels         `json:"db_labels,omitzero"`
	DBLabelsExpression        string         `json:"db_labels_expression,omitempty"`
	DBNames                   []string       `json:"db_names,omitempty"`
	DBUsers                   []string       `json:"db_users,omitempty"`
	DBRoles                   []string       `json:"db_roles,omitempty"`
	DBPermissions             []DBPermission `json:"db_permissions,omitempty"`
	DBServiceLabels           Labels         `json:"db_service_labels,omitzero"`
	DBServiceLabelsExpression string         `json:"db_service_labels_expression,omitempty"`
	// Applications, clouds, MCP.
	AppLabels               Labels              `json:"app_labels,omitzero"`
	AppLabelsExpression     string              `json:"app_labels_expression,omitempty"`
	AppResources            []AppResource       `json:"app_resources,omitempty" doc:"v9, allow only."`
	AppResourcesExpressions []string            `json:"app_resources_expressions,omitempty" doc:"v9, allow only."`
	AWSRoleARNs             []string            `json:"aws_role_arns,omitempty"`
	AzureIdentities         []string            `json:"azure_identities,omitempty"`
	GCPServiceAccounts      []string            `json:"gcp_service_accounts,omitempty"`
	MCP                     *MCPConditions      `json:"mcp,omitempty"`
	AccountAssignments      []AccountAssignment `json:"account_assignments,omitempty"`
	// Desktops.
	WindowsDesktopLabels           Labels   `json:"windows_desktop_labels,omitzero"`
	WindowsDesktopLabelsExpression string   `json:"windows_desktop_labels_expression,omitempty"`
	WindowsDesktopLogins           []string `json:"windows_desktop_logins,omitempty"`
	DesktopGroups                  []string `json:"desktop_groups,omitempty"`
	LinuxDesktopLabels             Labels   `json:"linux_desktop_labels,omitzero"`
	LinuxDesktopLabelsExpression   string   `json:"linux_desktop_labels_expression,omitempty"`
	LinuxDesktopLogins             []string `json:"linux_desktop_logins,omitempty"`
	// Leaf clusters, groups, workloads.
	ClusterLabels                    Labels             `json:"cluster_labels,omitzero"`
	ClusterLabelsExpression          string             `json:"cluster_labels_expression,omitempty"`
	GroupLabels                      Labels             `json:"group_labels,omitzero"`
	GroupLabelsExpression            string             `json:"group_labels_expression,omitempty"`
	WorkloadIdentityLabels           Labels             `json:"workload_identity_labels,omitzero"`
	WorkloadIdentityLabelsExpression string             `json:"workload_identity_labels_expression,omitempty"`
	SPIFFE                           []SPIFFECondition  `json:"spiffe,omitempty"`
	GitHubPermissions                []GitHubPermission `json:"github_permissions,omitempty"`
	// Governance.
	Impersonate        *Impersonate         `json:"impersonate,omitempty"`
	Request            *RequestConditions   `json:"request,omitempty"`
	ReviewRequests     *ReviewConditions    `json:"review_requests,omitempty"`
	RequireSessionJoin []RequireSessionJoin `json:"require_session_join,omitempty"`
	JoinSessions       []JoinSessions       `json:"join_sessions,omitempty"`
	// API.
	Rules []Rule `json:"rules,omitempty" doc:"Verbs on kinds of documents."`
}

// KubernetesResource selects objects in a cluster. Name and Namespace take "*",
// globs and ^regex$. v7 uses singular kinds of a closed list; v8 uses plural
// kinds with an API group.
type KubernetesResource struct {
	Kind      string   `json:"kind"`
	APIGroup  string   `json:"api_group,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name,omitempty"`
	Verbs     []string `json:"verbs,omitempty"`
}

// DBPermission grants permissions on database objects that match.
type DBPermission struct {
	Match       Labels   `json:"match,omitempty"`
	Permissions []string `json:"permissions"`
}

// AppResource is a per-request rule on an application; allow_all is the only form.
type AppResource struct {
	AllowAll bool `json:"allow_all,omitempty"`
}

// MCPConditions lists tools by literal, glob or ^regex$; empty is none.
type MCPConditions struct {
	Tools []string `json:"tools,omitempty"`
}

// AccountAssignment is a permission set in a cloud account.
type AccountAssignment struct {
	Account       string `json:"account"`
	PermissionSet string `json:"permission_set"`
}

// SPIFFECondition selects workload identities.
type SPIFFECondition struct {
	Path    string   `json:"path"`
	DNSSANs []string `json:"dns_sans,omitempty"`
	IPSANs  []string `json:"ip_sans,omitempty"`
}

// GitHubPermission grants access to organisations.
type GitHubPermission struct {
	Orgs []string `json:"orgs"`
}

// Impersonate says whose certificates may be asked for.
type Impersonate struct {
	Users []string `json:"users,omitempty"`
	Roles []string `json:"roles,omitempty"`
	Where string   `json:"where,omitempty"`
}

// RequestConditions say what may be requested.
type RequestConditions struct {
	Roles               []string              `json:"roles,omitempty"`
	ClaimsToRoles       []ClaimMapping        `json:"claims_to_roles,omitempty"`
	Annotations         map[string]StringList `json:"annotations,omitempty"`
	Thresholds          []ReviewThreshold     `json:"thresholds,omitempty"`
	SuggestedReviewers  []string              `json:"suggested_reviewers,omitempty"`
	SearchAsRoles       []string              `json:"search_as_roles,omitempty"`
	MaxDuration         Duration              `json:"max_duration,omitempty"`
	KubernetesResources []RequestKubeResource `json:"kubernetes_resources,omitempty"`
	Reason              *RequestReason        `json:"reason,omitempty"`
}

// ClaimMapping gives roles to users whose trait Claim has a value that matches.
type ClaimMapping struct {
	Claim string   `json:"claim"`
	Value string   `json:"value"`
	Roles []string `json:"roles"`
}

// ReviewThreshold says how many reviews that pass Filter settle a request.
type ReviewThreshold struct {
	Name    string `json:"name,omitempty"`
	Approve int    `json:"approve,omitempty"`
	Deny    int    `json:"deny,omitempty"`
	Filter  string `json:"filter,omitempty"`
}

// RequestKubeResource restricts which Kubernetes kinds may be requested.
type RequestKubeResource struct {
	Kind     string `json:"kind"`
	APIGroup string `json:"api_group,omitempty"`
}

// RequestReason says whether a reason is needed.
type RequestReason struct {
	Mode   string `json:"mode,omitempty" enum:"optional,required"`
	Prompt string `json:"prompt,omitempty"`
}

// ReviewConditions say whose requests may be reviewed.
type ReviewConditions struct {
	Roles          []string       `json:"roles,omitempty"`
	ClaimsToRoles  []ClaimMapping `json:"claims_to_roles,omitempty"`
	Where          string         `json:"where,omitempty"`
	PreviewAsRoles []string       `json:"preview_as_roles,omitempty"`
	SubmitForUsers []string       `json:"submit_for_users,omitempty"`
}

// RequireSessionJoin is a policy of who must be present in a session.
type RequireSessionJoin struct {
	Name    string   `json:"name"`
	Filter  string   `json:"filter,omitempty"`
	Kinds   []string `json:"kinds,omitempty"`
	Modes   []string `json:"modes,omitempty"`
	Count   int      `json:"count,omitempty"`
	OnLeave string   `json:"on_leave,omitempty" enum:"terminate,pause"`
}

// JoinSessions lets somebody join sessions of users with the roles named.
type JoinSessions struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles,omitempty"`
	Kinds []string `json:"kinds,omitempty"`
	Modes []string `json:"modes,omitempty"`
}

// Rule grants or denies verbs on kinds of documents, where Where holds.
type Rule struct {
	Resources []string `json:"resources" doc:"Kinds; '*' is all; auth_connector covers oidc, saml and github."`
	Verbs     []string `json:"verbs" doc:"list, create, read, readnosecrets, update, delete, rotate, use or '*'."`
	Where     string   `json:"where,omitempty" doc:"Condition such as contains(session.participants, user.metadata.name)."`
	Actions   []string `json:"actions,omitempty"`
}
