package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"time"

	"teleport/audit/chain"
	"teleport/types/event"
)

// openSessions are the sessions that a process has started and not ended, each
// as the end event it will need if the process dies. Every segment begins with
// those open at that moment, so that they are known also when the segment with
// their start is shipped and deleted.
type openSessions map[string]event.SessionEnd

// sessionChange is what one event does to the open sessions.
type sessionChange struct {
	sid string
	end *event.SessionEnd // nil: the session ended
}

// changeOf returns nil for an event that is neither a start nor an end.
func changeOf(e event.Event) *sessionChange {
	switch x := e.(type) {
	case *event.SessionStart:
		end := &event.SessionEnd{
			User: x.User, Session: x.Session, Server: x.Server, Connection: x.Connection,
			Start: x.Time, Stop: x.Time, Interactive: x.Size != "", Recording: x.Recording, Reason: "crash",
		}
		end.UserTraits, end.ServerLabels = maps.Clone(x.UserTraits), maps.Clone(x.ServerLabels) // the caller's own
		return &sessionChange{x.SessionID, end}
	case *event.SessionEnd:
		return &sessionChange{sid: x.SessionID}
	}
	return nil
}

func (o openSessions) apply(changes []sessionChange) {
	for _, c := range changes {
		if c.end == nil {
			delete(o, c.sid)
		} else {
			o[c.sid] = *c.end
		}
	}
}

// read takes a batch of an ended process into account.
func (o openSessions) read(codec *event.Codec, b chain.Batch) {
	for _, r := range b.Records {
		enc, err := event.ParseEncoded(r.Event)
		if err != nil {
			continue // auth has refused or taken it already
		}
		if bytes.Contains(enc.Public, []byte(`"event":"session.`)) {
			whole, err := enc.JSON()
			if err != nil {
				continue
			}
			if e, err := codec.Decode(whole); err == nil {
				if c := changeOf(e); c != nil {
					o.apply([]sessionChange{*c})
				}
			}
		}
		var m recordMeta
		if json.Unmarshal(enc.Public, &m) == nil {
			o.seen(m.SessionID, m.Time)
		}
	}
}

// seen moves the end of a session to its last sign of life.
func (o openSessions) seen(sid string, at time.Time) {
	if end, ok := o[sid]; ok && at.After(end.Stop) {
		end.Stop = at
		o[sid] = end
	}
}
