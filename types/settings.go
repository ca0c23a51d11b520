package types

import "strings"

// OriginLabel is the label that says where a settings document came from;
// OriginFile is its value where the configuration file of the auth service fixes
// the settings.
const (
	OriginLabel = "teleport.dev/origin"
	OriginFile  = "config-file"
)

// AuthPreference is the singleton cluster_auth_preference (v2).
type AuthPreference struct {
	Header
	Spec AuthPreferenceSpec `json:"spec"`
}

// AuthPreferenceSpec says how people prove who they are. Defaults are filled by Validate.
type AuthPreferenceSpec struct {
	Type                    string           `json:"type,omitempty" enum:"local,oidc,saml,github"`
	SecondFactors           []string         `json:"second_factors,omitempty" enum:"otp,webauthn,sso"`
	SecondFactor            string           `json:"second_factor,omitempty"` // older spelling
	ConnectorName           string           `json:"connector_name,omitempty"`
	AllowLocalAuth          Bool             `json:"allow_local_auth,omitempty"`
	DisconnectExpiredCert   bool             `json:"disconnect_expired_cert,omitempty"`
	LockingMode             string           `json:"locking_mode,omitempty" enum:"best_effort,strict"`
	DefaultSessionTTL       Duration         `json:"default_session_ttl,omitempty"`
	MessageOfTheDay         string           `json:"message_of_the_day,omitempty"`
	RequireSessionMFA       MFARequirement   `json:"require_session_mfa,omitempty"`
	SignatureAlgorithmSuite string           `json:"signature_algorithm_suite,omitempty" enum:"legacy,balanced-v1,fips-v1,hsm-v1"`
	Webauthn                *Webauthn        `json:"webauthn,omitempty"`
	AllowPasswordless       Bool             `json:"allow_passwordless,omitempty"`
	AllowHeadless           Bool             `json:"allow_headless,omitempty"`
	AllowBrowserAuth        Bool             `json:"allow_browser_authentication,omitempty"`
	DeviceTrust             *DeviceTrust     `json:"device_trust,omitempty"`
	StableUnixUsers         *StableUnixUsers `json:"stable_unix_user_config,omitempty"`
}

// Webauthn configures security keys and passkeys. RPID must never change.
type Webauthn struct {
	RPID                  string   `json:"rp_id"`
	AttestationAllowedCAs []string `json:"attestation_allowed_cas,omitempty"` // PEM
	AttestationDeniedCAs  []string `json:"attestation_denied_cas,omitempty"`
}

// DeviceTrust says whether access needs a known device.
type DeviceTrust struct {
	Mode             string   `json:"mode,omitempty" enum:"off,optional,required"`
	AutoEnroll       bool     `json:"auto_enroll,omitempty"`
	EKCertAllowedCAs []string `json:"ekcert_allowed_cas,omitempty"`
}

// StableUnixUsers gives users made on hosts the same UID everywhere.
type StableUnixUsers struct {
	Enabled  bool `json:"enabled,omitempty"`
	FirstUID int  `json:"first_uid,omitempty"`
	LastUID  int  `json:"last_uid,omitempty"`
}

// NetworkingConfig is the singleton cluster_networking_config (v2).
type NetworkingConfig struct {
	Header
	Spec NetworkingConfigSpec `json:"spec"`
}

// NetworkingConfigSpec holds time limits and routing strategy.
type NetworkingConfigSpec struct {
	ClientIdleTimeout      Duration `json:"client_idle_timeout,omitempty"`
	IdleTimeoutMessage     string   `json:"idle_timeout_message,omitempty"`
	WebIdleTimeout         Duration `json:"web_idle_timeout,omitempty"`
	KeepAliveInterval      Duration `json:"keep_alive_interval,omitempty"`
	KeepAliveCountMax      int      `json:"keep_alive_count_max,omitempty"`
	SessionControlTimeout  Duration `json:"session_control_timeout,omitempty"`
	RoutingStrategy        string   `json:"routing_strategy,omitempty" enum:"unambiguous_match,most_recent"`
	CaseInsensitiveRouting bool     `json:"case_insensitive_routing,omitempty"`
	SSHDialTimeout         Duration `json:"ssh_dial_timeout,omitempty"`
	ProxyListenerMode      int      `json:"proxy_listener_mode,omitempty"`
	ProxyPingInterval      Duration `json:"proxy_ping_interval,omitempty"`
}

// RecordingConfig is the singleton session_recording_config (v2).
type RecordingConfig struct {
	Header
	Spec   RecordingConfigSpec   `json:"spec"`
	Status RecordingConfigStatus `json:"status,omitzero"`
}

// RecordingConfigSpec says where sessions are recorded.
type RecordingConfigSpec struct {
	Mode                string `json:"mode,omitempty" enum:"node,node-sync,proxy,proxy-sync,off"`
	ProxyChecksHostKeys Bool   `json:"proxy_checks_host_keys,omitempty"`
	// Encryption at rest is on unless it is switched off.
	Encryption *RecordingEncryption `json:"encryption,omitempty"`
}

// AtProxy reports whether proxies are to record sessions, and so to end their
// protocol.
func (r RecordingConfigSpec) AtProxy() bool { return strings.HasPrefix(r.Mode, "proxy") }

// RecordingEncryption switches the encryption of recordings at rest.
type RecordingEncryption struct {
	Enabled Bool `json:"enabled,omitempty"`
}

// RecordingConfigStatus is written by the auth service alone.
type RecordingConfigStatus struct {
	EncryptionKeys []RecordingPublicKey `json:"encryption_keys,omitempty"`
}

// RecordingPublicKey is a key that recordings are encrypted to.
type RecordingPublicKey struct {
	PublicKey string `json:"public_key"` // age recipient, "age1pq…"
}
