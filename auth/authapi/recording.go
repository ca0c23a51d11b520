package authapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/recordingv1"
	"teleport/api/rpc"
	"teleport/auth/recordings"
	"teleport/fault"
	"teleport/recfmt"
	"teleport/types"
	"teleport/types/event"
)

// kindSession is what rules call recordings.
const kindSession = "session"

// Bounds of one message of a playback or a fetch, and of a search.
const (
	playBytes     = 256 << 10
	fetchBytes    = 256 << 10
	maxSearchText = 256
)

type recordingService struct{ a *API }

// ready refuses where this auth service keeps no recordings.
func (s recordingService) ready() (*recordings.Service, error) {
	if s.a.d.Recordings == nil {
		return nil, fault.New(fault.Unavailable, "this auth service keeps no recordings")
	}
	return s.a.d.Recordings, nil
}

// Append takes bytes of the caller's own recording: whose it is stands in its
// segments, and is compared with the caller's certificate.
func (s recordingService) Append(ctx context.Context, req *connect.Request[recordingv1.AppendRequest]) (*connect.Response[recordingv1.AppendResponse], error) {
	r, err := s.ready()
	if err != nil {
		return nil, err
	}
	m, take := req.Msg, r.Append
	if m.Last {
		take = r.Finish
	}
	held, err := take(ctx, rpc.CallerFrom(ctx).Identity.Name, m.SessionId, m.Offset, m.Data)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&recordingv1.AppendResponse{Held: held, Stored: m.Last}), nil
}

// Held tells the caller how far its own recording has come.
func (s recordingService) Held(ctx context.Context, req *connect.Request[recordingv1.HeldRequest]) (*connect.Response[recordingv1.HeldResponse], error) {
	r, err := s.ready()
	if err != nil {
		return nil, err
	}
	held, stored, err := r.Held(ctx, rpc.CallerFrom(ctx).Identity.Name, req.Msg.SessionId)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&recordingv1.HeldResponse{Held: held, Stored: stored}), nil
}

// Complete stores the caller's own recording.
func (s recordingService) Complete(ctx context.Context, req *connect.Request[recordingv1.CompleteRequest]) (*connect.Response[recordingv1.CompleteResponse], error) {
	r, err := s.ready()
	if err != nil {
		return nil, err
	}
	if err := r.Complete(ctx, rpc.CallerFrom(ctx).Identity.Name, req.Msg.SessionId, req.Msg.Size); err != nil {
		return nil, err
	}
	return connect.NewResponse(&recordingv1.CompleteResponse{}), nil
}

// List returns one page of the recordings that the caller may see.
func (s recordingService) List(ctx context.Context, req *connect.Request[recordingv1.ListRequest]) (*connect.Response[recordingv1.ListResponse], error) {
	m := req.Msg
	see, err := s.a.recordingsFor(ctx, rpc.CallerFrom(ctx), types.VerbList)
	if err != nil {
		return nil, err
	}
	r, err := s.ready()
	if err != nil {
		return nil, err
	}
	q, err := newRecordingQuery(m.Query)
	if err != nil {
		return nil, err
	}
	page, next, err := r.List(ctx, recordings.Query{From: moment(m.FromUnixNano), To: moment(m.ToUnixNano), User: m.User, Host: m.Host,
		Limit: int(m.Limit), Page: m.PageToken, See: func(m *recordings.Meta) bool { return see(m) && q.match(m) }})
	if err = cmp.Or(err, q.failed); err != nil {
		return nil, err
	}
	resp := &recordingv1.ListResponse{NextPageToken: next}
	for _, rec := range page {
		resp.Recordings = append(resp.Recordings, recordingMessage(rec))
	}
	return connect.NewResponse(resp), nil
}

func recordingMessage(m *recordings.Meta) *recordingv1.Recording {
	return &recordingv1.Recording{SessionId: m.SessionID, Kind: m.Kind, User: m.Info.User, Login: m.Info.Login, HostId: m.HostID,
		Hostname: m.Info.Hostname, Resource: m.Info.Resource, Participants: m.Participants, StartUnixNano: m.Start.UnixNano(), DurationNano: int64(m.Duration),
		Size: m.Size, State: m.State(), Interactive: m.Info.Columns > 0}
}

