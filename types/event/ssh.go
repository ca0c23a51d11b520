package event

import "time"

// Types and codes about sessions and what happens in them.
const (
	TypeSessionStart     = "session.start"
	CodeSessionStart     = "T2000I"
	TypeSessionEnd       = "session.end"
	CodeSessionEnd       = "T2004I"
	TypeSessionJoin      = "session.join"
	CodeSessionJoin      = "T2001I"
	TypeSessionLeave     = "session.leave"
	CodeSessionLeave     = "T2003I"
	TypeSessionPause     = "session.pause"
	CodeSessionPause     = "TXS04I"
	CodeSessionPauseEnd  = "TXS04S"
	TypeSessionData      = "session.data"
	CodeSessionData      = "T2006I"
	TypeSessionConnect   = "session.connect"
	CodeSessionConnect   = "T2010I"
	TypeSessionRejected  = "session.rejected"
	CodeSessionRejected  = "T1006W"
	TypeResize           = "resize"
	CodeResize           = "T2002I"
	TypeExec             = "exec"
	CodeExec             = "T3002I"
	CodeExecFail         = "T3002E"
	TypeSubsystem        = "subsystem"
	CodeSubsystem        = "T3001I"
	CodeSubsystemFail    = "T3001E"
	TypePort             = "port"
	CodePortStart        = "T3003I"
	CodePortStop         = "T3003S"
	CodePortFail         = "T3003E"
	TypeAgentForward     = "agent.forward"
	CodeAgentForward     = "TXS01I"
	CodeAgentForwardFail = "TXS01W"
	TypeX11Forward       = "x11-forward"
	CodeX11Forward       = "T3008I"
	CodeX11ForwardFail   = "T3008W"
	TypeSessionDetach    = "session.detach"
	CodeSessionDetach    = "TXS02I"
	CodeSessionDetachEnd = "TXS02W"
	TypeSessionAttach    = "session.attach"
	CodeSessionAttach    = "TXS03I"
	CodeSessionAttachNo  = "TXS03W"
	TypeClientDisconnect = "client.disconnect"
	CodeClientDisconnect = "T3006I"
)

// SessionStart opens a session and carries the decision that allowed it.
type SessionStart struct {
	Meta
	User
	Session
	Server
	Connection
	Size      string   `json:"size,omitempty" class:"public"` // "80:25"; "" without a terminal
	Command   string   `json:"initial_command,omitempty" class:"sensitive"`
	Recording string   `json:"session_recording,omitempty" class:"public"` // recording mode in force
	Decision  Decision `json:"decision" class:"struct"`
	Gateway   *Gateway `json:"gateway,omitempty" class:"struct"` // nil without one
}

// Gateway is how a session came in. The certificate is the one that was shown to
// the proxy, which need not be the one that was used inside: it names the key
// that opened the gate, for those who ask which of a user's credentials it was.
type Gateway struct {
	ProxyID    string `json:"proxy_id,omitempty" class:"public"`
	CertSHA256 string `json:"cert_sha256,omitempty" class:"public"` // hex, over the DER
	Stream     string `json:"stream,omitempty" class:"public"`      // id of the dial, by which detach and attach are told
}

// SessionEnd closes a session. Every SessionStart has exactly one.
type SessionEnd struct {
	Meta
	User
	Session
	Server
	Connection
	Start             time.Time `json:"session_start" class:"public"`
	Stop              time.Time `json:"session_stop" class:"public"`
	Participants      []string  `json:"participants,omitempty" class:"sensitive"`
	Interactive       bool      `json:"interactive" class:"public"`
	EnhancedRecording bool      `json:"enhanced_recording" class:"public"`
	Recording         string    `json:"session_recording,omitempty" class:"public"`
	Reason            string    `json:"reason,omitempty" class:"public"` // client, exit, idle, expired, lock, shutdown, recording, crash …
}

// SessionJoin is somebody who joins a live session. User is who joins.
type SessionJoin struct {
	Meta
	User
	Session
	Server
	Connection
	Owner    string    `json:"session_owner" class:"sensitive"`
	Mode     string    `json:"mode" class:"public"` // observer, peer or moderator
	Decision *Decision `json:"decision,omitempty" class:"struct"`
}

// SessionLeave is the end of what SessionJoin began.
type SessionLeave struct {
	Meta
	User
	Session
	Server
	Connection
	Owner  string `json:"session_owner" class:"sensitive"`
	Mode   string `json:"mode" class:"public"`
	Reason string `json:"reason,omitempty" class:"public"` // left, end, lock, policy, slow
}

