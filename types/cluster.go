package types

import (
	"maps"
	"time"
)

// CAType names a certificate authority: one per purpose and direction.
type CAType string

// The authorities of a cluster.
const (
	CAUser     CAType = "user"
	CAHost     CAType = "host"
	CADB       CAType = "db"
	CADBClient CAType = "db_client"
	CAOpenSSH  CAType = "openssh"
	CAJWT      CAType = "jwt"
)

// CertAuthority is one authority (kind cert_authority, sub_kind = its type,
// name = cluster name). Everything in it is public: private keys are in the
// keystore and are named here by key id.
type CertAuthority struct {
	Header
	Spec CertAuthoritySpec `json:"spec"`
}

// CertAuthoritySpec lists the keys that sign and the keys that are trusted.
// Trust is the union of Active and Additional, each compared as a bare key.
type CertAuthoritySpec struct {
	Type       CAType   `json:"type"`
	Cluster    string   `json:"cluster"`
	Active     CAKeys   `json:"active"`
	Additional []CAKeys `json:"additional,omitempty"`
	Phase      string   `json:"phase"` // standby | init | update_clients | update_servers | rollback
}

// CAKeys is one generation of an authority's keys. A field is empty where the
// authority has no key of that sort.
type CAKeys struct {
	SSHPublic string    `json:"ssh_public,omitempty"` // authorized_keys line, without comment
	TLSCert   string    `json:"tls_cert,omitempty"`   // PEM, self-signed
	JWTPublic string    `json:"jwt_public,omitempty"` // PEM, PKIX
	SSHKeyID  string    `json:"ssh_key_id,omitempty"` // where keystore holds the private half
	TLSKeyID  string    `json:"tls_key_id,omitempty"`
	JWTKeyID  string    `json:"jwt_key_id,omitempty"`
	Algorithm string    `json:"algorithm,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Token admits agents (kind token, v2). For the method "token" the name is the
// secret: the store keeps only its hash as name, and Spec.Prefix for display.
type Token struct {
	Header
	Spec TokenSpec `json:"spec"`
}

// TokenSpec says how and as what a holder may join.
type TokenSpec struct {
	Roles           []SystemRole        `json:"roles"`
	JoinMethod      string              `json:"join_method"`
	BotName         string              `json:"bot_name,omitempty"`
	SuggestedLabels map[string][]string `json:"suggested_labels,omitempty"`
	Scope           *JoinScope          `json:"scope,omitempty"`
	Prefix          string              `json:"prefix,omitempty"` // first characters of the secret's hash, for people
	MaxUses         int                 `json:"max_uses,omitempty"`
	Uses            int                 `json:"uses,omitempty"`
	Static          bool                `json:"static,omitempty"` // written in the auth service's config
}

// Node is a host reachable over SSH (kind node, v2, name = host UUID).
// Presence: written when an agent connects or changes, removed with its lease.
type Node struct {
	Header
	Spec NodeSpec `json:"spec"`
}

// The sub kinds of a node: a host with an agent, and a plain OpenSSH server that
// proxies reach at its registered address.
const (
	SubKindTeleport = "teleport"
	SubKindOpenSSH  = "openssh"
)

// NodeSpec is what an agent announces.
type NodeSpec struct {
	Hostname      string                  `json:"hostname"`
	Addr          string                  `json:"addr,omitempty"`
	PublicAddrs   []string                `json:"public_addrs,omitempty"`
	UseTunnel     bool                    `json:"use_tunnel,omitempty"`
	CmdLabels     map[string]CommandLabel `json:"cmd_labels,omitempty"`
	ServerVersion string                  `json:"server_version,omitempty"`
	ProxyIDs      []string                `json:"proxy_ids,omitempty"`
	Rotation      string                  `json:"rotation,omitempty"`
}

// CommandLabel is a label whose value is the first line that a command printed.
type CommandLabel struct {
	Command []string `json:"command"`
	Period  Duration `json:"period"`
	Result  string   `json:"result,omitempty"`
}

// AllLabels merges static labels and the results of command labels.
func (n *Node) AllLabels() map[string]string {
	return mergeLabels(n.Metadata.Labels, n.Spec.CmdLabels)
}

// mergeLabels lets the static label win where a command gives the same.
func mergeLabels(static map[string]string, commands map[string]CommandLabel) map[string]string {
	m := make(map[string]string, len(static)+len(commands))
	for k, v := range commands {
		m[k] = v.Result
	}
	maps.Copy(m, static)
	return m
}

// Proxy is a live proxy process (kind proxy, v2, name = host UUID).
type Proxy struct {
	Header
	Spec ServerSpec `json:"spec"`
}

// AuthServer is a live auth process (kind auth_server, v2, name = host UUID).
type AuthServer struct {
	Header
	Spec ServerSpec `json:"spec"`
}

// ServerSpec is what proxies and auth services announce.
type ServerSpec struct {
	Hostname      string   `json:"hostname"`
	Addr          string   `json:"addr,omitempty"`         // where this very process is reached, host:port
	PublicAddrs   []string `json:"public_addrs,omitempty"` // where clients come in; may be a balancer
	PeerAddr      string   `json:"peer_addr,omitempty"`
	ServerVersion string   `json:"server_version,omitempty"`
	Generation    uint64   `json:"generation,omitempty"`
}

// Instance is one process of the cluster (kind instance, v1, name = host UUID).
type Instance struct {
	Header
	Spec InstanceSpec `json:"spec"`
}

// InstanceSpec is the inventory entry of a process.
type InstanceSpec struct {
	Hostname        string       `json:"hostname"`
	Version         string       `json:"version"`
	Services        []SystemRole `json:"services"`
	LastSeen        time.Time    `json:"last_seen"`
	AuthServer      string       `json:"auth_server,omitempty"` // UUID of the auth process that holds the control stream
	Epoch           uint64       `json:"epoch,omitempty"`       // a higher epoch wins
	Generation      uint64       `json:"generation,omitempty"`
	Draining        bool         `json:"draining,omitempty"`
	Upgrader        string       `json:"upgrader,omitempty"`
	UpgraderVersion string       `json:"upgrader_version,omitempty"`
}

// Lock is an immediate ban (kind lock, v2, name = UUID).
type Lock struct {
	Header
	Spec LockSpec `json:"spec"`
}

// LockSpec says whom it bans and until when (nil: until removed).
type LockSpec struct {
	Target  LockTarget `json:"target"`
	Message string     `json:"message,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// LockTarget matches when every field that is set matches; at least one is set.
type LockTarget struct {
	User           string `json:"user,omitempty"`
	Role           string `json:"role,omitempty"`
	Login          string `json:"login,omitempty"`
	MFADevice      string `json:"mfa_device,omitempty"`
	Device         string `json:"device,omitempty"`
	ServerID       string `json:"server_id,omitempty"`
	WindowsDesktop string `json:"windows_desktop,omitempty"`
	AccessRequest  string `json:"access_request,omitempty"`
	Session        string `json:"session,omitempty"` // id of a live session
}

// ClusterName is the singleton that fixes the cluster's name at its first start.
type ClusterName struct {
	Header
	Spec struct {
		ClusterName string `json:"cluster_name"`
		ClusterID   string `json:"cluster_id"`
	} `json:"spec"`
}
