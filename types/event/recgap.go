package event

import "time"

// Types and codes about recordings on the host that makes them.
const (
	TypeRecordingGap    = "session.recording.gap"
	CodeRecordingGap    = "TXR01W" // it begins
	CodeRecordingGapEnd = "TXR02W"
	TypeRecordingBroken = "session.recording.broken"
	CodeRecordingBroken = "TXR03E"
)

// RecordingGap is a stretch of a session that best effort let go on unrecorded:
// one event when it begins, before anything is shown, one when it ends.
type RecordingGap struct {
	Meta
	User
	Session
	Server
	Kind   string    `json:"session_kind,omitempty" class:"public"`
	Reason string    `json:"reason" class:"public"` // disk_full, quota, disk, no_key
	Since  time.Time `json:"since" class:"public"`
	Until  time.Time `json:"until,omitzero" class:"public"`
	Bytes  uint64    `json:"bytes" class:"public"`            // of output, not recorded
	Events uint64    `json:"events,omitempty" class:"public"` // resizes and others
}

// RecordingBroken is a recording that was found damaged on its host, or that the
// auth service refuses. Its files are kept there; the good part before the damage
// was stored where Stored says so.
type RecordingBroken struct {
	Meta
	Session
	Server
	File   string `json:"file" class:"public"`
	Reason string `json:"reason" class:"public"`
	Size   int64  `json:"size" class:"public"`
	Good   int64  `json:"good_bytes" class:"public"` // before the damage
	Stored bool   `json:"stored" class:"public"`
}
