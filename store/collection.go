package store

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"teleport/fault"
	"teleport/types"
)

// modifyTries is how often Modify starts again when others get in between.
const modifyTries = 16

// Collection is the typed view of one kind.
type Collection[T types.Resource] struct {
	s    *Store
	kind string
	err  error
}

// Of returns the collection of T's kind, for example Of[*types.Role](s). A type
// that is in no list of kinds gives a collection whose methods return
// fault.Internal.
func Of[T types.Resource](s *Store) Collection[T] {
	kind, err := kindOf[T]()
	return Collection[T]{s: s, kind: kind, err: err}
}

// kindNames are the kinds by the type of their documents.
var kindNames = sync.OnceValue(func() map[reflect.Type]string {
	names := map[reflect.Type]string{}
	for _, k := range types.Kinds() {
		names[reflect.TypeOf(k.New())] = k.Name
	}
	return names
})

// kindOf finds the kind whose documents are T.
func kindOf[T types.Resource]() (string, error) {
	if name, ok := kindNames()[reflect.TypeFor[T]()]; ok {
		return name, nil
	}
	return "", fault.New(fault.Internal, "%s is not a kind of document", reflect.TypeFor[T]())
}

// Get returns a document whose name has no sub kind, or fault.NotFound. The
// name of a singleton may be left empty.
func (c Collection[T]) Get(ctx context.Context, name string) (T, error) {
	return c.GetSub(ctx, "", name)
}

// GetSub returns a document of a kind whose names have sub kinds. A document
// that this version does not fully understand is fault.Unavailable where it is
// a policy, or cannot be read at all.
func (c Collection[T]) GetSub(ctx context.Context, subKind, name string) (T, error) {
	var none T
	if c.err != nil {
		return none, c.err
	}
	d, err := c.s.GetAny(ctx, c.kind, subKind, name)
	if err != nil {
		return none, err
	}
	doc, ok := typed[T](d)
	if !ok {
		return none, fault.New(fault.Unavailable, "the %s %q was written by a newer version (%s)", c.kind, d.name, d.Newer).
			WithHint("upgrade this process")
	}
	return doc, nil
}

// typed returns the document where it may be relied on.
func typed[T types.Resource](d Document) (T, bool) {
	doc, ok := d.Resource.(T)
	return doc, ok && (d.Newer == "" || !isPolicy(d.kind))
}

// isPolicy tells the kinds of which a part that is not understood could be a
// restriction.
func isPolicy(kind string) bool { return kind == types.KindRole || kind == types.KindLock }

// List pages through the kind.
func (c Collection[T]) List(ctx context.Context, o ListOptions) (Page[T], error) {
	if c.err != nil {
		return Page[T]{}, c.err
	}
	docs, err := c.s.ListAny(ctx, c.kind, o)
	if err != nil {
		return Page[T]{}, err
	}
	page := Page[T]{Next: docs.Next}
	for _, d := range docs.Items {
		if doc, ok := typed[T](d); ok {
			page.Items = append(page.Items, doc)
		} else {
			page.Unusable = append(page.Unusable, Unusable{d.kind, d.subKind, d.name, d.Newer})
		}
	}
	return page, nil
}

// All reads every page. Documents that this version cannot rely on are left
// out.
func (c Collection[T]) All(ctx context.Context) ([]T, error) {
	var all []T
	var o ListOptions
	for {
		page, err := c.List(ctx, o)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if o.Token = page.Next; o.Token == "" {
			return all, nil
		}
	}
}

// Create writes a new document or returns fault.AlreadyExists.
func (c Collection[T]) Create(ctx context.Context, doc T) (T, error) { return c.put(ctx, Create, doc) }

// Upsert writes a document whatever was there.
func (c Collection[T]) Upsert(ctx context.Context, doc T) (T, error) { return c.put(ctx, Upsert, doc) }

// Update writes a document over the revision in its metadata, or returns
// fault.Conflict.
func (c Collection[T]) Update(ctx context.Context, doc T) (T, error) { return c.put(ctx, Update, doc) }

func (c Collection[T]) put(ctx context.Context, mode Mode, doc T) (T, error) {
	if c.err != nil {
		return doc, c.err
	}
	if h := doc.Head(); h.Kind == "" {
		h.Kind = c.kind
	}
	_, err := c.s.Put(ctx, mode, doc)
	return doc, err
}

// Modify reads a document, lets change edit it, and updates it, again while
// others get in between. An error of change ends it unwritten.
func (c Collection[T]) Modify(ctx context.Context, name string, change func(T) error) (T, error) {
	return c.ModifySub(ctx, "", name, change)
}

// ModifySub is Modify for a kind whose names have sub kinds.
func (c Collection[T]) ModifySub(ctx context.Context, subKind, name string, change func(T) error) (T, error) {
	for try := 1; ; try++ {
		doc, err := c.GetSub(ctx, subKind, name)
		if err != nil {
			return doc, err
		}
		if err := change(doc); err != nil {
			return doc, err
		}
		doc, err = c.Update(ctx, doc)
		if err == nil || !errors.Is(err, fault.Conflict) || try == modifyTries {
			return doc, err
		}
	}
}

// Delete removes a document whose name has no sub kind; revision may be empty.
func (c Collection[T]) Delete(ctx context.Context, name, revision string) error {
	if c.err != nil {
		return c.err
	}
	return c.s.Delete(ctx, c.kind, "", name, revision)
}
