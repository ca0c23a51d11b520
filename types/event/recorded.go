package event

// RecordedIn names the session, or the connection, whose recordings an
// event belongs into. Joins, leaves and pauses are told by who serves them.
func RecordedIn(e Event) (id string, ok bool) {
	switch e := e.(type) {
	case *Exec:
		return e.SessionID, true
	case *Subsystem:
		return e.SessionID, true
	case *SCP:
		return e.SessionID, true
	case *SFTP:
		return e.SessionID, true
	case *SFTPSummary:
		return e.SessionID, true
	case *Port:
		return e.SessionID, true
	case *AgentForward:
		return e.SessionID, true
	}
	return "", false
}
