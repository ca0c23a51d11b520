package authapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// accessService answers what a decision would be, and changes nothing.
type accessService struct{ a *API }

// Explain decides for a user as a login of now would make it. Who asks about
// somebody else reads users and the kind in question; everybody may ask about
// themselves, and learns of no resource that they could not see.
func (s accessService) Explain(ctx context.Context, req *connect.Request[accessv1.ExplainRequest]) (*connect.Response[accessv1.ExplainResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	kind, err := kindOf(m.Kind)
	if err != nil {
		return nil, err
	}
	m.Kind = kind.Name
	own := c.Identity.Kind == types.IdentityUser && c.Identity.Name == m.User
	if !own {
		if err := s.a.rule(ctx, c, types.KindUser, types.VerbReadNoSecrets, nil); err != nil {
			return nil, err
		}
	}
	at, from, err := s.a.circumstances(m)
	if err != nil {
		return nil, err
	}
	action, verb, err := actionOf(kind.Name, m)
	if err != nil {
		return nil, err
	}
	doc, err := s.a.subjectOf(ctx, c, kind, m.Name, own)
	if err != nil {
		return nil, err
	}
	e, err := s.a.explain(ctx, m, doc, at, from, action, verb)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the explanation cannot be encoded")
	}
	return connect.NewResponse(&accessv1.ExplainResponse{Explanation: b}), nil
}

func (a *API) circumstances(m *accessv1.ExplainRequest) (at time.Time, from netip.Addr, err error) {
	at = a.d.Now()
	if m.AtUnixNano != 0 {
		at = time.Unix(0, m.AtUnixNano)
	}
	if m.ClientIp == "" {
		return at, from, nil
	}
	ap, err := clientAddr(m.ClientIp)
	if err != nil {
		return at, from, fault.New(fault.Invalid, "%.80q is not an address", m.ClientIp)
	}
	return at, ap.Addr(), nil
}

// usesOf are what is done to resources of a kind by whoever reaches one, and
// which of it a login begins; none of what is no such resource.
func usesOf(kind string) (uses []string, session access.Action) {
	switch kind {
	case types.KindNode:
		return []string{string(access.ActionDial), string(access.ActionLogin), string(access.ActionForwardLocal), string(access.ActionForwardRemote),
			string(access.ActionForwardAgent), string(access.ActionFileCopy), string(access.ActionX11)}, access.ActionLogin
	case types.KindDatabase:
		return []string{string(access.ActionDial), string(access.ActionDatabase)}, access.ActionDatabase
	case types.KindApp:
		return []string{string(access.ActionDial), string(access.ActionApp)}, access.ActionApp
	}
	return nil, ""
}

// actionOf reads the action: a use of a resource, or a verb on a document.
func actionOf(kind string, m *accessv1.ExplainRequest) (access.Action, string, error) {
	verbs := []string{types.VerbList, types.VerbRead, types.VerbReadNoSecrets, types.VerbCreate, types.VerbUpdate, types.VerbDelete, types.VerbRotate, types.VerbUse}
	known := verbs
	action := m.Action
	uses, session := usesOf(kind)
	switch {
	case len(uses) == 0 && m.Login != "":
		return "", "", fault.New(fault.Invalid, "nobody logs in to a %s", kind)
	case kind != types.KindDatabase && len(m.DbName)+len(m.DbRoles) > 0:
		return "", "", fault.New(fault.Invalid, "a %s holds no databases", kind)
	case len(uses) > 0:
		known = append(slices.Clone(uses), verbs...)
		switch {
		case action == "" && (m.Login != "" || session == access.ActionApp):
			action = string(session)
		case action == "":
			action = string(access.ActionDial)
		}
	}
	if action == "" {
		action = types.VerbRead
	}
	if !slices.Contains(known, action) {
		err := fault.New(fault.Invalid, "there is no action %.60q on a %s", action, kind)
		if near := types.Nearest(action, known); near != "" {
			return "", "", err.WithHint("did you mean %q?", near)
		}
		return "", "", err
	}
	switch {
	case len(uses) > 0 && action == types.VerbList:
		return access.ActionList, "", nil
	case slices.Contains(uses, action):
		if m.Login == "" && action != string(access.ActionDial) && action != string(access.ActionApp) { // most apps have no logins
			return "", "", fault.New(fault.Invalid, "the action %q is decided for a login", action).WithHint("add --login=NAME")
		}
		return access.Action(action), "", nil
	}
	return access.ActionRule, action, nil
}

