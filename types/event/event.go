// Package event is the catalogue of audit events: what happened, who did it, to
// what, and how it ended. Every event is a typed struct whose fields are
// classed public, sensitive or secret by a tag; a field without one counts as
// secret and is never emitted. The bytes that an emitter produced are what is
// hashed, stored and exported: nothing downstream edits them.
package event

import "time"

// Event is implemented by pointers to the catalogue's structs, which embed Meta.
type Event interface {
	// EventMeta returns the event's own metadata, not a copy.
	EventMeta() *Meta
}

// Meta opens every event. Type and Code come from the catalogue; UID, Time and
// Cluster are set by the emitter, Index within a session's own sequence.
type Meta struct {
	Type    string    `json:"event" class:"public"`
	Code    string    `json:"code" class:"public"`
	UID     string    `json:"uid" class:"public"`
	Time    time.Time `json:"time" class:"public"`
	Index   int64     `json:"ei,omitempty" class:"public"`
	Cluster string    `json:"cluster_name" class:"public"`
}

// EventMeta implements Event for every struct that embeds Meta.
func (m *Meta) EventMeta() *Meta { return m }

// User says who did it.
type User struct {
	User           string              `json:"user,omitempty" class:"sensitive"`
	UserKind       int                 `json:"user_kind,omitempty" class:"public"` // 1 person, 2 bot, 3 system service
	UserCluster    string              `json:"user_cluster_name,omitempty" class:"public"`
	UserRoles      []string            `json:"user_roles,omitempty" class:"public"`
	UserTraits     map[string][]string `json:"user_traits,omitempty" class:"sensitive"`
	Login          string              `json:"login,omitempty" class:"sensitive"`
	Impersonator   string              `json:"impersonator,omitempty" class:"sensitive"`
	AccessRequests []string            `json:"access_requests,omitempty" class:"public"`
}

// Server says on which host.
type Server struct {
	Namespace      string            `json:"namespace,omitempty" class:"public"`
	ServerID       string            `json:"server_id,omitempty" class:"public"`
	ServerHostname string            `json:"server_hostname,omitempty" class:"public"`
	ServerAddr     string            `json:"server_addr,omitempty" class:"public"`
	ServerLabels   map[string]string `json:"server_labels,omitempty" class:"public"`
	ServerSubKind  string            `json:"server_sub_kind,omitempty" class:"public"`
	ForwardedBy    string            `json:"forwarded_by,omitempty" class:"public"`
}

// Connection says from where.
type Connection struct {
	LocalAddr  string `json:"addr.local,omitempty" class:"public"`
	RemoteAddr string `json:"addr.remote,omitempty" class:"sensitive"`
	Protocol   string `json:"proto,omitempty" class:"public"`
}

// Session names the session that an event belongs to.
type Session struct {
	SessionID string `json:"sid,omitempty" class:"public"`
	WithMFA   string `json:"with_mfa,omitempty" class:"public"`
}

// Status says how it ended.
type Status struct {
	Success bool   `json:"success" class:"public"`
	Error   string `json:"error,omitempty" class:"sensitive"`
	Message string `json:"message,omitempty" class:"sensitive"`
}

// Resource names the document that an event is about.
type Resource struct {
	Name      string     `json:"name,omitempty" class:"public"`
	Expires   *time.Time `json:"expires,omitempty" class:"public"`
	TTL       string     `json:"ttl,omitempty" class:"public"`
	UpdatedBy string     `json:"updated_by,omitempty" class:"sensitive"`
}

// Command says what was run and how it ended.
type Command struct {
	Command   string `json:"command,omitempty" class:"sensitive"`
	ExitCode  string `json:"exitCode,omitempty" class:"public"` // decimal; "" when it never ran
	ExitError string `json:"exitError,omitempty" class:"sensitive"`
}

