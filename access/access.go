// Package access decides who may do what. A decision is a pure function of one
// request value: who (identity and roles), from where, on what (resource,
// labels, login), under which policy (settings, locks), when. The same function
// runs in auth, proxy, agent and tctl access explain.
package access

import (
	"net/netip"
	"time"

	"teleport/predicate"
	"teleport/types"
)

// Action is what somebody wants to do. Rule verbs on kinds use Verb and Kind;
// use of a resource names the family's action.
type Action string

// Uses of a node. A dial is decided by the proxy before a login is known.
const (
	ActionDial          Action = "dial"           // reach the resource at all; login not known yet
	ActionLogin         Action = "login"          // open an SSH connection as Login
	ActionForwardLocal  Action = "forward_local"  // -L, -D, direct-tcpip
	ActionForwardRemote Action = "forward_remote" // -R
	ActionForwardAgent  Action = "forward_agent"
	ActionFileCopy      Action = "file_copy"
	ActionX11           Action = "x11"
	ActionJoin          Action = "join"     // a live session, as Mode
	ActionDatabase      Action = "database" // a database as Login, in DBName
	ActionApp           Action = "app"      // an app, as the App of the request narrows it
	ActionList          Action = "list"     // see it in listings
	ActionRule          Action = "rule"     // a verb on a kind, by rules
)

// Request is everything that a decision depends on.
type Request struct {
	Identity   *types.Identity
	ClientAddr netip.Addr
	Roles      []*types.Role // the identity's roles, resolved; a missing role is simply absent
	Locks      []*types.Lock
	LocksStale bool // the local view of locks may be out of date: strict mode refuses
	Settings   Settings
	Policy     string // revision of the policy that this was decided from
	Epoch      *types.UserEpochSpec
	Action     Action
	// Resource use:
	Resource types.Resource
	Labels   map[string]string
	HostID   string // the agent's UUID, for server_id locks
	Login    string // "" with ActionDial: not known yet; of a database, the user in it
	// DBName and DBRoles are for ActionDatabase: the database within the server,
	// and the roles that an automatic user asks for (none: all that it may have).
	DBName  string
	DBRoles []string
	// App is for ActionApp: which role or identity of a cloud is used through it, and
	// which port of a tcp app.
	App types.AppRoute
	// Rules:
	Kind string
	Verb string
	// Subject is the document that a where clause looks at, where there is one, and
	// with ActionJoin the session (a *types.SessionTracker).
	Subject types.Resource
	Mode    string // of ActionJoin: observer, peer or moderator
	// Vars are further roots for where clauses, such as "session" for a recording.
	Vars map[string]any
	// Live marks a session that goes on and is decided again: instead of asking
	// for a new certificate, the roles and traits of Epoch count where the
	// certificate is older. What the certificate lacks is still not granted. A
	// session may outlive its certificate, unless Limits.Deadline says otherwise.
	Live bool
	// Unreadable names roles that hold fields this version does not know: who
	// has one is refused, as the field may be a restriction.
	Unreadable []string
	// Cache keeps compiled patterns; nil is right, only slower.
	Cache *predicate.Cache
	Now   time.Time
}

// Settings are the cluster's own limits; zero values are the defaults.
type Settings struct {
	Auth       types.AuthPreferenceSpec
	Networking types.NetworkingConfigSpec
	Recording  types.RecordingConfigSpec
}

// Reason is one named cause of a decision. Code is stable and testable.
type Reason struct {
	Code string `json:"code"` // e.g. denied_by_role, no_role_matches, login_not_allowed, locked, expired
	Role string `json:"role,omitempty"`
	Text string `json:"text"` // one line for people
}

// Limits hold for the whole of what was allowed.
type Limits struct {
	Deadline          time.Time     `json:"deadline,omitzero"` // certificate expiry when disconnect_expired_cert; zero: none
	IdleTimeout       time.Duration `json:"idle_timeout,omitempty"`
	MaxSessions       int           `json:"max_sessions,omitempty"`    // channels per connection; 0 unlimited
	MaxConnections    int           `json:"max_connections,omitempty"` // cluster-wide; 0 unlimited
	StrictRecording   bool          `json:"strict_recording,omitempty"`
	StrictLock        bool          `json:"strict_lock,omitempty"`
	PortForwardLocal  bool          `json:"port_forward_local"`
	PortForwardRemote bool          `json:"port_forward_remote"`
	AgentForward      bool          `json:"agent_forward"`
	FileCopy          bool          `json:"file_copy"`
	X11               bool          `json:"x11"`
	PTY               bool          `json:"pty"`
	// DBParameters is what events tell of the parameters of statements:
	// types.DBParametersNone, …Types or …Values.
	DBParameters string `json:"db_parameters,omitempty"`
	// Database is set by ActionDatabase.
	Database *DatabaseLimits `json:"database,omitempty"`
}

// Decision is the outcome, with enough in it to say why.
type Decision struct {
	Allow   bool     `json:"allow"`
	Reasons []Reason `json:"reasons"`
	Role    string   `json:"role,omitempty"` // the role that allowed it
	Rule    string   `json:"rule,omitempty"` // the selector or rule within it
	Policy  string   `json:"policy,omitempty"`
	Limits  Limits   `json:"limits"`
}
