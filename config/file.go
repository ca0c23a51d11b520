// Package config turns teleport.yaml, flags and the environment into one
// validated struct. The file is version v3 and strict: an unknown or misplaced
// key is an error that names file, line and the nearest known key. A section
// that is absent keeps its default.
package config

import (
	"strings"

	"teleport/fault"
	"teleport/types"
)

// File is teleport.yaml as written. Zero values mean "not said".
type File struct {
	Version  string       `yaml:"version"`
	Teleport Teleport     `yaml:"teleport"`
	Auth     AuthService  `yaml:"auth_service"`
	Proxy    ProxyService `yaml:"proxy_service"`
	SSH      SSHService   `yaml:"ssh_service"`
	Debug    DebugService `yaml:"debug_service"`
	Kube     LaterService `yaml:"kubernetes_service"`
	DB       DBService    `yaml:"db_service"`
	App      AppService   `yaml:"app_service"`
	Desktop  LaterService `yaml:"windows_desktop_service"`
	Discover LaterService `yaml:"discovery_service"`
}

// Teleport is the section that all services of a process share.
type Teleport struct {
	Nodename      string         `yaml:"nodename"`
	DataDir       string         `yaml:"data_dir"`
	PIDFile       string         `yaml:"pid_file"`
	AuthToken     string         `yaml:"auth_token"`
	JoinParams    JoinParams     `yaml:"join_params"`
	CAPin         Strings        `yaml:"ca_pin"`
	AuthServer    string         `yaml:"auth_server"`
	ProxyServer   string         `yaml:"proxy_server"`
	AdvertiseIP   string         `yaml:"advertise_ip"`
	DiagAddr      string         `yaml:"diag_addr"`
	ShutdownDelay types.Duration `yaml:"shutdown_delay"`
	// SpoolQuota bounds the recordings that wait on disk for the auth service.
	SpoolQuota string           `yaml:"recording_spool_quota"`
	Log        Log              `yaml:"log"`
	Storage    Storage          `yaml:"storage"`
	Limits     ConnectionLimits `yaml:"connection_limits"`
}

// JoinParams says how this process is admitted for the first time.
type JoinParams struct {
	Method    string `yaml:"method"`
	TokenName string `yaml:"token_name"` // the token, or the path of a file that holds it
}

// Log says where log lines go and in which form.
type Log struct {
	Output   string    `yaml:"output"`   // stderr, stdout or a path
	Severity string    `yaml:"severity"` // DEBUG, INFO, WARN, ERROR
	Format   LogFormat `yaml:"format"`
}

// LogFormat chooses text or json.
type LogFormat struct {
	Output string `yaml:"output"`
}

// Storage chooses the backend of the auth service.
type Storage struct {
	Type string `yaml:"type"` // sqlite
	Path string `yaml:"path"` // default <data_dir>/backend
	Sync string `yaml:"sync"` // FULL or NORMAL
	// Sessions is the URI of the storage of recordings.
	Sessions string `yaml:"audit_sessions_uri"`
}

// ConnectionLimits bounds what one client address may hold open.
type ConnectionLimits struct {
	MaxConnections int `yaml:"max_connections"`
}

// AuthService configures the certificate authority and state.
type AuthService struct {
	Enabled               Flag           `yaml:"enabled"`
	ListenAddr            string         `yaml:"listen_addr"`
	PublicAddr            Strings        `yaml:"public_addr"`
	ClusterName           string         `yaml:"cluster_name"`
	Tokens                []string       `yaml:"tokens"` // "role,role:value or path"
	SessionRecording      string         `yaml:"session_recording"`
	ClientIdleTimeout     types.Duration `yaml:"client_idle_timeout"`
	IdleTimeoutMessage    string         `yaml:"client_idle_timeout_message"`
	WebIdleTimeout        types.Duration `yaml:"web_idle_timeout"`
	DisconnectExpiredCert Flag           `yaml:"disconnect_expired_cert"`
	KeepAliveInterval     types.Duration `yaml:"keep_alive_interval"`
	KeepAliveCountMax     int            `yaml:"keep_alive_count_max"`
	SessionControlTimeout types.Duration `yaml:"session_control_timeout"`
	RoutingStrategy       string         `yaml:"routing_strategy"`
	CaseInsensitive       Flag           `yaml:"case_insensitive_routing"`
	SSHDialTimeout        types.Duration `yaml:"ssh_dial_timeout"`
	MessageOfTheDay       string         `yaml:"message_of_the_day"`
	Authentication        Authentication `yaml:"authentication"`
	ProxyListenerMode     string         `yaml:"proxy_listener_mode"`
}

