package tshcmd_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"teleport/types"
)

// TestLiveSessionsAreListed, the oldest first, in each format; and what cannot be
// joined is refused in words that say why.
func TestLiveSessionsAreListed(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	for format, want := range map[string]string{"text": "", "names": "", "json": "[]\n", "yaml": "[]\n"} {
		r := w.tsh("", "sessions", "ls", "--format="+format)
		if r.code != 0 || r.out != want || (r.err != "") != (format == "text") {
			t.Errorf("none, as %s: %+v", format, r)
		}
	}
	tracker := func(n int, kind, sub string) *types.SessionTracker {
		s := session(n, "")
		doc := &types.SessionTracker{Header: types.Header{Kind: types.KindSessionTracker, Version: "v1", Metadata: types.Metadata{Name: s.SessionID}}}
		doc.Spec = types.SessionTrackerSpec{State: "running", Kind: kind, User: "alice", Login: "root", HostID: s.HostID, Hostname: "web-\x1b[2J1", SubKind: sub,
			Created: s.Start, Reason: "INC-7", Participants: []types.Participant{{User: "alice", Mode: "peer"}, {User: "bob", Mode: "observer"}}}
		return doc
	}
	w.trackers = []*types.SessionTracker{tracker(1, "ssh", ""), tracker(3, "ssh", types.SubKindOpenSSH), tracker(2, "db", "")}
	first, second, third := session(3, "").SessionID, session(2, "").SessionID, session(1, "").SessionID
	if r := w.tsh("", "sessions", "ls", "--format=names"); r.code != 0 || r.out != first+"\n"+second+"\n"+third+"\n" {
		t.Errorf("names: %+v", r)
	}
	r := w.tsh("", "sessions", "ls", "--kind=ssh")
	lines := strings.Split(r.out, "\n")
	if r.code != 0 || len(lines) != 5 || strings.Contains(r.out, "\x1b") || strings.Join(strings.Fields(lines[2]), " ") !=
		first+` ssh running root@web-\x1b[2J1 `+session(3, "").Start.Local().Format("2006-01-02 15:04")+" alice alice,bob INC-7" {
		t.Errorf("of SSH: %+v", r)
	}
	var list []struct {
		Spec struct {
			SubKind string    `json:"server_sub_kind"`
			Created time.Time `json:"created"`
		}
	}
	if r := w.tsh("", "sessions", "ls", "--format=json"); json.Unmarshal([]byte(r.out), &list) != nil || len(list) != 3 || list[0].Spec.SubKind != "openssh" || list[0].Spec.Created.IsZero() {
		t.Errorf("json: %+v", r)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"sessions", "ls", "--kind=shh"}, 2, "kinds are: ssh"},
		{[]string{"sessions", "ls", "--format=xml"}, 2, "formats: "},
		{[]string{"join", first}, 255, "sessions on a server without an agent cannot be joined"},
		{[]string{"join", first[:8]}, 255, "sessions on a server without an agent cannot be joined"},
		{[]string{"join", "nothing"}, 255, `there is no live session "nothing" that you may join`},
		{[]string{"join", "--mode=boss", first}, 255, "join as observer, moderator or peer"},
	} {
		if r := w.tsh("", c.args...); r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	w.trackers = append(w.trackers, tracker(1, "ssh", ""))
	w.trackers[3].Metadata.Name = strings.Replace(third, "0000", "0001", 1)
	if r := w.tsh("", "join", third[:8]); r.code != 255 || !strings.Contains(r.err, "the ids of 2 live sessions begin with") {
		t.Errorf("ambiguous: %+v", r)
	}
}
