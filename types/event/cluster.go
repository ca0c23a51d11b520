package event

import "time"

// Types and codes about the cluster itself: who joined, what was configured.
const (
	TypeInstanceJoin     = "instance.join"
	CodeInstanceJoin     = "TJ002I"
	CodeInstanceJoinFail = "TJ002E"
	TypeInstanceClone    = "instance.clone"
	CodeInstanceClone    = "TXJ01W"
	TypeInstanceRefused  = "instance.refused"
	CodeInstanceRefused  = "TXJ02W"
	TypeJoinTokenCreate  = "join_token.create"
	CodeJoinTokenCreate  = "TJT00I"
	TypeLockCreated      = "lock.created"
	CodeLockCreated      = "TLK00I"
	TypeLockDeleted      = "lock.deleted"
	CodeLockDeleted      = "TLK01I"
	TypeRoleCreated      = "role.created"
	CodeRoleCreated      = "T9000I"
	TypeRoleDeleted      = "role.deleted"
	CodeRoleDeleted      = "T9001I"
	TypeRoleUpdated      = "role.updated"
	CodeRoleUpdated      = "T9002I"
	TypeAuthPrefUpdate   = "auth_preference.update"
	CodeAuthPrefUpdate   = "TCAUTH001I"
	TypeNetConfigUpdate  = "cluster_networking_config.update"
	CodeNetConfigUpdate  = "TCNET002I"
	TypeRecConfigUpdate  = "session_recording_config.update"
	CodeRecConfigUpdate  = "TCREC003I"
	TypeResourceCreated  = "resource.created"
	CodeResourceCreated  = "TXR01I"
	TypeResourceUpdated  = "resource.updated"
	CodeResourceUpdated  = "TXR02I"
	TypeResourceDeleted  = "resource.deleted"
	CodeResourceDeleted  = "TXR03I"
	TypeCACreated        = "cert_authority.create"
	CodeCACreated        = "TXC01I"
	TypeCAExported       = "cert_authority.export"
	CodeCAExported       = "TXC02I"
)

// InstanceJoin is a process asking to join, admitted or refused. TokenName is
// masked by its emitter when the token's name is its secret.
type InstanceJoin struct {
	Meta
	Connection
	Status
	HostID     string   `json:"host_id,omitempty" class:"public"`
	NodeName   string   `json:"node_name,omitempty" class:"public"`
	Role       string   `json:"role,omitempty" class:"public"`
	Roles      []string `json:"roles,omitempty" class:"public"`
	Method     string   `json:"method,omitempty" class:"public"`
	TokenName  string   `json:"token_name,omitempty" class:"public"`
	Attributes string   `json:"attributes,omitempty" class:"sensitive"` // claims of a delegated method, JSON
}

// InstanceClone is a host certificate renewed with an old generation: its key
// lives in two places.
type InstanceClone struct {
	Meta
	Connection
	HostID     string `json:"host_id" class:"public"`
	NodeName   string `json:"node_name,omitempty" class:"public"`
	Expected   uint64 `json:"expected_generation" class:"public"`
	Presented  uint64 `json:"presented_generation" class:"public"`
	LockedWith string `json:"lock,omitempty" class:"public"`
}

// InstanceRefused is a process of the cluster that tried what its certificate
// or join scope does not allow: registering a foreign name, claiming a role.
type InstanceRefused struct {
	Meta
	Connection
	Status
	HostID       string `json:"host_id" class:"public"`
	ResourceKind string `json:"resource_kind,omitempty" class:"public"`
	Name         string `json:"name,omitempty" class:"public"`
}

// JoinTokenCreate is a new join token. Name is masked when it is the secret.
type JoinTokenCreate struct {
	Meta
	User
	Resource
	Connection
	Roles      []string `json:"roles" class:"public"`
	JoinMethod string   `json:"join_method" class:"public"`
}

// LockTarget says whom a lock bans.
type LockTarget struct {
	User           string `json:"user,omitempty" class:"sensitive"`
	Role           string `json:"role,omitempty" class:"public"`
	Login          string `json:"login,omitempty" class:"sensitive"`
	MFADevice      string `json:"mfa_device,omitempty" class:"public"`
	Device         string `json:"device,omitempty" class:"public"`
	ServerID       string `json:"server_id,omitempty" class:"public"`
	WindowsDesktop string `json:"windows_desktop,omitempty" class:"public"`
	AccessRequest  string `json:"access_request,omitempty" class:"public"`
	Session        string `json:"session,omitempty" class:"public"`
}

// LockCreated is a new or changed lock.
type LockCreated struct {
	Meta
	User
	Resource
	Connection
	Target      LockTarget `json:"target" class:"struct"`
	LockMessage string     `json:"lock_message,omitempty" class:"sensitive"`
}

// LockDeleted is a lock removed.
type LockDeleted struct {
	Meta
	User
	Resource
	Connection
	Target LockTarget `json:"target" class:"struct"`
}

// RoleCreated is a new role.
type RoleCreated struct {
	Meta
	User
	Resource
	Connection
}

// RoleUpdated is a changed role.
type RoleUpdated struct {
	Meta
	User
	Resource
	Connection
}

// RoleDeleted is a removed role.
type RoleDeleted struct {
	Meta
	User
	Resource
	Connection
}

// AuthPrefUpdate is a change of cluster_auth_preference.
type AuthPrefUpdate struct {
	Meta
	User
	Resource
	Connection
}

// NetConfigUpdate is a change of cluster_networking_config.
type NetConfigUpdate struct {
	Meta
	User
	Resource
	Connection
}

// RecConfigUpdate is a change of session_recording_config.
type RecConfigUpdate struct {
	Meta
	User
	Resource
	Connection
}

// ResourceChange says which document of a kind without events of its own.
type ResourceChange struct {
	ResourceKind string `json:"resource_kind" class:"public"`
	Revision     string `json:"revision,omitempty" class:"public"`
}

// ResourceCreated is a new document of any other kind.
type ResourceCreated struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
}

// ResourceUpdated is a changed document of any other kind.
type ResourceUpdated struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
}

// ResourceDeleted is a removed document of any other kind.
type ResourceDeleted struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
}

// CAKey names one key of a certificate authority.
type CAKey struct {
	CAType      string    `json:"ca_type" class:"public"`
	Phase       string    `json:"phase,omitempty" class:"public"`
	Fingerprint string    `json:"fingerprint,omitempty" class:"public"`
	NotAfter    time.Time `json:"not_after,omitzero" class:"public"`
}

// CACreated is an authority made at the cluster's first start, or by rotation.
type CACreated struct {
	Meta
	CAKey
}

// CAExported is private key material of an authority read by an administrator.
type CAExported struct {
	Meta
	User
	Connection
	CAKey
}