// Authentication says how people prove who they are.
type Authentication struct {
	Type              string         `yaml:"type"`
	LocalAuth         Flag           `yaml:"local_auth"`
	SecondFactors     []string       `yaml:"second_factors"`
	SecondFactor      string         `yaml:"second_factor"`
	LockingMode       string         `yaml:"locking_mode"`
	DefaultSessionTTL types.Duration `yaml:"default_session_ttl"`
	SignatureSuite    string         `yaml:"signature_algorithm_suite"`
}

// ProxyService configures the public door.
type ProxyService struct {
	Enabled           Flag           `yaml:"enabled"`
	WebListenAddr     string         `yaml:"web_listen_addr"`
	PublicAddr        Strings        `yaml:"public_addr"`
	HTTPSKeypairs     []Keypair      `yaml:"https_keypairs"`
	ReloadInterval    types.Duration `yaml:"https_keypairs_reload_interval"`
	ProxyProtocol     string         `yaml:"proxy_protocol"` // on; off when absent
	TrustForwardedFor Flag           `yaml:"trust_x_forwarded_for"`
	TrustedBalancers  Strings        `yaml:"trusted_balancers"` // addresses and networks
	MySQLListenAddr   string         `yaml:"mysql_listen_addr"`
	MySQLPublicAddr   Strings        `yaml:"mysql_public_addr"`
	MySQLVersion      string         `yaml:"mysql_server_version"`
}

// Keypair is one web certificate with its key; SNI picks among several.
type Keypair struct {
	KeyFile  string `yaml:"key_file"`
	CertFile string `yaml:"cert_file"`
}

// SSHService configures access to this host.
type SSHService struct {
	Enabled        Flag              `yaml:"enabled"`
	ListenAddr     string            `yaml:"listen_addr"`
	ForceListen    Flag              `yaml:"force_listen"`
	Labels         map[string]string `yaml:"labels"`
	Commands       []Command         `yaml:"commands"`
	PublicAddr     Strings           `yaml:"public_addr"`
	PermitUserEnv  Flag              `yaml:"permit_user_env"`
	PortForwarding Flag              `yaml:"port_forwarding"`
	FileCopy       Flag              `yaml:"ssh_file_copy"`
	Detached       types.Duration    `yaml:"detached_session_timeout"`
}

// Command is a label whose value is what a command prints.
type Command struct {
	Name    string         `yaml:"name"`
	Command []string       `yaml:"command"`
	Period  types.Duration `yaml:"period"`
}

// DebugService is the Unix socket debug.sock in the data directory.
type DebugService struct {
	Enabled Flag `yaml:"enabled"`
}

// LaterService is a section of the file format whose service this version does
// not have; only "enabled: no" is accepted.
type LaterService struct {
	Enabled Flag `yaml:"enabled"`
}

// Flag is a boolean that knows when it was not said. It reads true/false,
// yes/no and on/off.
type Flag struct{ v *bool }

// Set makes a flag that was said.
func Set(b bool) Flag { return Flag{&b} }

// Or returns the flag's value, or def when it was not said.
func (f Flag) Or(def bool) bool {
	if f.v == nil {
		return def
	}
	return *f.v
}

// Said reports whether the flag has a value.
func (f Flag) Said() bool { return f.v != nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Flag) UnmarshalText(b []byte) error {
	switch strings.ToLower(strings.Trim(strings.TrimSpace(string(b)), `"'`)) {
	case "yes", "true", "on":
		*f = Set(true)
	case "no", "false", "off":
		*f = Set(false)
	default:
		return fault.New(fault.Invalid, "%q is neither yes nor no", b)
	}
	return nil
}

// Strings reads one string or a list of them.
type Strings []string