// recordingsFor returns which recordings a caller may have that verb on. Who has
// no rule about recordings at all is refused.
func (a *API) recordingsFor(ctx context.Context, c rpc.Caller, verb string) (func(*recordings.Meta) bool, error) {
	if a.may(c, kindSession, verb, nil) || c.Identity.Kind == types.IdentityUser && a.hasRuleFor(c, kindSession) {
		return func(m *recordings.Meta) bool { return a.maySession(c, verb, m) }, nil
	}
	err := a.rule(ctx, c, kindSession, verb, nil)
	if fault.KindOf(err) == fault.Denied {
		err = fault.New(fault.Denied, "%s may not %s recordings", c.Identity, verb).WithHint("%s", fault.Hint(err))
	}
	return nil, err
}

// maySession decides a verb on one recording, by what a where clause sees of it.
func (a *API) maySession(c rpc.Caller, verb string, m *recordings.Meta) bool {
	id := c.Identity
	if id.HasSystemRole(types.RoleAdmin) {
		return true
	}
	if id.Kind != types.IdentityUser {
		return false
	}
	r := a.request(c)
	r.Action, r.Kind, r.Verb = access.ActionRule, kindSession, verb
	r.Vars = map[string]any{"session": sessionVarsOf(m)}
	return access.Decide(r).Allow
}

// sessionVars is what a where clause sees of a recording. It is a struct, so that a
// name that is not there cannot be evaluated: in a deny that denies.
type sessionVars struct {
	ID           string   `json:"sid"`
	Kind         string   `json:"kind"`
	User         string   `json:"user"`
	Login        string   `json:"login"`
	Participants []string `json:"participants"`
	ServerID     string   `json:"server_id"`
	Hostname     string   `json:"server_hostname"`
	Cluster      string   `json:"cluster_name"`
}

func sessionVarsOf(m *recordings.Meta) sessionVars {
	return sessionVars{m.SessionID, m.Kind, m.Info.User, m.Info.Login, m.Participants, m.HostID, m.Info.Hostname, m.Info.Cluster}
}

// readable returns a recording that the caller may read. One that is not there
// and one that is somebody else's are the same answer. The access is in the audit
// log before this returns.
func (s recordingService) readable(ctx context.Context, id, action string) (*recordings.Service, *recordings.Meta, error) {
	c := rpc.CallerFrom(ctx)
	see, err := s.a.recordingsFor(ctx, c, types.VerbRead)
	if err != nil {
		return nil, nil, err
	}
	r, err := s.ready()
	if err != nil {
		return nil, nil, err
	}
	m, err := r.Get(ctx, id)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return nil, nil, err
	}
	if err != nil || !see(m) {
		e := &event.AccessDenied{User: who(c), Connection: from(c), ResourceKind: kindSession, Verb: types.VerbRead}
		e.Message = "no recording that the user may read"
		if recordings.CheckSessionID(id) == nil {
			e.Name = id
		}
		if err := s.a.emit(ctx, e); err != nil {
			return nil, nil, err
		}
		return nil, nil, fault.New(fault.NotFound, "there is no recording of the session %.60q that you may read", id)
	}
	e := &event.RecordingAccess{User: who(c), Connection: from(c), Session: event.Session{SessionID: id}, Action: action}
	return r, m, s.a.emit(ctx, e)
}

// Play streams the records from a moment on.
func (s recordingService) Play(ctx context.Context, req *connect.Request[recordingv1.PlayRequest], out *connect.ServerStream[recordingv1.PlayResponse]) error {
	r, m, err := s.readable(ctx, req.Msg.SessionId, "play")
	if err != nil {
		return err
	}
	at := max(0, time.Duration(req.Msg.FromNano))
	paint, from, err := r.Paint(ctx, m, at)
	if err != nil {
		return err
	}
	reader, err := r.Open(ctx, m.SessionID, from)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // it was only read
	m = reader.Meta()
	info, err := json.Marshal(m.Info)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the recording cannot be described")
	}
	if err := out.Send(&recordingv1.PlayResponse{Info: info, DurationNano: int64(m.Duration), Unfinished: m.Key == ""}); err != nil {
		return err
	}
	if err := sendRecords(out, paint, 0); err != nil {
		return err
	}
	return play(ctx, reader, from, req.Msg.Follow, out)
}

