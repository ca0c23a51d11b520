package assembly

import (
	"encoding/json"
	"io"
	"net/netip"
	"testing"
	"time"

	"teleport/config"
	"teleport/fault"
	"teleport/resume"
	"teleport/types"
)

// A session without a connection is kept for ten minutes where nothing else is said.
func TestDetachedSessionsLiveTenMinutes(t *testing.T) {
	c, err := config.Build(nil, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{cfg: c}
	if s := p.streams(""); s.Timeout != 10*time.Minute {
		t.Errorf("it is kept for %s", s.Timeout)
	}
}

// What happens to a stream is an event of its owner, and an attempt of somebody
// else one of theirs.
func TestEventsOfStreams(t *testing.T) {
	stream := &resume.Stream{ID: "5eed", Identity: &types.Identity{Name: "alice", Cluster: "main", Authority: types.Authority{Roles: []string{"dev"}}}}
	from := resume.Party{User: "alice", Cluster: "main", Client: netip.MustParseAddrPort("192.0.2.1:4000"), Proxy: "p1"}
	mallory := from
	mallory.User = "mallory"
	for name, c := range map[string]struct {
		notice resume.Notice
		want   map[string]any
	}{
		"it lost its connection": {resume.Notice{What: resume.Detached, From: from, Err: fault.New(fault.Timeout, "nothing was heard for 30s")},
			map[string]any{"event": "session.detach", "code": "TXS02I", "user": "alice", "reason": "nothing was heard for 30s", "gap": nil}},
		"its connection broke off": {resume.Notice{What: resume.Detached, From: from, Err: io.ErrUnexpectedEOF},
			map[string]any{"event": "session.detach", "code": "TXS02I", "user": "alice", "reason": "its connection broke off", "gap": nil}},
		"its client did not come back": {resume.Notice{What: resume.Expired, From: from, Gap: 10*time.Minute + 400*time.Microsecond},
			map[string]any{"event": "session.detach", "code": "TXS02W", "user": "alice", "gap": "10m0s", "reason": nil}},
		"it goes on": {resume.Notice{What: resume.Attached, From: from, Gap: 1500 * time.Millisecond},
			map[string]any{"event": "session.attach", "code": "TXS03I", "user": "alice", "gap": "1.5s", "owner": nil}},
		"somebody was refused": {resume.Notice{What: resume.Refused, From: mallory, Err: fault.New(fault.Denied, "the stream belongs to somebody else")},
			map[string]any{"event": "session.attach", "code": "TXS03W", "user": "mallory", "owner": "alice", "error": "the stream belongs to somebody else"}},
	} {
		c.notice.Stream = stream
		b, err := json.Marshal(streamEvent(c.notice, "uuid-1", "web-1"))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		c.want["stream"], c.want["proxy_id"], c.want["addr.remote"], c.want["server_id"], c.want["server_hostname"] = "5eed", "p1", "192.0.2.1:4000", "uuid-1", "web-1"
		for k, v := range c.want {
			if got[k] != v {
				t.Errorf("%s: %s is %v, want %v", name, k, got[k], v)
			}
		}
	}
}
