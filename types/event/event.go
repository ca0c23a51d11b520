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
