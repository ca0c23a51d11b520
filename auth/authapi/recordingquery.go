package authapi

import (
	"time"

	"teleport/auth/recordings"
	"teleport/fault"
	"teleport/predicate"
)

// recordingQuery is an expression over recordings: it narrows a list of those that
// the caller may see.
type recordingQuery struct {
	program *predicate.Program // nil: everything matches
	failed  error              // the first; nothing matches from then on
}

func newRecordingQuery(src string) (*recordingQuery, error) {
	q := &recordingQuery{}
	if src == "" {
		return q, nil
	}
	if len(src) > maxFilterText {
		return nil, fault.New(fault.Limit, "the filter is too long")
	}
	var err error
	q.program, err = predicate.Compile(predicate.Query(), src)
	return q, err
}

func (q *recordingQuery) match(m *recordings.Meta) bool {
	if q.program == nil || q.failed != nil {
		return q.failed == nil
	}
	ok, err := q.program.Eval(predicate.Vars{"name": m.SessionID, "labels": map[string]string{}, "resource": queried(m)})
	if err != nil {
		q.failed = fault.Wrap(err, fault.Invalid, "the query %v", err)
	}
	return ok && err == nil
}

// queriedRecording is what a query sees of a recording: what lists show of it, by
// the same names.
type queriedRecording struct {
	SessionID    string    `json:"session_id"`
	Kind         string    `json:"kind"`
	User         string    `json:"user"`
	Login        string    `json:"login"`
	Participants []string  `json:"participants"`
	HostID       string    `json:"host_id"`
	Hostname     string    `json:"hostname"`
	Resource     string    `json:"resource"`
	Start        time.Time `json:"start"`
	Duration     float64   `json:"duration"`
	Size         int64     `json:"size"`
	State        string    `json:"state"`
	Interactive  bool      `json:"interactive"`
}

func queried(m *recordings.Meta) queriedRecording {
	return queriedRecording{m.SessionID, m.Kind, m.Info.User, m.Info.Login, m.Participants, m.HostID, m.Info.Hostname, m.Info.Resource,
		m.Start, m.Duration.Seconds(), m.Size, m.State(), m.Info.Columns > 0}
}
