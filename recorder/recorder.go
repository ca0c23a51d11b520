// Package recorder is the place before the bytes: what a session shows passes a
// Recording first, and nothing reaches the person before the Recording has
// taken it. Where a cluster does not record, Off stands in the same place.
package recorder

import (
	"context"
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
	Identity  *types.Identity
	Start     time.Time
	Columns   int // of the terminal; zero without one
	Rows      int
}

// Recorder begins recordings. Start returns only when the recording can take
// its first byte; its error ends the session before it began, unless the policy
// is best effort, which is the recorder's to know.
type Recorder interface {
	Start(ctx context.Context, info Info) (Recording, error)
}

// Recording takes what one session shows, in order. Methods are called from one
// goroutine at a time. An error from Output means that the bytes are not
// recorded, and the caller must not show them.
type Recording interface {
	// Output takes bytes on their way to the person. It must not keep p.
	Output(p []byte) error
	// Resize takes a change of the terminal's size.
	Resize(columns, rows int) error
	// Event takes anything else, as its audit JSON.
	Event(json []byte) error
	// Close ends the recording and returns once what was taken is safe.
	Close() error
}

// Mode is the recording mode that is true of sessions of a recorder where the
// cluster's settings ask for wanted.
func Mode(r Recorder, wanted string) string {
	if _, off := r.(Off); off {
		return "off"
	}
	return wanted
}

// Off records nothing. It is the recorder of clusters whose mode is "off".
type Off struct{}

var _ Recorder = Off{}

// Start returns a Recording that takes everything and keeps nothing.
func (Off) Start(context.Context, Info) (Recording, error) { return offRecording{}, nil }

type offRecording struct{}

func (offRecording) Output([]byte) error   { return nil }
func (offRecording) Resize(int, int) error { return nil }
func (offRecording) Event([]byte) error    { return nil }
func (offRecording) Close() error          { return nil }
