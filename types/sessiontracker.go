package types

import "time"

// SessionTracker is a live session as the cluster knows it (kind
// session_tracker, v1, name = session id). Presence: it expires by itself when
// its agent stops renewing it.
type SessionTracker struct {
	Header
	Spec SessionTrackerSpec `json:"spec"`
}

// SessionTrackerSpec says what the session is and who is present.
type SessionTrackerSpec struct {
	State        string        `json:"state" enum:"pending,running,paused,terminated"` // pending and paused: it waits for whom it must have
	Kind         string        `json:"session_kind"`                                   // ssh | k8s | db | app | desktop
	User         string        `json:"user"`
	Roles        []string      `json:"roles,omitempty"`
	Login        string        `json:"login,omitempty"`
	HostID       string        `json:"host_id,omitempty"`
	Hostname     string        `json:"hostname,omitempty"`
	SubKind      string        `json:"server_sub_kind,omitempty"` // of a server without an agent; HostID is the proxy that ends its sessions
	Cluster      string        `json:"cluster,omitempty"`
	Participants []Participant `json:"participants,omitempty"`
	Invited      []string      `json:"invited,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	Created      time.Time     `json:"created"`
	Ended        time.Time     `json:"ended,omitzero"`
	// Generation of the process that carries it, and the auth service that process
	// tells of it: written by the latter.
	Generation uint64 `json:"generation,omitempty"`
	AuthServer string `json:"auth_server,omitempty"`
}

// JoinLogin is the login of those who come to join sessions of others: it starts
// nothing, and no account bears it, as no login begins with a dash.
const JoinLogin = "-teleport-join"

// JoinChannel is the SSH channel type on which somebody joins a live session of
// a host. Its payload is two strings: the session's id, and the mode. The host
// tells of the owner's terminal by requests "window-change" (RFC 4254 §6.7), and
// of the end by "exit-status".
const JoinChannel = "join-session@teleport"

// Variables of an SSH session request that say what the cluster is told of the
// session, and its owner. They are no part of its environment.
const (
	ReasonEnv       = "TELEPORT_SESSION_REASON"
	InviteEnv       = "TELEPORT_SESSION_INVITED"      // user names with commas between them
	RequirementsEnv = "TELEPORT_SESSION_REQUIREMENTS" // not empty: the host lists who must be present
)

// Bounds of what a tracker holds.
const (
	MaxParticipants = 128
	MaxInvited      = 64
)

// Participant is somebody present in a session.
type Participant struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`
	Mode       string    `json:"mode" enum:"observer,peer,moderator"`
	LastActive time.Time `json:"last_active,omitzero"`
}

// Validate implements Resource.
func (s *SessionTracker) Validate() error {
	if err := s.check(KindSessionTracker, &s.Spec); err != nil {
		return err
	}
	if s.Spec.State == "" {
		s.Spec.State = "running"
	}
	if len(s.Spec.Participants) > MaxParticipants || len(s.Spec.Invited) > MaxInvited {
		return fieldFault("spec.participants", "has room for %d, and invited for %d", MaxParticipants, MaxInvited)
	}
	for i, name := range s.Spec.Invited {
		if err := at(IndexPath("spec.invited", i), CheckName("user", name)); err != nil {
			return err
		}
	}
	if err := checkText("spec.reason", s.Spec.Reason); err != nil {
		return err
	}
	return at("spec.user", CheckName("user", s.Spec.User))
}

// AuditCheckpoint is a signed statement of every writer's position in the audit
// log (kind audit_checkpoint, v1). Package audit defines and verifies Body; here
// it is bytes, so that what was signed is never re-encoded.
type AuditCheckpoint struct {
	Header
	Spec AuditCheckpointSpec `json:"spec"`
}

// AuditCheckpointSpec is the body of AuditCheckpoint.
type AuditCheckpointSpec struct {
	Number    uint64    `json:"number"`
	Time      time.Time `json:"time"`
	Previous  string    `json:"previous,omitempty"` // hash of the checkpoint before, hex
	Body      []byte    `json:"body"`               // the very bytes that are signed
	Signature []byte    `json:"signature"`
	KeyID     string    `json:"key_id"`
}

// Validate implements Resource.
func (c *AuditCheckpoint) Validate() error {
	if err := c.check(KindCheckpoint, &c.Spec); err != nil {
		return err
	}
	if len(c.Spec.Body) == 0 || len(c.Spec.Signature) == 0 {
		return fieldFault("spec", "needs body and signature")
	}
	return nil
}
