package types

// Role is a set of permissions (kind role, v3 to v9). A role decides nothing by
// itself: package access reads it, and compiles its templates, patterns and
// expressions.
type Role struct {
	Header
	Spec RoleSpec `json:"spec"`
}

// RoleSpec is options plus what is allowed and what is denied.
type RoleSpec struct {
	Options RoleOptions    `json:"options,omitzero" doc:"Limits and switches; merged over all roles of a user."`
	Allow   RoleConditions `json:"allow,omitzero" doc:"What the role grants. Labels and principal must come from one single role."`
	Deny    RoleConditions `json:"deny,omitzero" doc:"What the role refuses. One match in any role wins over every allow."`
}

// Labels is a selector: key to the values of which one must match. In JSON a
// value may be a string or a list. The key and value "*" match everything.
type Labels map[string]StringList

// StringList reads "a" and ["a","b"] alike and writes a list.
type StringList []string

// RoleOptions are limits and switches. A nil Bool, zero number or zero duration
// is "not said": merging treats it as the default named in the doc tag.
type RoleOptions struct {
	MaxSessionTTL           Duration            `json:"max_session_ttl,omitempty" doc:"Longest life of a certificate; the shortest of all roles wins. Default 30h."`
	ForwardAgent            Bool                `json:"forward_agent,omitempty" doc:"Allow SSH agent forwarding. Default false; one role that allows is enough."`
	SSHPortForwarding       *SSHPortForwarding  `json:"ssh_port_forwarding,omitempty" doc:"Port forwarding by direction. Default on; an explicit off in any role wins."`
	PortForwarding          Bool                `json:"port_forwarding,omitempty" doc:"Older switch for both directions; true in any role turns both on."`
	SSHFileCopy             Bool                `json:"ssh_file_copy,omitempty" doc:"Allow SCP and SFTP. Default true; every role must allow it."`
	PermitX11Forwarding     Bool                `json:"permit_x11_forwarding,omitempty" doc:"Allow X11 forwarding. Default false; one role that allows is enough."`
	PermitPTY               Bool                `json:"permit_pty,omitempty" doc:"Allow a terminal. Default true; every role must allow it."`
	MaxSessions             int                 `json:"max_sessions,omitempty" doc:"Sessions in one SSH connection; lowest wins; 0 is unlimited."`
	MaxConnections          int                 `json:"max_connections,omitempty" doc:"Concurrent SSH connections in the whole cluster; lowest wins; 0 is unlimited."`
	MaxKubernetesConns      int                 `json:"max_kubernetes_connections,omitempty" doc:"As max_connections, for Kubernetes."`
	ClientIdleTimeout       Duration            `json:"client_idle_timeout,omitempty" doc:"Disconnect after this much silence; shortest wins; unset is the cluster's value."`
	DisconnectExpiredCert   Bool                `json:"disconnect_expired_cert,omitempty" doc:"End sessions when the certificate expires. Default: the cluster's value; one yes is enough."`
	RequireSessionMFA       MFARequirement      `json:"require_session_mfa,omitempty" doc:"Second factor for each session on resources that this role allows; the strictest wins."`
	MFAVerificationInterval Duration            `json:"mfa_verification_interval,omitempty" doc:"How long a local proxy may go on without a new second factor; shortest wins."`
	Lock                    string              `json:"lock,omitempty" enum:"best_effort,strict" doc:"What to do when the view of locks may be stale; strict wins."`
	DeviceTrustMode         string              `json:"device_trust_mode,omitempty" enum:"off,optional,required,required-for-humans" doc:"Ask for a known device; strictest wins."`
	PinSourceIP             Bool                `json:"pin_source_ip,omitempty" doc:"Certificates work only from the address of the login; one yes is enough."`
	RequestAccess           string              `json:"request_access,omitempty" enum:"optional,always,reason" doc:"Whether logging in asks for access at once."`
	RequestPrompt           string              `json:"request_prompt,omitempty" doc:"Text shown when a reason is asked for."`
	RecordSession           *RecordSession      `json:"record_session,omitempty" doc:"What happens when recording fails; the strictest wins."`
	RecordDBParameters      string              `json:"record_db_parameters,omitempty" enum:"none,types,values" doc:"What is logged of the parameters of database statements beside their number: none, their types, or their values too, which may hold secrets. Default none; the strictest of the roles that say something wins."`
	EnhancedRecording       []string            `json:"enhanced_recording,omitzero" doc:"Kernel-level recording: command, disk, network."`
	DesktopClipboard        Bool                `json:"desktop_clipboard,omitempty" doc:"Default true; every role must allow it."`
	DesktopDirectorySharing Bool                `json:"desktop_directory_sharing,omitempty" doc:"Default false; every role must allow it."`
	CreateDesktopUser       Bool                `json:"create_desktop_user,omitempty" doc:"Make a local Windows user; every matching role must say so."`
	CreateHostUserMode      HostUserMode        `json:"create_host_user_mode,omitempty" doc:"off, drop, keep or insecure-drop; every matching role must enable it, keep wins."`
	CreateHostUserShell     string              `json:"create_host_user_default_shell,omitempty" doc:"Login shell of users made on hosts."`
	CreateDBUserMode        DBUserMode          `json:"create_db_user_mode,omitempty" doc:"off, keep or best_effort_drop; one role that enables is enough."`
	CreateDBUser            Bool                `json:"create_db_user,omitempty" doc:"Older form of create_db_user_mode."`
	CertFormat              string              `json:"cert_format,omitempty" enum:"standard,oldssh" doc:"Form of SSH certificates."`
	CertExtensions          []CertExtension     `json:"cert_extensions,omitempty" doc:"Extensions added to SSH certificates."`
	IDP                     *IdentityProviderOn `json:"idp,omitempty" doc:"Use of the built-in SAML provider; not used by v8 and later."`
	WebTerminalClipboard    string              `json:"web_terminal_clipboard_mode,omitempty" enum:"unrestricted,no-copy" doc:"Clipboard of the terminal in the browser; strictest wins."`
}

