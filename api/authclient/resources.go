package authclient

import (
	"context"
	"encoding/json"
	"iter"

	"connectrpc.com/connect"

	"teleport/api/gen/resourcev1"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Ref names one document.
type Ref struct {
	Kind    string
	SubKind string // where the kind has them: the type of a cert_authority
	Name    string
}

// ListOptions narrow a listing. Filters never widen access.
type ListOptions struct {
	SubKind     string
	Labels      map[string]string // all must match
	Search      []string          // every word appears in some common field
	Query       string            // predicate expression
	WithSecrets bool
	PageSize    int // 0: the server's
}

// PutMode says what Put does about a document that is already there.
type PutMode = resourcev1.PutMode

// The modes of Put.
const (
	Create = resourcev1.PutMode_PUT_MODE_CREATE // fails when the name is taken
	Upsert = resourcev1.PutMode_PUT_MODE_UPSERT
	Update = resourcev1.PutMode_PUT_MODE_UPDATE // fails unless metadata.revision is current
)

var _ store.Source = (*Client)(nil)

// GetDocument returns one document's JSON.
func (c *Client) GetDocument(ctx context.Context, ref Ref, withSecrets bool) (json.RawMessage, error) {
	resp, err := unary(ctx, c.resource.Get, &resourcev1.GetRequest{
		Kind: ref.Kind, SubKind: ref.SubKind, Name: ref.Name, WithSecrets: withSecrets})
	return resp.GetDocument(), err
}

// ListPage returns one page of a kind's documents and the token of the next
// page, "" at the end.
func (c *Client) ListPage(ctx context.Context, kind, pageToken string, o ListOptions) ([]json.RawMessage, string, error) {
	resp, err := unary(ctx, c.resource.List, &resourcev1.ListRequest{
		Kind: kind, SubKind: o.SubKind, PageSize: int32(min(o.PageSize, 10000)), PageToken: pageToken, Labels: o.Labels,
		Search: o.Search, Query: o.Query, WithSecrets: o.WithSecrets})
	if err != nil {
		return nil, "", err
	}
	docs := make([]json.RawMessage, len(resp.Documents))
	for i, d := range resp.Documents {
		docs[i] = d
	}
	return docs, resp.NextPageToken, nil
}

// ListDocuments yields every document of a kind that the caller may see. An
// error is the last thing that it yields.
func (c *Client) ListDocuments(ctx context.Context, kind string, o ListOptions) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		token := ""
		for {
			docs, next, err := c.ListPage(ctx, kind, token, o)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, d := range docs {
				if !yield(d, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = next
		}
	}
}

// PutDocument writes one document and returns it as stored.
func (c *Client) PutDocument(ctx context.Context, mode PutMode, doc json.RawMessage) (json.RawMessage, error) {
	resp, err := unary(ctx, c.resource.Put, &resourcev1.PutRequest{Mode: mode, Document: doc})
	return resp.GetDocument(), err
}

// Delete removes one document. A revision that is not empty must be current.
func (c *Client) Delete(ctx context.Context, ref Ref, revision string) error {
	_, err := unary(ctx, c.resource.Delete, &resourcev1.DeleteRequest{
		Kind: ref.Kind, SubKind: ref.SubKind, Name: ref.Name, Revision: revision})
	return err
}

// Get returns one document as its kind's struct, for example Get[types.Node].
// Fields that this version does not know are ignored: the writer may be newer.
func Get[T any](ctx context.Context, c *Client, ref Ref) (*T, error) {
	doc, err := c.GetDocument(ctx, ref, false)
	if err != nil {
		return nil, err
	}
	return decode[T](doc)
}

// List returns all documents of a kind that the caller may see.
func List[T any](ctx context.Context, c *Client, kind string, o ListOptions) ([]*T, error) {
	var out []*T
	for doc, err := range c.ListDocuments(ctx, kind, o) {
		if err != nil {
			return nil, err
		}
		v, err := decode[T](doc)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Put writes a document and returns it as stored.
func Put[T any, P interface {
	*T
	types.Resource
}](ctx context.Context, c *Client, mode PutMode, r P) (P, error) {
	doc, err := json.Marshal(r)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the document cannot be encoded")
	}
	if doc, err = c.PutDocument(ctx, mode, doc); err != nil {
		return nil, err
	}
	return decode[T](doc)
}

func decode[T any](doc []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(doc, v); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the auth service sent a document that this version cannot read")
	}
	return v, nil
}

// Watch implements store.Source: it returns once the server has registered the
// watch. The stream ends with ctx, with Close and with Redial.
func (c *Client) Watch(ctx context.Context, kinds []string, after uint64) (store.Stream, error) {
	ctx, cancel := c.links.stream(ctx)
	s, err := c.resource.Watch(ctx, connect.NewRequest(&resourcev1.WatchRequest{Kinds: kinds, After: after}))
	if err != nil {
		defer cancel()
		return nil, streamError(ctx, err)
	}
	w := &watchStream{stream: s, ctx: ctx, cancel: cancel, batches: make(chan store.Batch), done: make(chan struct{})}
	first, err := w.receive()
	if err != nil {
		cancel()
		return nil, err
	}
	go w.pump(first)
	return w, nil
}

// watchStream reads ahead by one message, so that Next can obey its own ctx.
type watchStream struct {
	stream  *connect.ServerStreamForClient[resourcev1.WatchResponse]
	ctx     context.Context // of the call
	cancel  context.CancelFunc
	batches chan store.Batch
	done    chan struct{} // closed after err is set, when the pump has ended
	err     error
}

func (w *watchStream) receive() (store.Batch, error) {
	if !w.stream.Receive() {
		if err := w.stream.Err(); err != nil {
			return store.Batch{}, streamError(w.ctx, err)
		}
		return store.Batch{}, fault.New(fault.Unavailable, "the auth service ended the watch")
	}
	m := w.stream.Msg()
	b := store.Batch{Revision: m.Revision, SnapshotEnd: m.SnapshotEnd}
	for _, ch := range m.Changes {
		b.Changes = append(b.Changes, store.Change{Kind: ch.Kind, SubKind: ch.SubKind, Name: ch.Name,
			Revision: ch.Revision, Document: ch.Document})
	}
	return b, nil
}

func (w *watchStream) pump(b store.Batch) {
	defer close(w.done)
	for {
		select {
		case w.batches <- b:
		case <-w.ctx.Done():
			w.err = fault.Wrap(context.Cause(w.ctx), fault.KindOf(w.ctx.Err()), "the watch was closed")
			return
		}
		if b, w.err = w.receive(); w.err != nil {
			return
		}
	}
}

// Next implements store.Stream.
func (w *watchStream) Next(ctx context.Context) (store.Batch, error) {
	select {
	case b := <-w.batches:
		return b, nil
	case <-w.done:
		return store.Batch{}, w.err
	case <-ctx.Done():
		return store.Batch{}, fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), "the watch was interrupted")
	}
}

// Close implements store.Stream; it waits for the reading side to end.
func (w *watchStream) Close() error {
	w.cancel()
	<-w.done
	return nil
}
