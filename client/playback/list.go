package playback

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"teleport/api/gen/recordingv1"
)

// Lister finds recordings.
type Lister interface {
	ListRecordings(ctx context.Context, req *recordingv1.ListRequest) (*recordingv1.ListResponse, error)
}

// Entry is a recording as lists show it.
type Entry struct {
	SessionID    string    `json:"session_id"`
	Kind         string    `json:"kind"`
	User         string    `json:"user"`
	Login        string    `json:"login,omitempty"`
	Participants []string  `json:"participants,omitempty"`
	HostID       string    `json:"host_id"`
	Hostname     string    `json:"hostname"`
	Resource     string    `json:"resource,omitempty"` // a database; "" where the host itself was used
	Start        time.Time `json:"start"`
	Duration     float64   `json:"duration"` // seconds
	Size         int64     `json:"size"`
	State        string    `json:"state"` // stored, arriving, abandoned, broken
	Interactive  bool      `json:"interactive"`
}

// EntryOf reads what the API says of a recording.
func EntryOf(r *recordingv1.Recording) Entry {
	return Entry{SessionID: r.SessionId, Kind: r.Kind, User: r.User, Login: r.Login, Participants: r.Participants, HostID: r.HostId, Hostname: r.Hostname, Resource: r.Resource,
		Start: time.Unix(0, r.StartUnixNano).UTC(), Duration: time.Duration(r.DurationNano).Seconds(), Size: r.Size, State: r.State, Interactive: r.Interactive}
}

// Where is who one was, and on what: root@web-1, or alice@orders of a database.
func (e Entry) Where() string { return e.Login + "@" + cmp.Or(e.Resource, e.Hostname) }

// Long is the duration as people read it: 0:42, 1:02:03.
func (e Entry) Long() string { return Clock(time.Duration(e.Duration * float64(time.Second))) }

// Clock writes a place in a recording as 1:02 or 1:02:03.
func Clock(d time.Duration) string {
	s := int(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// List returns recordings, the newest first, at most limit, and whether there
// are more.
func List(ctx context.Context, api Lister, req *recordingv1.ListRequest, limit int) (list []Entry, more bool, err error) {
	list = []Entry{}
	for {
		req.Limit = int32(min(limit-len(list), 1000))
		resp, err := api.ListRecordings(ctx, req)
		if err != nil {
			return nil, false, err
		}
		for _, r := range resp.Recordings {
			list = append(list, EntryOf(r))
		}
		if resp.NextPageToken == "" || len(list) >= limit {
			return list, resp.NextPageToken != "", nil
		}
		req.PageToken = resp.NextPageToken
	}
}