// SSHPortForwarding switches each direction apart.
type SSHPortForwarding struct {
	Local  *Switch `json:"local,omitempty"`
	Remote *Switch `json:"remote,omitempty"`
}

// Switch is an option object with one on/off field.
type Switch struct {
	Enabled Bool `json:"enabled,omitempty"`
}

// RecordSession says how strict recording is, by family.
type RecordSession struct {
	Default string `json:"default,omitempty" enum:"best_effort,strict"`
	SSH     string `json:"ssh,omitempty" enum:"best_effort,strict"`
	Desktop Bool   `json:"desktop,omitempty"`
}

// CertExtension is one extension of SSH certificates; Value may be a template.
type CertExtension struct {
	Type  string `json:"type" enum:"ssh"`
	Mode  string `json:"mode" enum:"extension"`
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// IdentityProviderOn is options.idp of v7 and earlier.
type IdentityProviderOn struct {
	SAML *Switch `json:"saml,omitempty"`
}

// MFARequirement says what each session must prove. In documents it is false,
// true, a name, or the number that older documents hold.
type MFARequirement int

// Requirements from none to the strictest.
const (
	MFAOff MFARequirement = iota
	MFASession
	MFAHardwareKey
	MFAHardwareKeyTouch
	MFAHardwareKeyPIN
	MFAHardwareKeyTouchAndPIN
)

// HostUserMode is the name of a host user mode; older documents hold its number.
type HostUserMode string

// What events tell of the parameters of a database statement, by the strictest
// role that says something.
const (
	DBParametersNone   = "none" // how many there are; the default
	DBParametersTypes  = "types"
	DBParametersValues = "values"
)

// DBUserMode is the name of a database user mode; older documents hold its number.
type DBUserMode string

// Modes of automatic database users.
const (
	DBUserOff  DBUserMode = "off"
	DBUserKeep DBUserMode = "keep"
	DBUserDrop DBUserMode = "best_effort_drop"
)