// SessionPause is a moderator who pauses a live session, or lets it go on. A pause
// that nobody ended ends with SessionLeave of that moderator.
type SessionPause struct {
	Meta
	User
	Session
	Server
	Connection
	Owner  string `json:"session_owner" class:"sensitive"`
	Paused bool   `json:"paused" class:"public"` // false: it goes on, where who must be present is
}

// SessionData counts the bytes of a session, as seen by the client.
type SessionData struct {
	Meta
	User
	Session
	Server
	Connection
	BytesTransmitted uint64 `json:"tx" class:"public"`
	BytesReceived    uint64 `json:"rx" class:"public"`
}

// SessionConnect is a proxy's dial to an agent.
type SessionConnect struct {
	Meta
	User
	Session
	Server
	Connection
	Status
	Kind    string `json:"resource_kind,omitempty" class:"public"`
	Carrier string `json:"carrier,omitempty" class:"public"` // tunnel, data, direct
	Stream  string `json:"stream,omitempty" class:"public"`  // id of the dial, shared by proxy and agent
}

// SessionRejected is a session refused by a limit, a lock or a role.
type SessionRejected struct {
	Meta
	User
	Server
	Connection
	Reason   string    `json:"reason" class:"public"`
	Maximum  int64     `json:"max,omitempty" class:"public"`
	Decision *Decision `json:"decision,omitempty" class:"struct"`
}

// SessionDetach is a session whose client lost its connection and may come back
// (CodeSessionDetach), or did not come back in time (CodeSessionDetachEnd).
type SessionDetach struct {
	Meta
	User
	Server
	Connection
	Stream  string `json:"stream" class:"public"` // as in the gateway of session.start
	ProxyID string `json:"proxy_id,omitempty" class:"public"`
	Gap     string `json:"gap,omitempty" class:"public"` // how long there was no connection, of CodeSessionDetachEnd
	Reason  string `json:"reason,omitempty" class:"public"`
}

// SessionAttach is a session that goes on over another connection
// (CodeSessionAttach), or somebody who was not let to it (CodeSessionAttachNo):
// the user is then who came through the gate.
type SessionAttach struct {
	Meta
	User
	Server
	Connection
	Status
	Stream  string `json:"stream" class:"public"`
	ProxyID string `json:"proxy_id,omitempty" class:"public"`
	Gap     string `json:"gap,omitempty" class:"public"`   // how long there was no connection
	Owner   string `json:"owner,omitempty" class:"public"` // of a refusal: whose stream it is
}

// Resize is a change of a session's terminal.
type Resize struct {
	Meta
	User
	Session
	Server
	Size string `json:"size" class:"public"` // "120:40"
}

// Exec is a command run without a shell session of its own, when it ended
// (CodeExec) or when it could not be run (CodeExecFail). A command that ran
// and returned non-zero is a CodeExec.
type Exec struct {
	Meta
	User
	Session
	Server
	Connection
	Command
}

// Subsystem is a request for an SSH subsystem.
type Subsystem struct {
	Meta
	User
	Session
	Server
	Connection
	Name      string `json:"name" class:"public"`
	ExitError string `json:"exitError,omitempty" class:"sensitive"`
}

// Port is a port forward that starts, stops or is refused.
type Port struct {
	Meta
	User
	Session
	Server
	Connection
	Status
	Addr      string `json:"addr" class:"sensitive"`                  // where it goes, or listens
	Direction string `json:"direction,omitempty" class:"public"`      // local (-L, -D), remote (-R)
	Sent      uint64 `json:"bytes_sent,omitempty" class:"public"`     // to Addr, on stop
	Received  uint64 `json:"bytes_received,omitempty" class:"public"` // from Addr, on stop
}

// AgentForward is a client's key agent made reachable on the host, or refused.
type AgentForward struct {
	Meta
	User
	Session
	Server
	Connection
	Status
}

// X11Forward is a display forward that starts or is refused.
type X11Forward struct {
	Meta
	User
	Session
	Server
	Connection
	Status
}

// ClientDisconnect is a live connection cut by the system.
type ClientDisconnect struct {
	Meta
	User
	Session
	Server
	Connection
	Reason string `json:"reason" class:"public"`         // idle, expired certificate, lock, policy …
	Lock   string `json:"lock,omitempty" class:"public"` // name of the lock, where one did it
}
