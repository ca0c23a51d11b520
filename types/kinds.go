package types

import (
	"slices"
	"strings"

	"teleport/fault"
)

// KindInfo describes one kind of document. A new kind is one file with its
// struct, Validate and example, and one line in Kinds.
type KindInfo struct {
	Name           string
	Aliases        []string // what users type besides the name: plurals, short forms
	Versions       []string
	DefaultVersion string
	Singleton      string   // the only name that documents of this kind may have; "" for many
	SubKinds       []string // allowed sub kinds; empty: none
	New            func() Resource
	Example        func() Resource // a valid document that shows the common fields
	Presence       bool            // soft state of live processes, with a lease
	Internal       bool            // never crosses the API
	ReadOnly       bool            // written by the system only; the API reads and deletes
}

// PolicyKinds are the kinds that every decision is made from: each process keeps
// a replica of them. The slice is fresh.
func PolicyKinds() []string {
	return []string{KindRole, KindLock, KindCertAuthority, KindUserEpoch, KindClusterName,
		KindAuthPreference, KindNetworkingConfig, KindRecordingConfig, KindProxy}
}

// Kinds returns the list of kinds in the order in which listings show them. The
// slice is fresh.
func Kinds() []KindInfo {
	v1, v2 := []string{"v1"}, []string{"v2"}
	return []KindInfo{
		{Name: KindUser, Aliases: []string{"users"}, Versions: v2, DefaultVersion: "v2", New: newOf[User], Example: exampleUser},
		{Name: KindRole, Aliases: []string{"roles"}, Versions: []string{V3, V4, V5, V6, V7, V8, V9}, DefaultVersion: V8, New: newOf[Role], Example: exampleRole},
		{Name: KindToken, Aliases: []string{"tokens"}, Versions: v2, DefaultVersion: "v2", New: newOf[Token], Example: exampleToken},
		{Name: KindCertAuthority, Aliases: []string{"cert_authorities", "ca", "cas"}, Versions: v2, DefaultVersion: "v2", SubKinds: caSubKinds(), New: newOf[CertAuthority], Example: exampleCA, ReadOnly: true},
		{Name: KindLock, Aliases: []string{"locks"}, Versions: v2, DefaultVersion: "v2", New: newOf[Lock], Example: exampleLock},
		{Name: KindNode, Aliases: []string{"nodes"}, Versions: v2, DefaultVersion: "v2", SubKinds: []string{"teleport", "openssh", "openssh-ec2-ice"}, New: newOf[Node], Example: exampleNode, Presence: true},
		{Name: KindDatabase, Aliases: []string{"dbs", "database", "databases"}, Versions: []string{V3}, DefaultVersion: V3, New: newOf[Database], Example: exampleDatabase},
		{Name: KindDatabaseServer, Aliases: []string{"db_servers", "database_server"}, Versions: []string{V3}, DefaultVersion: V3, New: newOf[DatabaseServer], Example: exampleDatabaseServer, Presence: true, ReadOnly: true},
		{Name: KindApp, Aliases: []string{"apps"}, Versions: []string{V3}, DefaultVersion: V3, New: newOf[App], Example: exampleApp},
		{Name: KindAppServer, Aliases: []string{"app_servers"}, Versions: []string{V3}, DefaultVersion: V3, New: newOf[AppServer], Example: exampleAppServer, Presence: true, ReadOnly: true},
		{Name: KindHealthCheckConfig, Aliases: []string{"health_check_configs", "hcc"}, Versions: v1, DefaultVersion: "v1", New: newOf[HealthCheckConfig], Example: exampleHealthCheckConfig},
		{Name: KindProxy, Aliases: []string{"proxies"}, Versions: v2, DefaultVersion: "v2", New: newOf[Proxy], Example: exampleProxy, Presence: true, ReadOnly: true},
		{Name: KindAuthServer, Aliases: []string{"auth_servers"}, Versions: v2, DefaultVersion: "v2", New: newOf[AuthServer], Example: exampleAuthServer, Presence: true, ReadOnly: true},
		{Name: KindInstance, Aliases: []string{"instances"}, Versions: v1, DefaultVersion: "v1", New: newOf[Instance], Example: exampleInstance, Presence: true, ReadOnly: true},
		{Name: KindSessionTracker, Aliases: []string{"session_trackers", "sessions"}, Versions: v1, DefaultVersion: "v1", New: newOf[SessionTracker], Example: exampleSessionTracker, Presence: true, ReadOnly: true},
		{Name: KindClusterName, Versions: v2, DefaultVersion: "v2", Singleton: "cluster-name", New: newOf[ClusterName], Example: exampleClusterName, ReadOnly: true},
		{Name: KindAuthPreference, Aliases: []string{"cap", "auth_preference"}, Versions: v2, DefaultVersion: "v2", Singleton: "cluster-auth-preference", New: newOf[AuthPreference], Example: exampleAuthPreference},
		{Name: KindNetworkingConfig, Aliases: []string{"netconfig", "networking_config"}, Versions: v2, DefaultVersion: "v2", Singleton: "cluster-networking-config", New: newOf[NetworkingConfig], Example: exampleNetworkingConfig},
		{Name: KindRecordingConfig, Aliases: []string{"recconfig", "recording_config"}, Versions: v2, DefaultVersion: "v2", Singleton: "session-recording-config", New: newOf[RecordingConfig], Example: exampleRecordingConfig},
		{Name: KindUserEpoch, Aliases: []string{"user_epochs"}, Versions: v1, DefaultVersion: "v1", New: newOf[UserEpoch], Example: exampleUserEpoch, ReadOnly: true},
		{Name: KindAppSession, Aliases: []string{"app_sessions"}, Versions: v1, DefaultVersion: "v1", New: newOf[AppSession], Example: exampleAppSession, ReadOnly: true},
		{Name: KindCheckpoint, Aliases: []string{"audit_checkpoints"}, Versions: v1, DefaultVersion: "v1", New: newOf[AuditCheckpoint], Example: exampleCheckpoint, ReadOnly: true},
		{Name: KindUserCredentials, Versions: v1, DefaultVersion: "v1", New: newOf[UserCredentials], Example: exampleUserCredentials, Internal: true},
		{Name: KindUserToken, Versions: v1, DefaultVersion: "v1", New: newOf[UserToken], Example: exampleUserToken, Internal: true},
		{Name: KindWebSession, Versions: v1, DefaultVersion: "v1", New: newOf[WebSession], Example: exampleWebSession, Internal: true},
		{Name: KindConnectionSlots, Versions: v1, DefaultVersion: "v1", New: newOf[ConnectionSlots], Example: exampleConnectionSlots, Internal: true},
	}
}

