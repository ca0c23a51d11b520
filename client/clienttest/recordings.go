package clienttest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/recordingv1"
	"teleport/api/gen/recordingv1/recordingv1connect"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/predicate"
	"teleport/recfmt"
	"teleport/screen"
)

// Recordings is an auth service's recordings, as one caller sees them: kept in the
// form in which they are stored, without encryption. It lists, plays, gives and
// searches them. Safe for concurrent use.
type Recordings struct {
	recordingv1connect.UnimplementedRecordingServiceHandler
	mu     sync.Mutex
	list   []kept
	refuse error
}

type kept struct {
	about   *recordingv1.Recording
	info    recfmt.Info
	records []recfmt.Record
	data    []byte
}

// Handler serves the API.
func (r *Recordings) Handler() (path string, h http.Handler) {
	return recordingv1connect.NewRecordingServiceHandler(r)
}

// Refuse makes every call end with err; nil ends that.
func (r *Recordings) Refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

// Add keeps a recording of what was shown, a second apart, and returns its stored
// bytes. state is that of lists.
func (r *Recordings) Add(t testing.TB, info recfmt.Info, state string, shown ...string) []byte {
	t.Helper()
	return r.add(t, info, state, recfmt.RecordOutput, shown)
}

// AddEvents keeps a recording of events, as JSON, a second apart.
func (r *Recordings) AddEvents(t testing.TB, info recfmt.Info, state string, events ...string) {
	t.Helper()
	r.add(t, info, state, recfmt.RecordEvent, events)
}

func (r *Recordings) add(t testing.TB, info recfmt.Info, state string, typ recfmt.RecordType, data []string) []byte {
	t.Helper()
	k := kept{info: info}
	e, stored, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: info.SessionID, Kind: info.Kind, Cluster: info.Cluster,
		HostID: info.HostID, Generation: 1, Start: info.Start}})
	if err != nil {
		t.Fatal(err)
	}
	head, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	k.records = append(k.records, recfmt.Record{Type: recfmt.RecordInfo, Data: head})
	for i, s := range data {
		k.records = append(k.records, recfmt.Record{Type: typ, At: time.Duration(i+1) * time.Second, Data: []byte(s)})
	}
	for _, rec := range k.records {
		if err := e.Add(rec); err != nil {
			t.Fatal(err)
		}
		stored = e.Chunk(stored)
	}
	k.data = e.Finish(stored, recfmt.EndSession)
	k.about = &recordingv1.Recording{SessionId: info.SessionID, Kind: info.Kind, User: info.User, Login: info.Login, HostId: info.HostID, Hostname: info.Hostname, Resource: info.Resource,
		StartUnixNano: info.Start.UnixNano(), DurationNano: int64(len(data)) * int64(time.Second), Size: int64(len(k.data)), State: state, Interactive: info.Columns > 0}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, k)
	slices.SortFunc(r.list, func(a, b kept) int { return cmp.Compare(b.about.StartUnixNano, a.about.StartUnixNano) })
	return k.data
}

// found returns the recordings that fit, the newest first.
func (r *Recordings) found(from, to int64, user, host string) ([]kept, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return nil, rpc.ToWire(r.refuse)
	}
	var list []kept
	for _, k := range r.list {
		a := k.about
		if a.StartUnixNano >= from && (to == 0 || a.StartUnixNano < to) && (user == "" || a.User == user) && (host == "" || a.HostId == host || a.Hostname == host) {
			list = append(list, k)
		}
	}
	return list, nil
}

func (r *Recordings) get(id string) (kept, error) {
	list, err := r.found(0, 0, "", "")
	if err != nil {
		return kept{}, err
	}
	for _, k := range list {
		if k.about.SessionId == id {
			return k, nil
		}
	}
	return kept{}, rpc.ToWire(fault.New(fault.NotFound, "there is no recording of the session %.60q that you may read", id))
}

