package store

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"teleport/backend"
	"teleport/fault"
	"teleport/types"
)

// Options configure a Store.
type Options struct {
	// Validate checks what types cannot: label expressions, where clauses,
	// templates, references. It runs on every write after the document's own
	// Validate. Nil checks nothing more.
	Validate func(ctx context.Context, doc types.Resource) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Store holds documents of every kind. All methods may be called concurrently.
// It starts nothing and authorises nothing: its callers decide first.
type Store struct {
	b     backend.Backend
	opts  Options
	kinds map[string]types.KindInfo
}

// New makes a Store over a backend.
func New(b backend.Backend, opts Options) *Store {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{b: b, opts: opts, kinds: map[string]types.KindInfo{}}
	for _, k := range types.Kinds() {
		s.kinds[k.Name] = k
	}
	return s
}

// Mode says on which condition a document is written.
type Mode int

const (
	Create Mode = iota + 1 // fault.AlreadyExists if the name is taken
	Upsert                 // whatever is there is replaced
	Update                 // fault.Conflict unless metadata.revision is current
)

// Document is a stored document in all its forms.
type Document struct {
	// Resource is the decoded document with metadata.revision set. It is the
	// caller's own copy, and nil when this version cannot read it at all.
	Resource types.Resource
	// Raw is the stored JSON, without metadata.revision.
	Raw []byte
	// Revision is the number behind metadata.revision.
	Revision uint64
	// Newer is empty, or says what in the document this version does not know. A
	// document so marked is shown and deleted, but neither changed nor relied on.
	Newer string

	kind, subKind, name string // of its key
}

// ListOptions page through a kind. The zero value lists everything of the kind
// up to 1,000 documents.
type ListOptions struct {
	SubKind  string
	PageSize int    // 0: 1,000; at most 1,000
	Token    string // Next of the previous page
}

// maxPage bounds a page of a listing.
const maxPage = 1000

// Page is a part of a listing, in name order. It may hold fewer items than
// asked for, even none, and still have a Next.
type Page[T any] struct {
	Items []T
	Next  string // Token of the following page; empty at the end
	// Unusable names documents that this version does not fully understand and so
	// left out of the items of a typed collection.
	Unusable []Unusable
}

// Unusable is a document that this version may not rely on, and why.
type Unusable struct{ Kind, SubKind, Name, Reason string }

// info returns the description of a kind by its exact name.
func (s *Store) info(kind string) (types.KindInfo, error) {
	info, ok := s.kinds[kind]
	if !ok {
		return info, fault.New(fault.Invalid, "there is no kind of resource called %q", kind)
	}
	return info, nil
}

// locate checks a name and returns the key behind it.
func (s *Store) locate(kind, subKind, name string) (string, error) {
	info, err := s.info(kind)
	if err != nil {
		return "", err
	}
	if name == "" {
		name = info.Singleton
	}
	if name == "" {
		return "", fault.New(fault.Invalid, "the name of the %s is missing", kind)
	}
	sub := keySubKind(kind, subKind)
	if kind == types.KindCertAuthority && sub == "" {
		return "", fault.New(fault.Invalid, "the sub kind of the %s is missing", kind)
	}
	return keyOf(kind, sub, name), nil
}

// GetAny returns a live document or fault.NotFound. The name of a singleton
// may be left empty, and so may a sub kind that is not part of the name.
func (s *Store) GetAny(ctx context.Context, kind, subKind, name string) (Document, error) {
	key, err := s.locate(kind, subKind, name)
	if err != nil {
		return Document{}, err
	}
	it, err := s.b.Get(ctx, key)
	if err != nil {
		return Document{}, missing(err, kind, name)
	}
	doc, err := read(it)
	if err == nil && subKind != "" && !doc.inSubKind(subKind) {
		return Document{}, missing(fault.NotFound, kind, name)
	}
	return doc, err
}

// missing words fault.NotFound for people; other errors pass.
func missing(err error, kind, name string) error {
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	if name == "" {
		return fault.Wrap(err, fault.NotFound, "there is no %s", kind)
	}
	return fault.Wrap(err, fault.NotFound, "there is no %s named %q", kind, name)
}

// read decodes a stored item. Only a key that is no document's is an error.
func read(it backend.Item) (Document, error) {
	kind, sub, name, ok := parseKey(it.Key)
	if !ok {
		return Document{}, fault.New(fault.Internal, "key %q is not that of a document", it.Key)
	}
	d := Document{Raw: it.Value, Revision: uint64(it.Revision), kind: kind, subKind: sub, name: name}
	d.Resource, d.Newer = decodeStored(it.Value, kind, name, d.Revision)
	return d, nil
}

// decodeStored reads stored bytes leniently and says what it did not know. A
// document under another one's key is not read at all.
func decodeStored(raw []byte, kind, name string, rev uint64) (types.Resource, string) {
	doc, unknown, err := types.DecodeLenient(raw)
	switch {
	case err != nil:
		return nil, fault.Message(err)
	case doc.Head().Kind != kind || doc.Head().Metadata.Name != name:
		return nil, "it is stored under another name"
	}
	doc.Head().Metadata.Revision = FormatRevision(rev)
	if len(unknown) > 0 {
		return doc, unknown[0] + ": unknown key"
	}
	return doc, ""
}

func (d *Document) inSubKind(subKind string) bool {
	if d.subKind != "" || d.Resource == nil {
		return d.subKind == subKind
	}
	return d.Resource.Head().SubKind == subKind
}

// ListAny pages through the live documents of a kind.
func (s *Store) ListAny(ctx context.Context, kind string, o ListOptions) (Page[Document], error) {
	if _, err := s.info(kind); err != nil {
		return Page[Document]{}, err
	}
	size := o.PageSize
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	prefix := "/" + escape(kind) + "/"
	if sub := keySubKind(kind, o.SubKind); sub != "" {
		prefix += escape(sub) + "/"
	}
	from := prefix
	if o.Token != "" {
		last, ok := unescape(o.Token)
		if !ok {
			return Page[Document]{}, fault.New(fault.Invalid, "the page token is not one of a listing")
		}
		from = prefix + last + "\x00"
	}
	items, err := s.b.Range(ctx, from, backend.PrefixEnd(prefix), size)
	if err != nil {
		return Page[Document]{}, err
	}
	var page Page[Document]
	for _, it := range items {
		d, err := read(it)
		if err != nil {
			return Page[Document]{}, err
		}
		if o.SubKind == "" || d.inSubKind(o.SubKind) {
			page.Items = append(page.Items, d)
		}
	}
	if len(items) == size {
		page.Next = escape(items[size-1].Key[len(prefix):])
	}
	return page, nil
}

// Decode reads one document from outside: strict, so that an unknown field or
// version is fault.Invalid, and validated.
func (s *Store) Decode(ctx context.Context, document []byte) (types.Resource, error) {
	doc, err := types.Decode(document)
	if err != nil {
		return nil, err
	}
	return doc, s.validate(ctx, doc)
}

// validate fills defaults and checks a document, with what the caller knows too.
func (s *Store) validate(ctx context.Context, doc types.Resource) error {
	h := doc.Head()
	info, err := s.info(h.Kind)
	if err != nil {
		return err
	}
	if reflect.TypeOf(info.New()) != reflect.TypeOf(doc) {
		return fault.New(fault.Internal, "a %T is not a document of kind %s", doc, h.Kind)
	}
	if info.Singleton != "" && h.Metadata.Name == "" {
		h.Metadata.Name = info.Singleton
	}
	if h.Version == "" {
		h.Version = info.DefaultVersion
	}
	if !slices.Contains(info.Versions, h.Version) {
		return fault.New(fault.Invalid, "version %q of %s is not one that this version knows", h.Version, h.Kind).
			WithHint("known: %v", info.Versions)
	}
	if err := doc.Validate(); err != nil {
		return err
	}
	if info.Singleton != "" && h.Metadata.Name != info.Singleton {
		return fault.New(fault.Invalid, "metadata.name: the only %s is named %q", h.Kind, info.Singleton)
	}
	if h.SubKind != "" && !slices.Contains(info.SubKinds, h.SubKind) {
		return fault.New(fault.Invalid, "sub_kind: %q is not a sub kind of %s", h.SubKind, h.Kind)
	}
	if s.opts.Validate == nil {
		return nil
	}
	return s.opts.Validate(ctx, doc)
}

// Revision returns the newest revision of the store, as a decision records it.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	rev, err := s.b.Revision(ctx)
	return uint64(rev), err
}
