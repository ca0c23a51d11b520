// Package recorder is the place before the bytes: what a session shows passes a
// Recording first, and nothing reaches the person before the Recording has
// taken it. Sessions records into a Spool on this host's disk, which ships to
// the auth service while the sessions run and deletes what is stored there.
// Where a cluster does not record, Off stands in the same place.
package recorder

import (
	"context"
	"strings"
	"time"

	"teleport/types"
)

// Info describes the session that a recording is of.
type Info struct {
	SessionID string
	Kind      string // ssh, db, app, desktop, kube
	User      string
	Login     string
	HostID    string
	Hostname  string
	Resource  string // used through the host: a database; "" where it is the host itself
	Identity  *types.Identity
	Start     time.Time
	Command   string // "" for a shell
	Term      string
	Columns   int // of the terminal; zero without one
	Rows      int
	// Strict ends the session when it cannot be recorded. Otherwise it goes on,
	// and the audit log and the recording's next part say what is missing.
	Strict bool
}

// Stream tells what is shown apart.
type Stream int

// The streams of a session. A terminal has only Output.
const (
	Output Stream = iota
	Errors
)

// Recorder begins recordings. Safe for concurrent use.
type Recorder interface {
	// Mode is the recording mode that is true of sessions that begin now: node,
	// node-sync, proxy, proxy-sync or off.
	Mode() string
	// Start returns when the recording can take its first byte. Its error ends the
	// session before it began; with best effort there is none but what ctx says.
	Start(ctx context.Context, info Info) (Recording, error)
}

// Recording takes what one session shows, in order. Safe for concurrent use. An
// error means that the bytes are not recorded and that the caller must not show
// them, and must end the session: with best effort there is none.
type Recording interface {
	// Mode is the recording mode that is true of this session.
	Mode() string
	// Show takes bytes on their way to the person. It does not keep p.
	Show(s Stream, p []byte) error
	// Resize takes a change of the terminal's size.
	Resize(columns, rows int) error
	// Event takes anything else that belongs into the recording, each as audit JSON.
	// It does not keep them.
	Event(json ...[]byte) error
	// Close ends the recording and returns once what was taken is safe.
	Close() error
}

// Waits reports whether Show waits for the auth service in this mode. Then it is
// best called with all that there is to show.
func Waits(mode string) bool { return strings.HasSuffix(mode, syncSuffix) }

const syncSuffix = "-sync"

// Off records nothing. It is the recorder of clusters whose mode is "off".
type Off struct{}

var _ Recorder = Off{}

// Mode implements Recorder.
func (Off) Mode() string { return "off" }

// Start returns a Recording that takes everything and keeps nothing.
func (Off) Start(context.Context, Info) (Recording, error) { return offRecording{}, nil }

type offRecording struct{}

func (offRecording) Mode() string              { return "off" }
func (offRecording) Show(Stream, []byte) error { return nil }
func (offRecording) Resize(int, int) error     { return nil }
func (offRecording) Event(...[]byte) error     { return nil }
func (offRecording) Close() error              { return nil }
