// Package types is the vocabulary of the system: one struct per resource kind,
// the identity that certificates carry, labels, durations and secrets. The
// struct's JSON is what is stored, sent, shown and edited (as YAML); there is no
// second form. The package imports only fault and the standard library, decides
// nothing and touches no socket, file or clock.
package types

import (
	"time"
)

// Kind names, as they appear in the kind field of documents.
const (
	KindUser              = "user"
	KindRole              = "role"
	KindToken             = "token"
	KindCertAuthority     = "cert_authority"
	KindNode              = "node"
	KindDatabase          = "db"
	KindDatabaseServer    = "db_server"
	KindApp               = "app"
	KindAppServer         = "app_server"
	KindHealthCheckConfig = "health_check_config"
	KindProxy             = "proxy"
	KindAuthServer        = "auth_server"
	KindInstance          = "instance"
	KindLock              = "lock"
	KindClusterName       = "cluster_name"
	KindAuthPreference    = "cluster_auth_preference"
	KindNetworkingConfig  = "cluster_networking_config"
	KindRecordingConfig   = "session_recording_config"
	KindSessionTracker    = "session_tracker"
	KindUserEpoch         = "user_epoch"
	KindCheckpoint        = "audit_checkpoint"
	KindWebSession        = "web_session"
	KindAppSession        = "app_session"
	KindUserCredentials   = "user_credentials"
	KindUserToken         = "user_token"
	KindConnectionSlots   = "connection_slots"
)

// Header opens every document.
type Header struct {
	Kind     string   `json:"kind"`
	SubKind  string   `json:"sub_kind,omitempty"`
	Version  string   `json:"version"`
	Metadata Metadata `json:"metadata"`
}

// Metadata is common to all kinds. Revision is opaque and set by the store; an
// update returns it unchanged.
type Metadata struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Expires     *time.Time        `json:"expires,omitempty"`
	Revision    string            `json:"revision,omitempty"`
}

// Resource is any kind's document. Implementations are pointers to the kind's
// struct, which embeds Header.
type Resource interface {
	// Head returns the document's own header, not a copy.
	Head() *Header
	// Validate fills defaults and checks what this package can check: charsets,
	// lengths, closed lists, required fields. Label expressions and where clauses
	// are checked by the validator that store is given. It returns
	// fault.Invalid with the path of the field that is wrong.
	Validate() error
}

// Head implements Resource for every struct that embeds Header.
func (h *Header) Head() *Header { return h }

// Name is a shorthand for the metadata name.
func (h *Header) Name() string { return h.Metadata.Name }
