package authapi

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/api/rpc"
	"teleport/audit"
	"teleport/fault"
	"teleport/predicate"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Bounds of a plan.
const (
	maxPlanRoles   = 500
	maxPlanDays    = 366
	maxPastScanned = 200_000 // sessions of the past that are decided again
	maxPastListed  = 500
	planTime       = 50 * time.Second
)

// Plan tells what a change of roles would do, and writes nothing. Who asks lists
// roles, users, nodes, databases and apps without a where clause, and for sessions of the
// past the audit log: a plan from half a view would say that all is well.
func (s accessService) Plan(ctx context.Context, req *connect.Request[accessv1.PlanRequest]) (*connect.Response[accessv1.PlanResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	ctx, cancel := context.WithTimeout(ctx, planTime)
	defer cancel()
	if err := s.a.mayPlan(ctx, c, m.Days); err != nil {
		return nil, err
	}
	in, err := s.a.planInput(ctx, m)
	if err != nil {
		return nil, err
	}
	plan, err := access.Compare(ctx, in)
	if err != nil {
		return nil, fault.Wrap(err, fault.Timeout, "the comparison takes too long")
	}
	plan.Policy = access.Ask(s.a.d.Policy, c.Identity, c.Addr.Addr(), in.Now).Policy
	if m.Days > 0 {
		if plan.Past, err = s.a.past(ctx, in, int(m.Days)); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the plan cannot be encoded")
	}
	return connect.NewResponse(&accessv1.PlanResponse{Plan: b}), nil
}

func (a *API) mayPlan(ctx context.Context, c rpc.Caller, days int32) error {
	for _, kind := range []string{types.KindRole, types.KindUser, types.KindNode, types.KindDatabase, types.KindDatabaseServer, types.KindApp, types.KindAppServer} {
		for _, verb := range []string{types.VerbList, types.VerbReadNoSecrets} {
			if err := a.rule(ctx, c, kind, verb, nil); err != nil {
				return err
			}
		}
	}
	if days < 0 || days > maxPlanDays {
		return fault.New(fault.Invalid, "the sessions of at most %d days can be looked at", maxPlanDays)
	}
	if days > 0 {
		return a.rule(ctx, c, "event", types.VerbList, nil)
	}
	return nil
}

// planInput reads the stored policy and lays the change over it.
func (a *API) planInput(ctx context.Context, m *accessv1.PlanRequest) (access.PlanInput, error) {
	in := access.PlanInput{Cluster: a.d.Cluster, Settings: a.d.Policy.Settings(), Now: a.d.Now(), Old: map[string]*types.Role{}}
	roles, err := store.Of[*types.Role](a.d.Store).All(ctx)
	if err != nil {
		return in, err
	}
	for _, r := range roles {
		in.Old[r.Metadata.Name] = r
	}
	if in.New, err = a.changedRoles(ctx, in.Old, m); err != nil {
		return in, err
	}
	if in.Users, err = a.users.All(ctx); err != nil {
		return in, err
	}
	if in.Nodes, err = store.Of[*types.Node](a.d.Store).All(ctx); err != nil {
		return in, err
	}
	if in.Databases, err = allFronted[*types.Database](ctx, a, types.KindDatabase); err != nil {
		return in, err
	}
	in.Apps, err = allFronted[*types.App](ctx, a, types.KindApp)
	return in, err
}

// allFronted are the resources of a kind that agents front, as they have them, and
// those that are registered for one to come. Each name stands once.
func allFronted[R types.Resource](ctx context.Context, a *API, kind string) ([]R, error) {
	fronted, err := a.fronted(ctx, kind)
	if err != nil {
		return nil, err
	}
	out, err := store.Of[R](a.d.Store).All(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range fronted {
		if of, ok := r.(R); ok {
			out = append(out, of)
		}
	}
	slices.SortStableFunc(out, func(x, y R) int { return strings.Compare(x.Head().Metadata.Name, y.Head().Metadata.Name) })
	return slices.CompactFunc(out, func(x, y R) bool { return x.Head().Metadata.Name == y.Head().Metadata.Name }), nil
}

func (a *API) changedRoles(ctx context.Context, old map[string]*types.Role, m *accessv1.PlanRequest) (map[string]*types.Role, error) {
	next := maps.Clone(old)
	switch n := len(m.Roles) + len(m.Delete); {
	case n == 0:
		return nil, fault.New(fault.Invalid, "no role would change")
	case n > maxPlanRoles:
		return nil, fault.New(fault.Limit, "at most %d roles can be planned at once", maxPlanRoles)
	}
	for _, name := range m.Delete {
		if next[name] == nil {
			err := fault.New(fault.NotFound, "there is no role named %.100q", name)
			if near := types.Nearest(name, slices.Collect(maps.Keys(old))); near != "" {
				return nil, err.WithHint("did you mean %q?", near)
			}
			return nil, err
		}
		delete(next, name)
	}
	seen := map[string]bool{}
	for _, raw := range m.Roles {
		doc, err := a.d.Store.Decode(ctx, raw)
		if err != nil {
			return nil, err
		}
		r, ok := doc.(*types.Role)
		if !ok {
			return nil, fault.New(fault.Invalid, "a plan is made of roles; this is a %s", doc.Head().Kind)
		}
		name := r.Metadata.Name
		if seen[name] || slices.Contains(m.Delete, name) {
			return nil, fault.New(fault.Invalid, "the role %q is named twice", name)
		}
		seen[name], next[name] = true, r
	}
	return next, nil
}

// past decides the sessions of the last days again, under both policies. Locks
// and changes of users since are left out: the question is about roles.
func (a *API) past(ctx context.Context, in access.PlanInput, days int) (*access.Past, error) {
	p := &access.Past{From: in.Now.AddDate(0, 0, -days), List: []access.PastSession{}}
	cache := predicate.NewCache()
	under := func(all map[string]*types.Role) access.Policy {
		return access.Policy{Settings: in.Settings, Cache: cache, Roles: func(names []string) []*types.Role {
			var out []*types.Role
			for _, n := range names {
				if r := all[n]; r != nil {
					out = append(out, r)
				}
			}
			return out
		}}
	}
	old, next := under(in.Old), under(in.New)
	q := audit.Query{From: p.From, To: in.Now, Types: []string{event.TypeSessionStart, event.TypeDBStart, event.TypeAppStart}, Limit: maxEventsPage}
	for {
		found, err := a.d.Audit.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range found.Events {
			again(p, e.JSON, old, next)
		}
		if q.Page = found.Next; q.Page == "" {
			return p, nil
		}
		if p.Sessions >= maxPastScanned {
			p.Truncated = true
			return p, nil
		}
	}
}

// started is what the events that open sessions have in common. Sessions with
// databases and apps have more: which one, and that they were refused.
type started struct {
	Code string    `json:"code"`
	Time time.Time `json:"time"`
	event.Session
	event.Server
	Database string         `json:"db_service"`
	App      string         `json:"app_name"`
	Decision event.Decision `json:"decision"`
}

// again counts one session, and lists it where the new policy alone refuses it.
func again(p *access.Past, raw []byte, old, next access.Policy) {
	var e started
	err := json.Unmarshal(raw, &e)
	if e.Code == event.CodeDBStartFail || e.Code == event.CodeAppStartFail {
		return // there was none
	}
	p.Sessions++
	if err != nil {
		p.Unreadable++
		return
	}
	next.Hostname = e.ServerHostname
	d, err := access.Replay(e.Decision, next)
	if err != nil {
		p.Unreadable++
		return
	}
	if d.Allow {
		return
	}
	if before, err := access.Replay(e.Decision, old); err == nil && !before.Allow {
		p.Already++
		return
	}
	p.Refused++
	if len(p.List) >= maxPastListed {
		p.Truncated = true
		return
	}
	login := cmp.Or(e.Decision.Login, e.Decision.AppAWSRole, e.Decision.AppAzureIdentity, e.Decision.AppGCPAccount)
	if e.Decision.DBName != "" {
		login += " in " + e.Decision.DBName
	}
	p.List = append(p.List, access.PastSession{SessionID: e.SessionID, Time: e.Time, User: e.Decision.User, Login: login,
		Host: cmp.Or(e.Database, e.App, e.ServerHostname), Reason: d.Reasons[0]})
}
