package member

import (
	"time"

	"teleport/api/gen/presencev1"
)

const (
	// gather is how long changes of sessions are collected before they are told: a
	// command that takes no time never reaches the cluster's store.
	gather = 250 * time.Millisecond
	// tellMost bounds the documents, and the ends, of one message.
	tellMost = 64
)

// sessionsChanged is the feed's channel, once the auth service listens to it.
func (s *controlSession) sessionsChanged() <-chan struct{} {
	if s.a.sessions == nil || !s.welcomed {
		return nil
	}
	return s.a.sessions.Changed()
}

// tellAllSessions begins a stream: the auth service may know nothing, or things
// that have ended since.
func (s *controlSession) tellAllSessions() error {
	if s.a.sessions == nil {
		return nil
	}
	return s.sendInParts(s.a.sessions.All(), nil, true)
}

// gatherSessions makes the first change wait for those that follow it.
func (s *controlSession) gatherSessions() {
	if !s.gathering {
		s.gathering = true
		s.telling.Reset(gather)
	}
}

func (s *controlSession) tellSessions() error {
	s.gathering = false
	docs, ended := s.a.sessions.Take()
	return s.sendInParts(docs, ended, false)
}

func (s *controlSession) sendInParts(docs [][]byte, ended []string, whole bool) error {
	for len(docs) > 0 || len(ended) > 0 || whole {
		m := &presencev1.Sessions{}
		m.Trackers, docs = docs[:min(tellMost, len(docs))], docs[min(tellMost, len(docs)):]
		m.Ended, ended = ended[:min(tellMost, len(ended))], ended[min(tellMost, len(ended)):]
		if whole && len(docs) == 0 {
			m.Last, whole = true, false
		}
		if err := s.sendSessions(m); err != nil {
			return err
		}
	}
	return nil
}

func (s *controlSession) sendSessions(m *presencev1.Sessions) error {
	return s.stream.Send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Sessions{Sessions: m}})
}
