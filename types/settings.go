package types

// AuthPreference is the singleton cluster_auth_preference (v2).
type AuthPreference struct {
	Header
	Spec AuthPreferenceSpec `json:"spec"`
}

// AuthPreferenceSpec says how people prove who they are. Defaults are filled by Validate.
type AuthPreferenceSpec struct {
	Type                    string   `json:"type,omitempty"`           // local
	SecondFactors           []string `json:"second_factors,omitempty"` // otp
	SecondFactor            string   `json:"second_factor,omitempty"`  // older spelling
	ConnectorName           string   `json:"connector_name,omitempty"`
	AllowLocalAuth          Bool     `json:"allow_local_auth,omitempty"`
	DisconnectExpiredCert   bool     `json:"disconnect_expired_cert,omitempty"`
	LockingMode             string   `json:"locking_mode,omitempty"` // best_effort | strict
	DefaultSessionTTL       Duration `json:"default_session_ttl,omitempty"`
	MessageOfTheDay         string   `json:"message_of_the_day,omitempty"`
	RequireSessionMFA       string   `json:"require_session_mfa,omitempty"`
	SignatureAlgorithmSuite string   `json:"signature_algorithm_suite,omitempty"` // balanced-v1
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
	RoutingStrategy        string   `json:"routing_strategy,omitempty"` // unambiguous_match | most_recent
	CaseInsensitiveRouting bool     `json:"case_insensitive_routing,omitempty"`
	SSHDialTimeout         Duration `json:"ssh_dial_timeout,omitempty"`
	ProxyListenerMode      int      `json:"proxy_listener_mode,omitempty"`
	ProxyPingInterval      Duration `json:"proxy_ping_interval,omitempty"`
}

// RecordingConfig is the singleton session_recording_config (v2).
type RecordingConfig struct {
	Header
	Spec RecordingConfigSpec `json:"spec"`
}

// RecordingConfigSpec says where sessions are recorded.
type RecordingConfigSpec struct {
	Mode                string `json:"mode,omitempty"` // node | node-sync | proxy | proxy-sync | off
	ProxyChecksHostKeys Bool   `json:"proxy_checks_host_keys,omitempty"`
}
