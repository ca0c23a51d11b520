package sshserver

// BridgedSession is the payload of the session channels that a proxy opens at a
// node for a user whose SSH it ends. Only a connection with a bridge certificate
// may have one.
type BridgedSession struct {
	ID        string // UUID of the session, in the log and of its recording
	Recording string // the mode that is true of it: proxy, proxy-sync or off
}

// RecordedEvent is the channel request by which a node hands the proxy an event
// that belongs into the recording of a session: audit JSON, no reply.
const RecordedEvent = "recorded-event@teleport"

// MaxRecordedEvent bounds the payload of a RecordedEvent.
const MaxRecordedEvent = 64 << 10
