package types

import "time"

// exampleTime makes examples, and with them the frozen documents, reproducible.
func exampleTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func named(kind, version, name string) Header {
	return Header{Kind: kind, Version: version, Metadata: Metadata{Name: name}}
}

const exampleUUID = "11111111-2222-4333-8444-555555555555"

func exampleUser() Resource {
	return &User{Header: named(KindUser, "v2", "alice"), Spec: UserSpec{
		Roles: []string{"access"}, Traits: map[string][]string{"logins": {"alice", "root"}},
		CreatedBy: &CreatedBy{Time: exampleTime(), User: "admin"}}}
}

func exampleRole() Resource {
	h := named(KindRole, V8, "dev")
	h.Metadata.Description = "Developers on staging"
	return &Role{Header: h, Spec: RoleSpec{
		Options: RoleOptions{MaxSessionTTL: Duration(8 * time.Hour), ClientIdleTimeout: Duration(30 * time.Minute),
			SSHPortForwarding: &SSHPortForwarding{Remote: &Switch{Enabled: new(bool)}}},
		Allow: RoleConditions{Logins: []string{"{{internal.logins}}", "ubuntu"}, NodeLabels: Labels{"env": {"staging", "test-*"}},
			KubernetesLabels: Labels{"env": {"staging"}}, KubernetesGroups: []string{"developers"},
			KubernetesResources: []KubernetesResource{{Kind: "pods", Namespace: "*", Name: "*", Verbs: []string{"get", "list", "exec"}}},
			Rules:               []Rule{{Resources: []string{"session"}, Verbs: []string{VerbList, VerbRead}, Where: "contains(session.participants, user.metadata.name)"}}},
		Deny: RoleConditions{Logins: []string{"root"}}}}
}

func exampleToken() Resource {
	h := named(KindToken, "v2", "example-token")
	expires := exampleTime()
	h.Metadata.Expires = &expires
	return &Token{Header: h, Spec: TokenSpec{Roles: []SystemRole{RoleNode}, JoinMethod: "token",
		SuggestedLabels: map[string][]string{"env": {"staging"}}, Scope: &JoinScope{Names: []string{"web-*"}}}}
}