// Decision records an access decision with its whole input, so that "why" can
// be answered years later, from the event alone.
type Decision struct {
	Allow      bool                `json:"allow" class:"public"`
	Action     string              `json:"action,omitempty" class:"public"`
	Policy     string              `json:"policy,omitempty" class:"public"` // revision of the policy decided from
	Role       string              `json:"role,omitempty" class:"public"`   // the role that allowed or denied it
	Rule       string              `json:"rule,omitempty" class:"public"`   // the selector or rule within it
	Reasons    []string            `json:"reasons,omitempty" class:"public"`
	Roles      []string            `json:"roles,omitempty" class:"public"`
	Traits     map[string][]string `json:"traits,omitempty" class:"sensitive"`
	Labels     map[string]string   `json:"labels,omitempty" class:"public"` // of the resource
	Login      string              `json:"login,omitempty" class:"sensitive"`
	ClientAddr string              `json:"client_addr,omitempty" class:"sensitive"`
	LocksStale bool                `json:"locks_stale,omitempty" class:"public"`
	Expires    time.Time           `json:"expires,omitzero" class:"public"` // of the certificate
	Deadline   time.Time           `json:"deadline,omitzero" class:"public"`
	Idle       string              `json:"idle_timeout,omitempty" class:"public"`
	At         time.Time           `json:"at,omitzero" class:"public"`    // the "now" that was decided with
	Live       bool                `json:"live,omitempty" class:"public"` // a session that went on was decided again
	// The resource, and the host that locks are held against.
	ResourceKind string `json:"resource_kind,omitempty" class:"public"`
	ResourceName string `json:"resource_name,omitempty" class:"public"`
	HostID       string `json:"host_id,omitempty" class:"public"`
	// The bearer's certificate, as far as decisions look at it.
	User           string    `json:"user,omitempty" class:"sensitive"`
	Cluster        string    `json:"cluster,omitempty" class:"public"`
	IdentityKind   string    `json:"identity_kind,omitempty" class:"public"`
	IssuedAt       time.Time `json:"issued_at,omitzero" class:"public"`
	Logins         []string  `json:"logins,omitempty" class:"sensitive"`
	Usage          []string  `json:"usage,omitempty" class:"public"`
	Route          string    `json:"route,omitempty" class:"public"`                // cluster/kind/name
	ResourceIDs    []string  `json:"allowed_resource_ids,omitempty" class:"public"` // cluster/kind/name
	PinnedIP       string    `json:"pinned_ip,omitempty" class:"sensitive"`
	MFADevice      string    `json:"mfa_device_uuid,omitempty" class:"public"`
	DeviceID       string    `json:"device_id,omitempty" class:"public"`
	AccessRequests []string  `json:"access_requests,omitempty" class:"public"`
	Permits        []string  `json:"permits,omitempty" class:"public"` // pty, agent_forwarding, port_forwarding, x11_forwarding
	// The database within the server, the roles asked for, and what of the
	// database's document decisions look at.
	DBName      string   `json:"db_name,omitempty" class:"public"`
	DBRoles     []string `json:"db_roles,omitempty" class:"public"`
	DBProtocol  string   `json:"db_protocol,omitempty" class:"public"`
	DBAccount   string   `json:"db_aws_account,omitempty" class:"public"` // that names of roles are of
	DBRegion    string   `json:"db_aws_region,omitempty" class:"public"`
	DBAutomatic bool     `json:"db_automatic_users,omitempty" class:"public"` // it can make its users
	DBAdmin     string   `json:"db_admin_user,omitempty" class:"public"`      // and who makes them
	// What is asked for of an app, and what of its document decisions look at.
	AppURI           string   `json:"app_uri,omitempty" class:"public"`
	AppCloud         string   `json:"app_cloud,omitempty" class:"public"`
	AppPorts         []string `json:"app_tcp_ports,omitempty" class:"public"`
	AppPort          int      `json:"app_target_port,omitempty" class:"public"`
	AppAWSRole       string   `json:"app_aws_role_arn,omitempty" class:"public"`
	AppAzureIdentity string   `json:"app_azure_identity,omitempty" class:"public"`
	AppGCPAccount    string   `json:"app_gcp_service_account,omitempty" class:"public"`
}

// Identity is what an issued certificate says.
type Identity struct {
	User           string              `json:"user,omitempty" class:"sensitive"`
	Impersonator   string              `json:"impersonator,omitempty" class:"sensitive"`
	Roles          []string            `json:"roles,omitempty" class:"public"`
	SystemRoles    []string            `json:"system_roles,omitempty" class:"public"`
	Usage          []string            `json:"usage,omitempty" class:"public"`
	Logins         []string            `json:"logins,omitempty" class:"sensitive"`
	Traits         map[string][]string `json:"traits,omitempty" class:"sensitive"`
	Expires        time.Time           `json:"expires,omitzero" class:"public"`
	Route          string              `json:"route,omitempty" class:"public"` // kind/name of the one resource it is for
	Cluster        string              `json:"teleport_cluster,omitempty" class:"public"`
	MFADevice      string              `json:"mfa_device_uuid,omitempty" class:"public"`
	DeviceID       string              `json:"device_id,omitempty" class:"public"`
	ClientIP       string              `json:"client_ip,omitempty" class:"sensitive"`
	PinnedIP       string              `json:"pinned_ip,omitempty" class:"sensitive"`
	AccessRequests []string            `json:"access_requests,omitempty" class:"public"`
	ResourceIDs    []string            `json:"allowed_resource_ids,omitempty" class:"public"` // cluster/kind/name
	NoReissue      bool                `json:"disallow_reissue,omitempty" class:"public"`
	Renewable      bool                `json:"renewable,omitempty" class:"public"`
	Hostname       string              `json:"hostname,omitempty" class:"public"`
	Principals     []string            `json:"principals,omitempty" class:"public"`
	Generation     uint64              `json:"generation,omitempty" class:"public"`
	ProxyUUID      string              `json:"proxy_uuid,omitempty" class:"public"` // bridge certificates
}

// EventServer gives an emitter the group of any event that has it.
func (s *Server) EventServer() *Server { return s }
