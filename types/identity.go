package types

import (
	"net/netip"
	"time"
)

// IdentityKind tells what a certificate's bearer is. A certificate of one kind
// never passes as another.
type IdentityKind string

const (
	IdentityUser   IdentityKind = "user"   // a person or bot; signed by the user CA
	IdentityHost   IdentityKind = "host"   // a process of the cluster; signed by the host CA
	IdentityBridge IdentityKind = "bridge" // a user's identity and route carried by a proxy towards one agent, for minutes; host CA
)

// SystemRole is what a process of the cluster may be.
type SystemRole string

const (
	RoleAuth     SystemRole = "Auth"
	RoleProxy    SystemRole = "Proxy"
	RoleNode     SystemRole = "Node"
	RoleKube     SystemRole = "Kube"
	RoleApp      SystemRole = "App"
	RoleDb       SystemRole = "Db"
	RoleDesktop  SystemRole = "WindowsDesktop"
	RoleDiscover SystemRole = "Discovery"
	RoleBot      SystemRole = "Bot"
	RoleInstance SystemRole = "Instance"
	RoleAdmin    SystemRole = "Admin" // the 0600 certificate in the data directory of an auth host
)

// Identity is what a verified certificate says of its bearer: one immutable
// value, made by cert/tlscert or cert/sshcert and by nothing else. (Cluster,
// Name) is who; Authority is what may be used and only ever narrows from
// certificate to certificate; Proofs are added only by their own ceremony.
//
// Each field declares in its narrow tag how a child relates to its parent when
// a certificate is re-issued: equal, set (subset), min (not later, not wider),
// restrict (a limit that may be added, never lifted), proof (only a ceremony
// adds it; a re-issue keeps or drops it), free (fixed by the issuer, no
// authority in it). Narrows and a reflection test fail on a field without.
type Identity struct {
	Kind       IdentityKind `json:"kind" narrow:"equal"`
	Cluster    string       `json:"cluster" narrow:"equal"`
	Name       string       `json:"name" narrow:"equal"` // user name, or host UUID
	Authority  Authority    `json:"authority" narrow:"struct"`
	Proofs     Proofs       `json:"proofs" narrow:"struct"`
	IssuedAt   time.Time    `json:"issued_at" narrow:"free"`
	Generation uint64       `json:"generation,omitempty" narrow:"free"` // renewal counter of a host; shows a cloned key
}

// Authority is the lattice of what an identity may use.
type Authority struct {
	Expires     time.Time           `json:"expires" narrow:"min"`
	Roles       []string            `json:"roles,omitempty" narrow:"set"`
	SystemRoles []SystemRole        `json:"system_roles,omitempty" narrow:"set"`
	Traits      map[string][]string `json:"traits,omitempty" narrow:"set"`
	Logins      []string            `json:"logins,omitempty" narrow:"set"` // OS logins; SSH principals of a user certificate
	// Usage restricts a certificate to one family ("ssh", "kube", "db", "app",
	// "desktop"). Empty is unrestricted, so a child may add a restriction but
	// not lift one (narrow "restrict").
	Usage []string `json:"usage,omitempty" narrow:"restrict"`
	// Route names the one resource a certificate is for. Nil is any; a child may
	// add a route but neither change nor lift one. Route and bridge certificates
	// never re-issue.
	Route *Route `json:"route,omitempty" narrow:"restrict"`
	// ResourceIDs limits access to the listed resources (an approved request).
	// Empty is unrestricted.
	ResourceIDs []ResourceID `json:"allowed_resource_ids,omitempty" narrow:"restrict"`
	// PinnedIP, when valid, is the only client address that may use the certificate.
	PinnedIP        netip.Addr `json:"pinned_ip,omitzero" narrow:"restrict"`
	DisallowReissue bool       `json:"disallow_reissue,omitempty" narrow:"restrict"`
	Renewable       bool       `json:"renewable,omitempty" narrow:"min"`
	// SSH permissions that OpenSSH servers read from the certificate.
	PermitPTY         bool `json:"permit_pty,omitempty" narrow:"min"`
	PermitAgent       bool `json:"permit_agent_forwarding,omitempty" narrow:"min"`
	PermitPortForward bool `json:"permit_port_forwarding,omitempty" narrow:"min"`
	PermitX11         bool `json:"permit_x11_forwarding,omitempty" narrow:"min"`
	// Hosts only.
	Hostname   string     `json:"hostname,omitempty" narrow:"equal"`
	Principals []string   `json:"principals,omitempty" narrow:"set"` // host name, public addresses
	Scope      *JoinScope `json:"scope,omitempty" narrow:"restrict"` // what may be registered under this identity
	// Bridge only: the proxy that carries it.
	ProxyUUID string `json:"proxy_uuid,omitempty" narrow:"equal"`
	// Bridge only: when the certificate that it was made from expires. What the
	// bridge has opened while it was valid may live so long; zero is Expires.
	UserExpires time.Time `json:"user_expires,omitzero" narrow:"equal"`
}

// Ends is when what was opened with a certificate loses it: its expiry, and for a
// bridge, which is for opening alone, that of the user's own certificate.
func (a *Authority) Ends() time.Time {
	if a.UserExpires.IsZero() {
		return a.Expires
	}
	return a.UserExpires
}

// Proofs record ceremonies that the bearer went through.
type Proofs struct {
	MFADevice string `json:"mfa_device_uuid,omitempty" narrow:"proof"`
	// AccessRequests and Impersonator are never dropped: a lock on a request, and
	// the audit log, must still find the certificates that came of them.
	AccessRequests []string `json:"access_requests,omitempty" narrow:"equal"`
	DeviceID       string   `json:"device_id,omitempty" narrow:"proof"`
	Impersonator   string   `json:"impersonator,omitempty" narrow:"equal"`
	// LoginIP is where the login happened, as auth saw it.
	LoginIP netip.Addr `json:"login_ip,omitzero" narrow:"proof"`
}

// Route names one resource and the narrowing that a family adds to it.
type Route struct {
	Cluster string `json:"cluster,omitempty"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	// Params are the family's own: db_user, db_name, protocol, aws_role …
	Params map[string]string `json:"params,omitempty"`
}

// ResourceID names one resource exactly.
type ResourceID struct {
	Cluster     string `json:"cluster"`
	Kind        string `json:"kind"`
	Name        string `json:"name"`
	SubResource string `json:"sub_resource,omitempty"`
}

// JoinScope limits what a host may register: it comes from the join token and
// is enforced at registration. A nil scope registers anything of its roles.
type JoinScope struct {
	Names  []string            `json:"names,omitempty"`  // globs over resource names and host names
	Labels map[string][]string `json:"labels,omitempty"` // required label values, globs
}

// HasSystemRole reports whether the identity is a host with the given role.
func (id *Identity) HasSystemRole(r SystemRole) bool {
	if id == nil || id.Kind != IdentityHost {
		return false
	}
	for _, x := range id.Authority.SystemRoles {
		if x == r {
			return true
		}
	}
	return false
}

// String is the short form used in messages: kind, name and cluster, no
// authority.
func (id *Identity) String() string {
	if id == nil {
		return "nobody"
	}
	return string(id.Kind) + " " + id.Name + "@" + id.Cluster
}