// play sends what a reader gives, without the records before a moment.
func play(ctx context.Context, r *recordings.Reader, from time.Duration, follow bool, out *connect.ServerStream[recordingv1.PlayResponse]) error {
	for {
		records, err := r.Next()
		switch {
		case err == io.EOF && follow:
			if err := r.Wait(ctx); err != nil {
				return endOf(ctx, err)
			}
			continue
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := sendRecords(out, records, from); err != nil {
			return err
		}
	}
}

// endOf is how following a recording ends.
func endOf(ctx context.Context, err error) error {
	if err == io.EOF {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// sendRecords sends the records from a moment on, in messages of bounded size.
func sendRecords(out *connect.ServerStream[recordingv1.PlayResponse], records []recfmt.Record, from time.Duration) error {
	m, size := &recordingv1.PlayResponse{}, 0
	for _, r := range records {
		if r.At < from {
			continue
		}
		m.Records = append(m.Records, &recordingv1.Record{Type: uint32(r.Type), AtNano: int64(r.At), Data: r.Data})
		if size += len(r.Data) + 32; size >= playBytes {
			if err := out.Send(m); err != nil {
				return err
			}
			m, size = &recordingv1.PlayResponse{}, 0
		}
	}
	if len(m.Records) == 0 {
		return nil
	}
	return out.Send(m)
}

// Fetch streams the stored bytes as they are: sealed, and provable.
func (s recordingService) Fetch(ctx context.Context, req *connect.Request[recordingv1.FetchRequest], out *connect.ServerStream[recordingv1.FetchResponse]) error {
	r, m, err := s.readable(ctx, req.Msg.SessionId, "fetch")
	if err != nil {
		return err
	}
	if req.Msg.Offset > recordings.MaxSize {
		return fault.New(fault.Invalid, "a recording has at most %d bytes", int64(recordings.MaxSize))
	}
	body, err := r.Bytes(ctx, m.SessionID, int64(req.Msg.Offset))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	buf := make([]byte, fetchBytes)
	for {
		n, err := io.ReadFull(body, buf)
		if n > 0 {
			if err := out.Send(&recordingv1.FetchResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fault.Wrap(err, fault.Unavailable, "the recording cannot be read")
		}
	}
}

// Search finds text that was shown on screens, in the recordings that the caller
// may read.
func (s recordingService) Search(ctx context.Context, req *connect.Request[recordingv1.SearchRequest], out *connect.ServerStream[recordingv1.SearchResponse]) error {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	see, err := s.a.recordingsFor(ctx, c, types.VerbRead)
	if err != nil {
		return err
	}
	if m.Text == "" || len(m.Text) > maxSearchText {
		return fault.New(fault.Invalid, "a search is for 1 to %d bytes of text", maxSearchText)
	}
	if s.a.d.Search == nil {
		return fault.New(fault.Unimplemented, "this auth service has no index of recordings")
	}
	e := &event.RecordingAccess{User: who(c), Connection: from(c), Action: "search", Text: m.Text}
	if err := s.a.emit(ctx, e); err != nil {
		return err
	}
	q := RecordingQuery{Text: m.Text, From: moment(m.FromUnixNano), To: moment(m.ToUnixNano), User: m.User, Limit: int(m.Limit), See: see}
	return s.a.d.Search.Search(ctx, q, func(rec *recordings.Meta, hits []*recordingv1.Hit) error {
		return out.Send(&recordingv1.SearchResponse{Recording: recordingMessage(rec), Hits: hits})
	})
}

// RecordingQuery asks for text that was shown.
type RecordingQuery struct {
	Text     string
	From, To time.Time // of the session's start; zero is no bound
	User     string
	Limit    int // of recordings; 0 is the searcher's default
	// See tells which recordings may be read for it.
	See func(*recordings.Meta) bool
}

// RecordingSearcher finds text in recordings. found is called for one recording
// at a time; its error ends the search.
type RecordingSearcher interface {
	Search(ctx context.Context, q RecordingQuery, found func(*recordings.Meta, []*recordingv1.Hit) error) error
}