// List implements the service, with pages of two.
func (r *Recordings) List(_ context.Context, req *connect.Request[recordingv1.ListRequest]) (*connect.Response[recordingv1.ListResponse], error) {
	m := req.Msg
	list, err := r.found(m.FromUnixNano, m.ToUnixNano, m.User, m.Host)
	if err == nil {
		list, err = queried(list, m.Query)
	}
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(list, func(k kept) bool { return k.about.SessionId == m.PageToken }); i >= 0 {
		list = list[i:]
	}
	resp := &recordingv1.ListResponse{}
	for i, k := range list {
		if i == 2 || m.Limit > 0 && i == int(m.Limit) {
			resp.NextPageToken = k.about.SessionId
			break
		}
		resp.Recordings = append(resp.Recordings, k.about)
	}
	return connect.NewResponse(resp), nil
}

// queried keeps what an expression is true of.
func queried(list []kept, query string) ([]kept, error) {
	if query == "" {
		return list, nil
	}
	p, err := predicate.Compile(predicate.Query(), query)
	if err != nil {
		return nil, rpc.ToWire(err)
	}
	return slices.DeleteFunc(list, func(k kept) bool {
		ok, evalErr := p.Eval(predicate.Vars{"name": k.about.SessionId, "resource": map[string]string{"user": k.about.User, "hostname": k.about.Hostname}})
		if evalErr != nil {
			err = rpc.ToWire(evalErr)
		}
		return !ok
	}), err
}

// Play implements the service.
func (r *Recordings) Play(_ context.Context, req *connect.Request[recordingv1.PlayRequest], out *connect.ServerStream[recordingv1.PlayResponse]) error {
	k, err := r.get(req.Msg.SessionId)
	if err != nil {
		return err
	}
	head, err := json.Marshal(k.info)
	if err != nil {
		return err
	}
	if err := out.Send(&recordingv1.PlayResponse{Info: head, DurationNano: k.about.DurationNano, Unfinished: k.about.State == "arriving"}); err != nil {
		return err
	}
	for _, rec := range k.records {
		m := &recordingv1.Record{Type: uint32(rec.Type), AtNano: int64(rec.At), Data: rec.Data}
		if err := out.Send(&recordingv1.PlayResponse{Records: []*recordingv1.Record{m}}); err != nil {
			return err
		}
	}
	return nil
}

// Fetch implements the service, in small pieces.
func (r *Recordings) Fetch(_ context.Context, req *connect.Request[recordingv1.FetchRequest], out *connect.ServerStream[recordingv1.FetchResponse]) error {
	k, err := r.get(req.Msg.SessionId)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(k.data[min(req.Msg.Offset, uint64(len(k.data))):], 100) {
		if err := out.Send(&recordingv1.FetchResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

// Search implements the service, by a terminal over each recording.
func (r *Recordings) Search(_ context.Context, req *connect.Request[recordingv1.SearchRequest], out *connect.ServerStream[recordingv1.SearchResponse]) error {
	m := req.Msg
	list, err := r.found(m.FromUnixNano, m.ToUnixNano, m.User, "")
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.about.State != "stored" {
			continue
		}
		if hits := k.hits(m.Text); len(hits) > 0 {
			if err := out.Send(&recordingv1.SearchResponse{Recording: k.about, Hits: hits}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k kept) hits(text string) (hits []*recordingv1.Hit) {
	s := screen.New(max(k.info.Columns, 20), max(k.info.Rows, 5))
	s.Watch(func(l screen.Line) {
		if i := strings.Index(string(l.Text), text); i >= 0 {
			row, column := l.Place(i)
			hits = append(hits, &recordingv1.Hit{AtNano: int64(l.At), Row: int32(row), Column: int32(column), Line: string(l.Text)})
		}
	})
	for _, rec := range k.records {
		if s.At(rec.At); rec.Type == recfmt.RecordOutput {
			_, _ = s.Write(rec.Data) // it never fails
			s.Settle()
		}
	}
	s.Flush()
	return hits
}