// subjectOf finds the document in question among those that the caller may see.
// What the caller may not see and what is not there are told alike.
func (a *API) subjectOf(ctx context.Context, c rpc.Caller, kind types.KindInfo, name string, own bool) (types.Resource, error) {
	if name == "" {
		if uses, _ := usesOf(kind.Name); len(uses) > 0 {
			return nil, fault.New(fault.Invalid, "name the %s: %s/NAME", kind.Name, kind.Name)
		}
		return nil, nil //nolint:nilnil // the verb on the kind, whatever the document
	}
	see, err := a.visible(ctx, c, kind, false)
	if err != nil {
		if !own {
			return nil, err
		}
		see = func(types.Resource) bool { return false }
	}
	var found []types.Resource
	var names []string
	for token := ""; ; {
		page, err := a.d.Store.ListAny(ctx, kind.Name, store.ListOptions{PageSize: maxPage, Token: token})
		if err != nil {
			return nil, err
		}
		for _, doc := range page.Items {
			r := readable(kind.Name, "", "", doc)
			if !see(r) && !a.ownOrPublic(c, kind.Name, r.Head().Metadata.Name, r) {
				continue
			}
			host := hostnameOf(r)
			if r.Head().Metadata.Name == name || host == name {
				found = append(found, r)
			}
			names = append(names, shownName(kind.Name, r.Head().Metadata.Name), host)
		}
		if token = page.Next; token == "" {
			break
		}
	}
	if len(found) == 0 {
		fronted, err := a.fronted(ctx, kind.Name)
		if err != nil {
			return nil, err
		}
		for _, r := range fronted { // those of agents' own files are nowhere else
			own := r.Head().Metadata.Name
			if !see(r) && !a.ownOrPublic(c, kind.Name, own, r) {
				continue
			}
			if len(found) == 0 && own == name {
				found = append(found, r)
			}
			names = append(names, own)
		}
	}
	return oneOf(kind.Name, name, found, names)
}

// fronted are the resources of a kind as agents announce them; none of a kind that
// they announce as it is.
func (a *API) fronted(ctx context.Context, kind string) (out []types.Resource, err error) {
	switch kind {
	case types.KindDatabase:
		servers, err := store.Of[*types.DatabaseServer](a.d.Store).All(ctx)
		for _, s := range servers {
			out = append(out, &s.Spec.Database)
		}
		return out, err
	case types.KindApp:
		servers, err := store.Of[*types.AppServer](a.d.Store).All(ctx)
		for _, s := range servers {
			out = append(out, &s.Spec.App)
		}
		return out, err
	}
	return nil, nil
}

func hostnameOf(r types.Resource) string {
	if n, ok := r.(*types.Node); ok {
		return n.Spec.Hostname
	}
	return ""
}

func oneOf(kind, name string, found []types.Resource, names []string) (types.Resource, error) {
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		err := fault.New(fault.NotFound, "there is no %s named %.100q that you may see", kind, name)
		names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
		if near := types.Nearest(name, names); near != "" {
			return nil, err.WithHint("did you mean %q?", near)
		}
		return nil, err
	}
	var ids []string
	for _, r := range found[:min(len(found), 5)] {
		ids = append(ids, r.Head().Metadata.Name)
	}
	return nil, fault.New(fault.Conflict, "%d %ss are named %q", len(found), kind, name).WithHint("name one by its UUID: %v", ids)
}

// explain builds the request that a certificate of now would lead to. The epoch
// is left out: it is about certificates of before.
func (a *API) explain(ctx context.Context, m *accessv1.ExplainRequest, doc types.Resource, at time.Time, from netip.Addr, action access.Action, verb string) (*access.Explanation, error) {
	seen := from
	if !seen.IsValid() {
		seen = netip.IPv4Unspecified() // wherever the login is from, the use is too
	}
	id, err := a.d.Issuer.Preview(ctx, m.User, seen, at)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil, a.noUser(ctx, m.User)
	case errors.Is(err, fault.Denied):
		return &access.Explanation{User: m.User, Kind: m.Kind, Name: m.Name, Action: string(action), Login: m.Login, At: at, Roles: []access.RoleSay{},
			Limits: []access.LimitOrigin{}, Decision: access.Decision{Reasons: []access.Reason{{Code: access.CodeNoCertificate, Text: fault.Message(err)}}}}, nil
	case err != nil:
		return nil, err
	}
	r := access.Ask(a.d.Policy, id, seen, at)
	r.Epoch, r.LocksStale = nil, !a.d.Policy.Fresh(a.d.Now())
	// From the store itself: who has just changed a role asks about what it is now.
	if r.Roles, err = (Accounts{Store: a.d.Store, Policy: a.d.Policy, Now: a.d.Now}).roles(ctx, id.Authority.Roles); err != nil {
		return nil, err
	}
	r.Action, r.Login, r.DBName, r.DBRoles = action, m.Login, m.DbName, m.DbRoles
	if action == access.ActionRule {
		r.Kind, r.Verb, r.Subject = m.Kind, verb, doc
	} else {
		r.Resource = doc
		if m.Kind == types.KindNode {
			r.HostID = doc.Head().Metadata.Name
		}
	}
	if app, ok := r.Resource.(*types.App); ok {
		if m.Login != "" && !app.Spec.CloudAPI() {
			return nil, fault.New(fault.Invalid, "the app %s is of no cloud: it is used as oneself", app.Metadata.Name)
		}
		r.Login, r.App = "", app.Spec.RouteAs(m.Login)
	}
	e := access.Explain(r)
	e.Login = m.Login
	if action == access.ActionRule {
		e.Action = verb
	}
	if !from.IsValid() {
		e.ClientIP = ""
	}
	return &e, nil
}

func (a *API) noUser(ctx context.Context, name string) error {
	err := fault.New(fault.NotFound, "there is no user named %.100q", name)
	users, listErr := a.users.All(ctx)
	if listErr != nil {
		return err
	}
	var names []string
	for _, u := range users {
		names = append(names, u.Metadata.Name)
	}
	if near := types.Nearest(name, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err
}
