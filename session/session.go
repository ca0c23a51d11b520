// Package session is the registry of live streams of one process, whatever
// their protocol: each stands in it with what a lock could name, is decided
// again whenever policy changes, and is cut when the answer is no, when its
// certificate ends, or when nothing has moved for too long. Draining waits here
// for the streams that are still in use.
package session

import (
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
)

// Info is what the registry knows of a live stream. It is fixed at Add.
type Info struct {
	ID       string // unique in the process; a UUID
	Kind     string // ssh, tunnel, db, app, kube, desktop
	User     string
	Cluster  string // the user's
	Roles    []string
	Login    string
	Resource string // kind/name of what is used
	// Session is the id of the live session that the stream is, or watches: what a
	// lock on a session names. Only such locks are held against it: all others are
	// held against the stream that it is Within, which carries it.
	Session string
	Within  string
	// HostIDs are the UUIDs that a server_id lock may name: the agent's, and
	// that of the process which minted or carries the identity.
	HostIDs        []string
	MFADevice      string
	DeviceID       string
	AccessRequests []string
	ClientAddr     string
	Identity       *types.Identity
	Limits         access.Limits
	Start          time.Time
	// Decide makes the decision again from the policy of now. It is called from
	// the registry's goroutine and must not block. Nil is never asked again.
	Decide func(now time.Time) access.Decision
	// LimitsChanged is called after a new decision has changed the limits. It must
	// not block. Optional.
	LimitsChanged func()
	// IdleMessage is what the person is told after an idle timeout. Optional.
	IdleMessage string
}

// Reason codes of a cut, found with CutReason.
const (
	CutLocked  = "locked"
	CutPolicy  = "policy"
	CutExpired = "expired_cert"
	CutIdle    = "idle"
	CutDrain   = "drain"
	// CutConnections: there are more connections than max_connections allows.
	CutConnections = "max_connections"
	// Cuts of one session alone, not of its connection.
	CutAttendance = "attendance" // somebody who must be present left
	CutModerator  = "moderator"  // a moderator ended it
)

// ended are the reasons of cuts as they stand in events.
var ended = map[string]string{
	CutLocked: "lock", CutPolicy: "policy", CutExpired: "expired certificate", CutIdle: "idle", CutDrain: "shutdown",
	CutConnections: "max_connections",
}

// EndReason is what events say of a stream that was cut for err; "" when err is
// no cut of a whole connection.
func EndReason(err error) string { return ended[CutReason(err)] }

// CutError is why a stream was cut. It is a fault of kind Denied to the person.
type CutError struct {
	Code string
	err  *fault.Error
}

func cut(code, format string, args ...any) *CutError {
	return &CutError{Code: code, err: fault.New(fault.Denied, format, args...)}
}

// Error is the line that the person may see.
func (c *CutError) Error() string { return c.err.Message }

// Unwrap returns the fault.
func (c *CutError) Unwrap() error { return c.err }

// EndedByModerator is the end that a moderator makes.
func EndedByModerator(user string) *CutError {
	return cut(CutModerator, "the session was ended by the moderator %s", user)
}

// Snapshot is one live stream as status pages and tests see it.
type Snapshot struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	User       string    `json:"user"`
	Login      string    `json:"login,omitempty"`
	Resource   string    `json:"resource,omitempty"`
	ClientAddr string    `json:"client_addr,omitempty"`
	Start      time.Time `json:"start"`
	LastActive time.Time `json:"last_active"`
	Deadline   time.Time `json:"deadline,omitzero"`
}
