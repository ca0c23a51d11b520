package store

import (
	"context"
	"errors"
	"time"

	"teleport/backend"
	"teleport/fault"
	"teleport/types"
)

// Write is one part of an Apply: a document to put, or (Mode zero) to delete,
// which then needs only kind, sub kind, name and, where it is conditional, the
// revision in its header. An unconditional deletion of what is gone succeeds.
type Write struct {
	Mode Mode
	Doc  types.Resource
}

// Put validates and writes a document. On success doc carries its defaults and
// its new metadata.revision, and is returned.
func (s *Store) Put(ctx context.Context, mode Mode, doc types.Resource) (types.Resource, error) {
	if mode == 0 {
		return nil, fault.New(fault.Invalid, "a write says whether it creates, updates or replaces")
	}
	if err := s.Apply(ctx, Write{Mode: mode, Doc: doc}); err != nil {
		return nil, err
	}
	return doc, nil
}

// Apply does all writes or none. Names within one Apply are distinct. Written
// documents carry their new revision afterwards.
func (s *Store) Apply(ctx context.Context, writes ...Write) error {
	ops := make([]backend.Op, 0, len(writes))
	for _, w := range writes {
		op, err := s.op(ctx, w)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	rev, err := s.b.Apply(ctx, ops...)
	if err != nil {
		return raced(err, writes)
	}
	for _, w := range writes {
		if w.Mode != 0 {
			w.Doc.Head().Metadata.Revision = FormatRevision(uint64(rev))
		}
	}
	return nil
}

// op turns a write into the backend's form.
func (s *Store) op(ctx context.Context, w Write) (backend.Op, error) {
	if w.Mode == 0 {
		return s.removal(w.Doc.Head())
	}
	if err := s.validate(ctx, w.Doc); err != nil {
		return backend.Op{}, err
	}
	h := w.Doc.Head()
	key, err := s.locate(h.Kind, h.SubKind, h.Metadata.Name)
	if err != nil {
		return backend.Op{}, err
	}
	expires := expiry(w.Doc)
	if !expires.IsZero() && !expires.After(s.opts.Now()) {
		return backend.Op{}, fault.New(fault.Invalid, "the %s %q would be expired already (%s)",
			h.Kind, h.Metadata.Name, expires.UTC().Format(time.RFC3339)).WithHint("choose a later expiry, or none")
	}
	value, err := encode(w.Doc)
	if err != nil {
		return backend.Op{}, err
	}
	op := backend.Op{Item: backend.Item{Key: key, Value: value, Expires: expires}}
	switch w.Mode {
	case Create:
		op.Type = backend.OpCreate
		return op, nil
	case Update:
		rev, err := parseRevision(h.Metadata.Revision)
		if err != nil {
			return backend.Op{}, err
		}
		op.Type, op.Item.Revision = backend.OpSwap, backend.Revision(rev)
	case Upsert:
		op.Type = backend.OpPut
	default:
		return backend.Op{}, fault.New(fault.Invalid, "unknown mode of writing %d", w.Mode)
	}
	return op, s.refuseNewer(ctx, h, key)
}

// refuseNewer keeps this version from overwriting what it does not understand:
// it would drop it.
func (s *Store) refuseNewer(ctx context.Context, h *types.Header, key string) error {
	it, err := s.b.Get(ctx, key)
	if errors.Is(err, fault.NotFound) {
		return nil // an update finds out by itself
	}
	if err != nil {
		return err
	}
	if _, newer := decodeStored(it.Value, h.Kind, h.Metadata.Name, uint64(it.Revision)); newer != "" {
		return fault.New(fault.Conflict, "the %s %q was written by a newer version and cannot be changed by this one (%s)",
			h.Kind, h.Metadata.Name, newer).WithHint("make the change through an auth service of that version, or delete the document first")
	}
	return nil
}

// encode is the stored form: without the revision, which the backend keeps.
func encode(doc types.Resource) ([]byte, error) {
	h := doc.Head()
	rev := h.Metadata.Revision
	h.Metadata.Revision = ""
	value, err := types.Encode(doc)
	h.Metadata.Revision = rev
	if err != nil {
		return nil, err
	}
	if len(value) > backend.MaxValue {
		return nil, fault.New(fault.Invalid, "the %s %q has %d bytes, more than %d", h.Kind, h.Metadata.Name, len(value), backend.MaxValue)
	}
	return value, nil
}

// expiry is when a document goes: by its metadata or, a lock, by its spec.
func expiry(doc types.Resource) time.Time {
	var at time.Time
	if e := doc.Head().Metadata.Expires; e != nil {
		at = *e
	}
	if l, ok := doc.(*types.Lock); ok && l.Spec.Expires != nil && (at.IsZero() || l.Spec.Expires.Before(at)) {
		at = *l.Spec.Expires
	}
	return at
}

// removal is the deletion of the document that a header names.
func (s *Store) removal(h *types.Header) (backend.Op, error) {
	key, err := s.locate(h.Kind, h.SubKind, h.Metadata.Name)
	if err != nil {
		return backend.Op{}, err
	}
	op := backend.Op{Type: backend.OpDelete, Item: backend.Item{Key: key}}
	if h.Metadata.Revision != "" {
		rev, err := parseRevision(h.Metadata.Revision)
		if err != nil {
			return backend.Op{}, err
		}
		op.Type, op.Item.Revision = backend.OpDeleteIf, backend.Revision(rev)
	}
	return op, nil
}

// Delete removes a document, or returns fault.NotFound. With a revision it
// returns fault.Conflict unless that is current.
func (s *Store) Delete(ctx context.Context, kind, subKind, name, revision string) error {
	h := types.Header{Kind: kind, SubKind: subKind, Metadata: types.Metadata{Name: name, Revision: revision}}
	op, err := s.removal(&h)
	if err != nil {
		return err
	}
	if _, err := s.GetAny(ctx, kind, subKind, name); err != nil {
		return err
	}
	if _, err = s.b.Apply(ctx, op); err != nil {
		return changed(err, &h)
	}
	return nil
}

// raced words the backend's refusals for people. With several writes the
// backend does not say in a safe form which one it was.
func raced(err error, writes []Write) error {
	if len(writes) == 1 {
		return changed(err, writes[0].Doc.Head())
	}
	switch fault.KindOf(err) {
	case fault.AlreadyExists:
		return fault.Wrap(err, fault.AlreadyExists, "one of the documents already exists")
	case fault.Conflict:
		return fault.Wrap(err, fault.Conflict, "one of the documents was changed by someone else meanwhile")
	}
	return err
}

func changed(err error, h *types.Header) error {
	switch fault.KindOf(err) {
	case fault.AlreadyExists:
		return fault.Wrap(err, fault.AlreadyExists, "a %s named %q already exists", h.Kind, h.Metadata.Name)
	case fault.Conflict:
		return fault.Wrap(err, fault.Conflict, "the %s %q was changed by someone else meanwhile", h.Kind, h.Metadata.Name)
	}
	return err
}