// KindByName finds a kind by its name, plural or short form, in any letter case
// and with "-" for "_". It returns fault.NotFound with the nearest known name.
func KindByName(name string) (KindInfo, error) {
	want := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "-", "_")
	kinds := Kinds()
	var known []string
	for _, k := range kinds {
		if k.Name == want || slices.Contains(k.Aliases, want) {
			return k, nil
		}
		if !k.Internal {
			known = append(append(known, k.Name), k.Aliases...)
		}
	}
	err := fault.New(fault.NotFound, "there is no kind of resource called %q", name)
	if near := Nearest(want, known); near != "" {
		return KindInfo{}, err.WithHint("did you mean %q?", near)
	}
	return KindInfo{}, err.WithHint("kinds are: %s", strings.Join(kindNames(kinds), ", "))
}

// exactKind finds a kind by the exact name that documents carry.
func exactKind(name string) (KindInfo, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return KindInfo{}, false
}

func kindNames(kinds []KindInfo) []string {
	var names []string
	for _, k := range kinds {
		if !k.Internal {
			names = append(names, k.Name)
		}
	}
	return names
}

func caSubKinds() []string {
	return []string{string(CAUser), string(CAHost), string(CADB), string(CADBClient), string(CAOpenSSH), string(CAJWT)}
}

// document ties a kind's struct to its pointer, which is the Resource.
type document[T any] interface {
	*T
	Resource
}

func newOf[T any, P document[T]]() Resource { return P(new(T)) }
