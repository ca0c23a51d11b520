package event

// Types and codes about stored recordings.
const (
	TypeSessionUpload   = "session.upload"
	CodeSessionUpload   = "T2005I"
	TypeRecordingAccess = "session.recording.access"
	CodeRecordingAccess = "T2012I"
)

// SessionUpload is a recording that the storage has confirmed. Whoever has the
// stored bytes proves them against it, without a key. A recording that its agent
// continued after it was closed as abandoned has a second one, which replaces
// the first.
type SessionUpload struct {
	Meta
	Session
	Server        // the process that recorded
	Kind   string `json:"session_kind,omitempty" class:"public"` // ssh, db, app, kube, desktop
	Size   int64  `json:"size" class:"public"`                   // bytes
	SHA256 string `json:"sha256" class:"public"`                 // of all bytes, hex
	Head   string `json:"head" class:"public"`                   // the last link of the recording's chain, hex
	Chunks uint64 `json:"chunks" class:"public"`
	Reason string `json:"reason" class:"public"` // session, abandoned, broken
	URL    string `json:"url" class:"public"`    // where it is stored
	// ClosedByAuth says that its agent was gone and the auth service wrote the end.
	ClosedByAuth bool `json:"closed_by_auth,omitempty" class:"public"`
}

// RecordingAccess is somebody reading recordings. It is emitted before the first
// byte flows.
type RecordingAccess struct {
	Meta
	User
	Connection
	Session
	Action string `json:"action" class:"public"`            // play, fetch, search
	Text   string `json:"text,omitempty" class:"sensitive"` // that was searched for
}