func exampleCA() Resource {
	h := named(KindCertAuthority, "v2", "example.com")
	h.SubKind = string(CAUser)
	return &CertAuthority{Header: h, Spec: CertAuthoritySpec{Type: CAUser, Cluster: "example.com", Phase: "standby",
		Active: CAKeys{SSHPublic: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", SSHKeyID: "soft/1", Algorithm: "ed25519", CreatedAt: exampleTime()}}}
}

func exampleLock() Resource {
	return &Lock{Header: named(KindLock, "v2", exampleUUID), Spec: LockSpec{Target: LockTarget{User: "alice"}, Message: "Laptop lost"}}
}

func exampleNode() Resource {
	h := named(KindNode, "v2", exampleUUID)
	h.SubKind = "teleport"
	h.Metadata.Labels = map[string]string{"env": "staging"}
	return &Node{Header: h, Spec: NodeSpec{Hostname: "web-1", UseTunnel: true, ServerVersion: "1.0.0",
		CmdLabels: map[string]CommandLabel{"kernel": {Command: []string{"/bin/uname", "-r"}, Period: Duration(time.Hour), Result: "6.12.0"}}}}
}

func exampleDatabase() Resource {
	h := named(KindDatabase, V3, "orders")
	h.Metadata.Description = "Orders of the shop"
	h.Metadata.Labels = map[string]string{"env": "staging"}
	return &Database{Header: h, Spec: DatabaseSpec{Protocol: "postgres", URI: "orders.example.com:5432",
		TLS: DatabaseTLS{Mode: TLSVerifyFull}, AdminUser: &DatabaseAdmin{Name: "teleport-admin"}}}
}

func exampleDatabaseServer() Resource {
	d := exampleDatabase().(*Database)
	return &DatabaseServer{Header: named(KindDatabaseServer, V3, ServerName("orders", exampleUUID)),
		Spec: DatabaseServerSpec{HostID: exampleUUID, Hostname: "db-agent-1", Version: "1.0.0", Database: *d},
		Status: DatabaseServerStatus{TargetHealth: TargetHealth{Addr: "orders.example.com:5432", Protocol: "TCP", Status: HealthHealthy,
			Since: exampleTime(), Reason: HealthReasonThreshold, Message: "2 checks in a row succeeded"}}}
}

func exampleApp() Resource {
	h := named(KindApp, V3, "grafana")
	h.Metadata.Description = "Dashboards"
	h.Metadata.Labels = map[string]string{"env": "staging"}
	return &App{Header: h, Spec: AppSpec{URI: "http://localhost:3000", PublicAddr: "grafana.example.com", RequiredApps: []string{"grafana-api"},
		Rewrite: &AppRewrite{Redirect: []string{"localhost"}, Headers: []AppHeader{{Name: "Authorization", Value: "Bearer {{internal.jwt}}"}}}}}
}

func exampleAppServer() Resource {
	a := exampleApp().(*App)
	return &AppServer{Header: named(KindAppServer, V3, ServerName("grafana", exampleUUID)),
		Spec: AppServerSpec{HostID: exampleUUID, Hostname: "app-agent-1", Version: "1.0.0", App: *a},
		Status: AppServerStatus{TargetHealth: TargetHealth{Addr: "localhost:3000", Protocol: "TCP", Status: HealthHealthy,
			Since: exampleTime(), Reason: HealthReasonThreshold, Message: "2 checks in a row succeeded"}}}
}

func exampleHealthCheckConfig() Resource {
	return &HealthCheckConfig{Header: named(KindHealthCheckConfig, "v1", "staging"), Spec: HealthCheckSpec{
		Match:    HealthCheckMatch{DBLabels: []LabelMatch{{Name: "env", Values: StringList{"staging", "test-*"}}}, DBLabelsExpression: `labels["team"] == "shop"`},
		Interval: Duration(30 * time.Second), Timeout: Duration(5 * time.Second), HealthyThreshold: 2, UnhealthyThreshold: 1}}
}

func exampleServer() ServerSpec {
	return ServerSpec{Hostname: "gate-1", Addr: "10.0.0.5:3080", PublicAddrs: []string{"teleport.example.com:443"}, ServerVersion: "1.0.0", Generation: 1}
}

func exampleProxy() Resource {
	return &Proxy{Header: named(KindProxy, "v2", exampleUUID), Spec: exampleServer()}
}

func exampleAuthServer() Resource {
	return &AuthServer{Header: named(KindAuthServer, "v2", exampleUUID), Spec: exampleServer()}
}

func exampleInstance() Resource {
	return &Instance{Header: named(KindInstance, "v1", exampleUUID), Spec: InstanceSpec{Hostname: "web-1", Version: "1.0.0",
		Services: []SystemRole{RoleNode}, LastSeen: exampleTime(), Epoch: 3, Generation: 1}}
}

func exampleSessionTracker() Resource {
	return &SessionTracker{Header: named(KindSessionTracker, "v1", exampleUUID), Spec: SessionTrackerSpec{State: "running", Kind: "ssh",
		User: "alice", Login: "root", HostID: exampleUUID, Hostname: "web-1", Created: exampleTime(),
		Participants: []Participant{{ID: exampleUUID, User: "alice", Mode: "peer"}}}}
}

func exampleClusterName() Resource {
	c := &ClusterName{Header: named(KindClusterName, "v2", "cluster-name")}
	c.Spec.ClusterName, c.Spec.ClusterID = "example.com", exampleUUID
	return c
}

func exampleAuthPreference() Resource {
	return &AuthPreference{Header: named(KindAuthPreference, "v2", "cluster-auth-preference"), Spec: AuthPreferenceSpec{
		SecondFactors: []string{"otp"}, LockingMode: "best_effort", DefaultSessionTTL: Duration(12 * time.Hour)}}
}

func exampleNetworkingConfig() Resource {
	return &NetworkingConfig{Header: named(KindNetworkingConfig, "v2", "cluster-networking-config"), Spec: NetworkingConfigSpec{
		ClientIdleTimeout: Duration(time.Hour), IdleTimeoutMessage: "Disconnected after an hour without input."}}
}

func exampleRecordingConfig() Resource {
	return &RecordingConfig{Header: named(KindRecordingConfig, "v2", "session-recording-config"), Spec: RecordingConfigSpec{Mode: "node"}}
}

func exampleUserEpoch() Resource {
	return &UserEpoch{Header: named(KindUserEpoch, "v1", "alice"), Spec: UserEpochSpec{NotBefore: exampleTime(), Roles: []string{"access"}}}
}

func exampleCheckpoint() Resource {
	return &AuditCheckpoint{Header: named(KindCheckpoint, "v1", "00000001"), Spec: AuditCheckpointSpec{Number: 1, Time: exampleTime(),
		Body: []byte("body"), Signature: []byte("signature"), KeyID: "soft/2"}}
}

func exampleUserCredentials() Resource {
	return &UserCredentials{Header: named(KindUserCredentials, "v1", "alice"), Spec: UserCredentialsSpec{
		Password:  &PasswordHash{Algorithm: "argon2id", Time: 2, MemoryKiB: 19456, Threads: 1, Salt: []byte("0123456789abcdef"), Hash: NewSecret("aGFzaA==")},
		OTP:       []OTPDevice{{ID: exampleUUID, Name: "phone", Secret: NewSecret("JBSWY3DPEHPK3PXP"), AddedAt: exampleTime(), LastStep: 58900000}},
		ChangedAt: exampleTime()}}
}

func exampleUserToken() Resource {
	return &UserToken{Header: named(KindUserToken, "v1", "sha256:0011"), Spec: UserTokenSpec{Purpose: PurposeInvite, User: "alice",
		OTPSecret: NewSecret("JBSWY3DPEHPK3PXP"), Created: exampleTime(), Expires: exampleTime().Add(time.Hour)}}
}

func exampleWebSession() Resource {
	return &WebSession{Header: named(KindWebSession, "v1", "0011223344556677"), Spec: WebSessionSpec{User: "alice",
		SecretHash: make([]byte, 32), Sealed: []byte("sealed"), Created: exampleTime(), Expires: exampleTime().Add(time.Hour)}}
}

func exampleConnectionSlots() Resource {
	return &ConnectionSlots{Header: named(KindConnectionSlots, "v1", "alice"), Spec: ConnectionSlotsSpec{Slots: []ConnectionSlot{{
		ID: "7c1a7b52-0f5c-4a4e-9d3c-6f0c4f5f0f01", HostID: "0f5c7b52-7c1a-4a4e-9d3c-6f0c4f5f0f02", Since: exampleTime(), Expires: exampleTime().Add(2 * time.Minute)}}}}
}
