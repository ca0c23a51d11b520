package authapi

import (
	"context"
	"encoding/json"

	"connectrpc.com/connect"

	"teleport/api/gen/resourcev1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Bounds of a listing: documents in one answer, their bytes, and stored pages
// looked through for one answer when a filter leaves few.
const (
	defaultPage  = 500
	maxPage      = 1000
	maxPageBytes = 2 << 20
	maxScanned   = 20
)

type resourceService struct{ a *API }

// Get returns one document. A document that the caller may not read is denied
// alike whether it exists or not.
func (s resourceService) Get(ctx context.Context, req *connect.Request[resourcev1.GetRequest]) (*connect.Response[resourcev1.GetResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	kind, err := kindOf(m.Kind)
	if err != nil {
		return nil, err
	}
	doc, err := s.a.d.Store.GetAny(ctx, kind.Name, m.SubKind, m.Name)
	if denied := s.a.mayRead(ctx, c, kind, doc.Resource, m.Name, m.WithSecrets); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	b, err := encode(doc)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&resourcev1.GetResponse{Document: b}), nil
}

// mayRead decides a read of one document; doc is nil when there is none.
func (a *API) mayRead(ctx context.Context, c rpc.Caller, kind types.KindInfo, doc types.Resource, name string, withSecrets bool) error {
	if c.Identity.Kind == types.IdentityHost && !withSecrets && inScope(c.Identity, kind.Name) {
		return nil
	}
	if !withSecrets && a.ownOrPublic(c, kind.Name, name, doc) {
		return nil
	}
	verb := "readnosecrets"
	if withSecrets {
		verb = "read"
	}
	return a.rule(ctx, c, kind.Name, verb, doc)
}

// ownOrPublic are the documents that a user reads without a rule: the user's
// own account and roles, the cluster's authorities, nodes that the user's labels
// reach, and live sessions that are the user's, were said to be for the user, or
// may be joined by the user.
func (a *API) ownOrPublic(c rpc.Caller, kind, name string, doc types.Resource) bool {
	id := c.Identity
	if id.Kind != types.IdentityUser {
		return false
	}
	switch kind {
	case types.KindUser:
		return name == id.Name
	case types.KindRole:
		for _, r := range id.Authority.Roles {
			if r == name {
				return true
			}
		}
	case types.KindCertAuthority:
		return true
	case types.KindNode, types.KindDatabase, types.KindDatabaseServer, types.KindApp, types.KindAppServer:
		return a.mayList(c, doc)
	case types.KindSessionTracker:
		t, ok := doc.(*types.SessionTracker)
		return ok && a.mayAttend(c, t)
	}
	return false
}

// List returns one page of the documents that the caller may see.
func (s resourceService) List(ctx context.Context, req *connect.Request[resourcev1.ListRequest]) (*connect.Response[resourcev1.ListResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	kind, err := kindOf(m.Kind)
	if err != nil {
		return nil, err
	}
	see, err := s.a.visible(ctx, c, kind, m.WithSecrets)
	if err != nil {
		return nil, err
	}
	match, err := newFilter(m.Labels, m.Search, m.Query)
	if err != nil {
		return nil, err
	}
	size := int(m.PageSize)
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	resp := &resourcev1.ListResponse{NextPageToken: m.PageToken}
	bytes := 0
	for range maxScanned {
		page, err := s.a.d.Store.ListAny(ctx, kind.Name, store.ListOptions{SubKind: m.SubKind,
			PageSize: size - len(resp.Documents), Token: resp.NextPageToken})
		if err != nil {
			return nil, err
		}
		for _, doc := range page.Items {
			r := readable(kind.Name, m.SubKind, "", doc)
			if !see(r) {
				continue
			}
			if ok, err := match(r); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
			b, err := encode(doc)
			if err != nil {
				return nil, err
			}
			resp.Documents = append(resp.Documents, b)
			bytes += len(b)
		}
		resp.NextPageToken = page.Next
		if page.Next == "" || len(resp.Documents) >= size || bytes >= maxPageBytes {
			break
		}
	}
	return connect.NewResponse(resp), nil
}

// visible returns which documents of a kind the caller sees, or the refusal of
// the whole listing. A list shows what single reads would.
func (a *API) visible(ctx context.Context, c rpc.Caller, kind types.KindInfo, withSecrets bool) (func(types.Resource) bool, error) {
	all := func(types.Resource) bool { return true }
	verb := "readnosecrets"
	if withSecrets {
		verb = "read"
	}
	switch {
	case c.Identity.Kind == types.IdentityHost && !withSecrets && inScope(c.Identity, kind.Name):
		return all, nil
	case kind.Name == types.KindCertAuthority && !withSecrets && c.Identity.Kind == types.IdentityUser:
		return all, nil
	case a.may(c, kind.Name, "list", nil) && a.may(c, kind.Name, verb, nil):
		return all, nil
	case selectedByLabels(kind.Name) && c.Identity.Kind == types.IdentityUser:
		return func(r types.Resource) bool { return a.mayList(c, r) }, nil
	case kind.Name == types.KindSessionTracker && c.Identity.Kind == types.IdentityUser:
		return func(r types.Resource) bool {
			t, ok := r.(*types.SessionTracker)
			return ok && (!withSecrets && a.mayAttend(c, t) || a.may(c, kind.Name, "list", t) && a.may(c, kind.Name, verb, t))
		}, nil
	case c.Identity.Kind == types.IdentityUser && a.hasRuleFor(c, kind.Name):
		return func(r types.Resource) bool {
			return a.may(c, kind.Name, "list", r) && a.may(c, kind.Name, verb, r)
		}, nil
	}
	return nil, a.rule(ctx, c, kind.Name, "list", nil)
}

// hasRuleFor reports whether any rule with a where clause speaks of the kind,
// so that single documents have to be looked at.
func (a *API) hasRuleFor(c rpc.Caller, kind string) bool {
	for _, role := range a.d.Policy.Roles(c.Identity.Authority.Roles) {
		for _, rule := range role.Spec.Allow.Rules {
			if rule.Where == "" {
				continue
			}
			for _, res := range rule.Resources {
				if res == kind || res == "*" {
					return true
				}
			}
		}
	}
	return false
}

// encode writes a document with its revision, as Put takes it back.
func encode(doc store.Document) ([]byte, error) {
	if doc.Newer != "" {
		return doc.Raw, nil // shown as it is stored: this version cannot rewrite it
	}
	b, err := json.Marshal(doc.Resource)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the document cannot be encoded")
	}
	return b, nil
}
