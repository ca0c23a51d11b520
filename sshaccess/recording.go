package sshaccess

import (
	"encoding/json"
	"errors"
	"syscall"

	"teleport/fault"
	"teleport/recorder"
	"teleport/types/event"
)

// record puts an event that the audit log has taken into the recording of its
// session. What a connection does beside its sessions is in all that it has.
func (cn *conn) record(e event.Event) error {
	id, ok := event.RecordedIn(e)
	if !ok {
		return nil
	}
	cn.mu.Lock()
	var to []*channel
	for s := range cn.sessions {
		if s.id == id || cn.id == id {
			to = append(to, s)
		}
	}
	cn.mu.Unlock()
	if len(to) == 0 {
		return nil
	}
	text, err := json.Marshal(e)
	for _, s := range to {
		err = errors.Join(err, s.rec.Event(text))
	}
	if err != nil {
		cn.svc.cfg.Log.Error("an event could not be recorded", "event", e.EventMeta().Type, "error", err)
	}
	return fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
}

// recorded passes output through the recorder. A session that cannot be
// recorded ends, and the person is told why.
func (s *channel) recorded(stream recorder.Stream, p []byte) bool {
	err := s.rec.Show(stream, p)
	if err == nil {
		return true
	}
	if s.unrecorded.CompareAndSwap(false, true) {
		s.cn.svc.cfg.Log.Error("session ended, as it could not be recorded", "session", s.id, "error", err)
		s.say("\r\nThe session ends: " + fault.Message(err) + "\r\n")
	}
	s.proc.Signal(syscall.SIGKILL) //nolint:errcheck // gone already is fine
	return false
}

// endedBy is the reason of a session's end for the audit log.
func (s *channel) endedBy(reason string) string {
	if s.unrecorded.Load() {
		return "recording"
	}
	return s.cn.endReason(reason)
}
