package authapi

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/resourcev1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// maxWatchBytes bounds one message of a watch.
const maxWatchBytes = 1 << 20

// Watch streams the documents of some kinds. A process watches its replica
// scope; a user needs to be allowed to list and read each of the kinds whole.
func (s resourceService) Watch(ctx context.Context, req *connect.Request[resourcev1.WatchRequest], out *connect.ServerStream[resourcev1.WatchResponse]) error {
	kinds, err := s.a.watchable(ctx, rpc.CallerFrom(ctx), req.Msg.Kinds)
	if err != nil {
		return err
	}
	stream, err := s.a.d.Store.Watch(ctx, kinds, req.Msg.After)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // releases it; there is nothing to report
	for {
		batch, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		// Rights may have gone since the stream began; it beats every few seconds.
		if _, err := s.a.watchable(ctx, rpc.CallerFrom(ctx), req.Msg.Kinds); err != nil {
			return err
		}
		if err := sendBatch(out, batch); err != nil {
			return err
		}
	}
}

func (a *API) watchable(ctx context.Context, c rpc.Caller, names []string) ([]string, error) {
	if len(names) == 0 || len(names) > len(types.Kinds()) {
		return nil, fault.New(fault.Invalid, "name the kinds to watch")
	}
	kinds := make([]string, len(names))
	for i, name := range names {
		k, err := kindOf(name)
		if err != nil {
			return nil, err
		}
		kinds[i] = k.Name
		if inScope(c.Identity, k.Name) {
			continue
		}
		for _, verb := range []string{"list", "read"} {
			if err := a.rule(ctx, c, k.Name, verb, nil); err != nil {
				return nil, err
			}
		}
	}
	return kinds, nil
}

// sendBatch splits a batch into messages of bounded size. Only the last carries
// the revision: a reader that resumes has seen all of it.
func sendBatch(out *connect.ServerStream[resourcev1.WatchResponse], b store.Batch) error {
	m := &resourcev1.WatchResponse{}
	size := 0
	for _, ch := range b.Changes {
		if size > 0 && size+len(ch.Document) > maxWatchBytes {
			if err := out.Send(m); err != nil {
				return err
			}
			m, size = &resourcev1.WatchResponse{}, 0
		}
		m.Changes = append(m.Changes, &resourcev1.Change{Kind: ch.Kind, SubKind: ch.SubKind, Name: ch.Name,
			Revision: ch.Revision, Document: ch.Document})
		size += len(ch.Document)
	}
	m.Revision, m.SnapshotEnd = b.Revision, b.SnapshotEnd
	return out.Send(m)
}
