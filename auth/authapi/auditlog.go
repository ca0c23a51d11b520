package authapi

import (
	"context"
	"encoding/json"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/auditv1"
	"teleport/api/rpc"
	"teleport/audit"
	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types"
)

// Bounds of one batch and one page of events.
const (
	maxRecords    = 65536
	maxEventsPage = 1000
)

type auditService struct{ a *API }

// Ship takes one batch of the caller's own chain. The writer is the caller: its
// UUID comes from its certificate, so nobody writes under another's name.
func (s auditService) Ship(ctx context.Context, req *connect.Request[auditv1.ShipRequest]) (*connect.Response[auditv1.ShipResponse], error) {
	m := req.Msg
	if len(m.Records) > maxRecords {
		return nil, fault.New(fault.Limit, "at most %d events are taken at once", maxRecords)
	}
	id := rpc.CallerFrom(ctx).Identity
	b := chain.Batch{Writer: chain.Writer{UUID: id.Name, Generation: m.Generation}}
	var ok bool
	if b.Previous, ok = hashOf(m.Previous); !ok {
		return nil, fault.New(fault.Invalid, "a chain hash has %d bytes", len(chain.Hash{}))
	}
	b.Records = make([]chain.Record, 0, len(m.Records))
	for _, r := range m.Records {
		h, ok := hashOf(r.Chain)
		if !ok {
			return nil, fault.New(fault.Invalid, "a chain hash has %d bytes", len(chain.Hash{}))
		}
		b.Records = append(b.Records, chain.Record{Sequence: r.Sequence, Event: r.Event, Salt: r.Salt, Chain: h})
	}
	acknowledged, err := s.a.d.Audit.Ingest(ctx, audit.Caller{UUID: id.Name, Auth: id.HasSystemRole(types.RoleAuth),
		Proxy: id.HasSystemRole(types.RoleProxy)}, b)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.ShipResponse{Acknowledged: acknowledged}), nil
}

func hashOf(b []byte) (h chain.Hash, ok bool) {
	return h, copy(h[:], b) == len(h) && len(b) == len(h)
}

// Search returns one page of events.
func (s auditService) Search(ctx context.Context, req *connect.Request[auditv1.SearchRequest]) (*connect.Response[auditv1.SearchResponse], error) {
	m := req.Msg
	limit := int(m.Limit)
	if limit <= 0 || limit > maxEventsPage {
		limit = maxEventsPage
	}
	found, err := s.a.d.Audit.Search(ctx, audit.Query{From: moment(m.FromUnixNano), To: moment(m.ToUnixNano), Types: m.Types,
		SessionID: m.SessionId, User: m.User, Text: m.Text, Limit: limit, Ascending: m.Ascending, Page: m.PageToken})
	if err != nil {
		return nil, err
	}
	resp := &auditv1.SearchResponse{NextPageToken: found.Next}
	for _, e := range found.Events {
		resp.Events = append(resp.Events, e.JSON)
	}
	return connect.NewResponse(resp), nil
}

// Export streams all that verification needs.
func (s auditService) Export(ctx context.Context, req *connect.Request[auditv1.ExportRequest], out *connect.ServerStream[auditv1.ExportResponse]) error {
	return s.a.d.Audit.Export(ctx, audit.ExportOptions{From: moment(req.Msg.FromUnixNano), To: moment(req.Msg.ToUnixNano)}, chunks{out})
}

// Head returns the newest signed checkpoint.
func (s auditService) Head(_ context.Context, _ *connect.Request[auditv1.HeadRequest]) (*connect.Response[auditv1.HeadResponse], error) {
	b, err := json.Marshal(s.a.d.Audit.Head())
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the checkpoint cannot be encoded")
	}
	return connect.NewResponse(&auditv1.HeadResponse{Checkpoint: b}), nil
}

// moment reads Unix nanoseconds; zero is no bound.
func moment(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// chunks writes an export as messages of bounded size.
type chunks struct {
	out *connect.ServerStream[auditv1.ExportResponse]
}

func (c chunks) Write(p []byte) (int, error) {
	const size = 256 << 10
	for n := 0; n < len(p); n += size {
		if err := c.out.Send(&auditv1.ExportResponse{Chunk: p[n:min(n+size, len(p))]}); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
