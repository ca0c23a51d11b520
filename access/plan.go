package access

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/predicate"
	"teleport/types"
)

// Bounds of what a plan lists. It counts everything.
const (
	maxShifts    = 1000
	maxResources = 10 // named in one shift
)

// Plan is what a change of roles would give and take. Counts are of (user,
// resource, login); of a database a login is a user in it and one of its databases,
// and of an app it is a role or identity of its cloud, or its use.
type Plan struct {
	Policy      string       `json:"policy,omitempty"` // revision of the policy compared with
	Roles       []RoleChange `json:"roles"`
	Users       int          `json:"users"`     // looked at
	Resources   int          `json:"resources"` // looked at
	Databases   int          `json:"databases"` // of these
	Apps        int          `json:"apps"`      // of these
	GainedCount int          `json:"gained_count"`
	LostCount   int          `json:"lost_count"`
	Gained      []Shift      `json:"gained"`
	Lost        []Shift      `json:"lost"`
	Truncated   bool         `json:"truncated,omitempty"` // the lists are shorter than the counts
	Past        *Past        `json:"past,omitempty"`      // nil: sessions of the past were not asked for
}

// RoleChange is one role that the plan makes, changes or removes.
type RoleChange struct {
	Role   string `json:"role"`
	Change string `json:"change"` // create, update, delete, none
}

// Shift is what one user gains or loses: the same logins on some resources.
type Shift struct {
	User      string   `json:"user"`
	Kind      string   `json:"kind"`
	Logins    []string `json:"logins"`    // in databases "app in shop", where * is whatever roles do not name; of apps of no cloud "use"
	Count     int      `json:"count"`     // resources
	Resources []string `json:"resources"` // the first ones, by the name that people know
}

// Past is what the new policy would have said to sessions in the audit log.
type Past struct {
	From       time.Time     `json:"from"`
	Sessions   int           `json:"sessions"`
	Refused    int           `json:"refused"`    // by the new policy, and not by the present one
	Already    int           `json:"already"`    // by the present policy too
	Unreadable int           `json:"unreadable"` // records without their whole input
	Truncated  bool          `json:"truncated,omitempty"`
	List       []PastSession `json:"list"` // refused ones, the newest first
}

// PastSession is a recorded session that would have been refused.
type PastSession struct {
	SessionID string    `json:"sid"`
	Time      time.Time `json:"time"`
	User      string    `json:"user"`
	Login     string    `json:"login"`
	Host      string    `json:"host"` // or the database or app, as the cluster calls it
	Reason    Reason    `json:"reason"`
}

// PlanInput is what a plan compares. Old and New hold every role by name, so
// that a role that New lacks is one that goes.
type PlanInput struct {
	Cluster   string
	Users     []*types.User
	Nodes     []*types.Node
	Databases []*types.Database
	Apps      []*types.App
	Old, New  map[string]*types.Role
	Settings  Settings
	Now       time.Time
}

// Compare tells who gains or loses which login where. It decides as Decide does,
// once for each kind of user and class of resources that the roles tell apart, so a
// thousand users and a thousand nodes take no million decisions. Second factors
// and devices count as shown. It ends with ctx.
func Compare(ctx context.Context, in PlanInput) (Plan, error) {
	nodes, databases, apps := newPlanner(in, types.KindNode), newPlanner(in, types.KindDatabase), newPlanner(in, types.KindApp)
	out := Plan{Users: len(in.Users), Resources: len(in.Nodes) + len(in.Databases) + len(in.Apps), Databases: len(in.Databases), Apps: len(in.Apps),
		Gained: []Shift{}, Lost: []Shift{}}
	var changed map[string]bool
	out.Roles, changed = in.roleChanges()
	for _, n := range in.Nodes {
		nodes.add(n, "")
	}
	for _, d := range in.Databases {
		databases.add(d, shapeOf(d))
	}
	for _, a := range in.Apps {
		apps.add(a, shapeOfApp(a))
	}
	for _, u := range in.Users {
		if !slices.ContainsFunc(u.Spec.Roles, func(r string) bool { return changed[r] }) {
			continue
		}
		for _, p := range []*planner{nodes, databases, apps} {
			if err := p.user(ctx, u, &out); err != nil {
				return Plan{}, err
			}
		}
	}
	return out, nil
}

// planner is the working state of one comparison, of resources of one kind.
type planner struct {
	in      PlanInput
	kind    string
	cache   *predicate.Cache
	groups  []group
	index   map[string]int   // of groups
	says    map[asked][]byte // by group
	classes map[string][]class
}

func newPlanner(in PlanInput, kind string) *planner {
	return &planner{in: in, kind: kind, cache: predicate.NewCache(), index: map[string]int{}, says: map[asked][]byte{}, classes: map[string][]class{}}
}

// asked is a role with what it sees of a user.
type asked struct {
	role *types.Role
	view string
}

// group is resources with the same labels and the same shape, which is whatever
// else decisions look at: no role tells them apart.
type group struct {
	labels map[string]string
	shape  string
	of     []types.Resource
}

// class is resources to which each role of a set says the same.
type class []types.Resource

// roleChanges lists the roles that are not the same, and those of them that say
// something else.
func (in *PlanInput) roleChanges() ([]RoleChange, map[string]bool) {
	names := slices.Collect(maps.Keys(in.New))
	for n := range in.Old {
		if in.New[n] == nil {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	out, changed := []RoleChange{}, map[string]bool{}
	for _, n := range names {
		before, after := in.Old[n], in.New[n]
		change := "update"
		switch {
		case before == after:
			continue
		case before == nil:
			change = "create"
		case after == nil:
			change = "delete"
		case sameSpec(before, after):
			change = "none"
		}
		changed[n] = change != "none"
		out = append(out, RoleChange{n, change})
	}
	return out, changed
}

func sameSpec(a, b *types.Role) bool {
	x, err1 := json.Marshal(a.Spec)
	y, err2 := json.Marshal(b.Spec)
	return err1 == nil && err2 == nil && a.Version == b.Version && string(x) == string(y)
}

func (p *planner) add(res types.Resource, shape string) {
	labels := labelsOf(res)
	key := keyOf(labels) + shape
	i, ok := p.index[key]
	if !ok {
		i = len(p.groups)
		p.index[key] = i
		p.groups = append(p.groups, group{labels: labels, shape: shape})
	}
	p.groups[i].of = append(p.groups[i].of, res)
}

func keyOf(v any) string {
	b, err := json.Marshal(v) // keys of maps come sorted
	if err != nil {
		return ""
	}
	return string(b)
}

// user compares one user under both policies.
func (p *planner) user(ctx context.Context, u *types.User, out *Plan) error {
	before, after := resolve(p.in.Old, u.Spec.Roles), resolve(p.in.New, u.Spec.Roles)
	named := p.named(u, before, after)
	gained, lost := map[string]shifted{}, map[string]shifted{}
	for _, c := range p.classesFor(u, before, after) {
		if err := ctx.Err(); err != nil {
			return err
		}
		had, has := p.grants(u, before, c[0], named), p.grants(u, after, c[0], named)
		note(gained, without(has, had), c)
		note(lost, without(had, has), c)
	}
	out.Gained, out.GainedCount = out.add(out.Gained, out.GainedCount, u.Name(), p.kind, gained)
	out.Lost, out.LostCount = out.add(out.Lost, out.LostCount, u.Name(), p.kind, lost)
	return nil
}

// shifted is the same logins on some resources.
type shifted struct {
	logins []string
	on     []types.Resource
}

func note(by map[string]shifted, grants []grant, on class) {
	if len(grants) == 0 {
		return
	}
	x := shifted{on: on}
	for _, g := range grants {
		x.logins = append(x.logins, g.String())
	}
	key := strings.Join(x.logins, "\x00")
	x.on = slices.Concat(by[key].on, x.on)
	by[key] = x
}

// add appends shifts as far as there is room, and counts all.
func (pl *Plan) add(list []Shift, n int, user, kind string, by map[string]shifted) ([]Shift, int) {
	for _, key := range slices.Sorted(maps.Keys(by)) {
		x := by[key]
		n += len(x.logins) * len(x.on)
		if len(list) >= maxShifts {
			pl.Truncated = true
			continue
		}
		names := make([]string, len(x.on))
		for i, res := range x.on {
			names[i] = displayName(res)
		}
		slices.Sort(names)
		list = append(list, Shift{User: user, Kind: kind, Logins: x.logins, Count: len(names), Resources: names[:min(len(names), maxResources)]})
	}
	return list, n
}

// grant is what a user may be on a resource: a login, a user of a database, or a role
// of a cloud.
type grant struct {
	login string
	roles string // of a user that is made: those of the database
	name  string // the database within the server; "" where none is asked for
}

// String is how people write it.
func (g grant) String() string {
	text := g.login + g.roles
	if g.name != "" {
		text += " in " + g.name
	}
	return text
}

// covers reports whether h is said with g.
func (g grant) covers(h grant) bool {
	return g != h && g.roles == h.roles && (g.login == h.login || g.login == types.Wildcard) && (g.name == h.name || g.name == types.Wildcard || g.name == "")
}

// without is what a has and b has not, in the fewest words.
func without(a, b []grant) []grant {
	out := slices.DeleteFunc(slices.Clone(a), func(g grant) bool { return slices.Contains(b, g) })
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(g grant) bool { return slices.ContainsFunc(all, func(h grant) bool { return h.covers(g) }) })
}

func resolve(all map[string]*types.Role, names []string) []*types.Role {
	var out []*types.Role
	for _, n := range names {
		if r := all[n]; r != nil {
			out = append(out, r)
		}
	}
	return out
}

// grants returns what a user may be on a resource under some roles.
func (p *planner) grants(u *types.User, roles []*types.Role, res types.Resource, named names) []grant {
	if len(roles) == 0 {
		return nil
	}
	id := p.bearer(u, roles)
	r := Request{Identity: id, ClientAddr: id.Authority.PinnedIP, Roles: roles, Settings: p.in.Settings,
		Resource: res, HostID: res.Head().Metadata.Name, Cache: p.cache, Now: p.in.Now}
	switch x := res.(type) {
	case *types.Database:
		return inDatabase(r, x, named)
	case *types.App:
		return inApp(r, x, named)
	}
	var out []grant
	for _, l := range Logins(r) {
		out = append(out, grant{login: l})
	}
	return out
}

// bearer is the user with a certificate that shows every proof there is.
func (p *planner) bearer(u *types.User, roles []*types.Role) *types.Identity {
	id := &types.Identity{Kind: types.IdentityUser, Cluster: p.in.Cluster, Name: u.Metadata.Name, IssuedAt: p.in.Now}
	id.Proofs = types.Proofs{MFADevice: "any", DeviceID: "any"}
	id.Authority = types.Authority{Expires: p.in.Now.Add(time.Hour), Roles: u.Spec.Roles, Traits: u.Spec.Traits,
		Logins: RoleLogins(roles, u.Spec.Traits), PinnedIP: netip.IPv4Unspecified()}
	return id
}

// classesFor divides the resources by what the roles say to them. Users with the same
// roles share the answer, as far as no role looks at who asks.
func (p *planner) classesFor(u *types.User, before, after []*types.Role) []class {
	roles := slices.Concat(before, after)
	keys := make([]string, len(roles))
	for i, role := range roles {
		keys[i] = p.viewOf(u, role, sideOf(i, before, after))
	}
	key := strings.Join(u.Spec.Roles, "\x00") + "\x00\x00" + strings.Join(keys, "\x00")
	if c, ok := p.classes[key]; ok {
		return c
	}
	vectors := make([][]byte, len(p.groups))
	for i, g := range p.groups {
		vectors[i] = []byte(g.shape)
	}
	for i, role := range roles {
		for j, s := range p.saysOf(u, role, sideOf(i, before, after), keys[i]) {
			vectors[j] = append(vectors[j], s)
		}
	}
	index := map[string]int{}
	var out []class
	for i, v := range vectors {
		j, ok := index[string(v)]
		if !ok {
			j = len(out)
			index[string(v)] = j
			out = append(out, nil)
		}
		out[j] = append(out[j], p.groups[i].of...)
	}
	p.classes[key] = out
	return out
}

// sideOf is the roles of the policy that the i-th role of both stands in.
func sideOf(i int, before, after []*types.Role) []*types.Role {
	if i < len(before) {
		return before
	}
	return after
}

// viewOf is all of a user that a role's selectors of resources can see: users
// with the same view are told the same.
func (p *planner) viewOf(u *types.User, r *types.Role, side []*types.Role) string {
	var seen []string
	for _, c := range []*types.RoleConditions{&r.Spec.Allow, &r.Spec.Deny} {
		selector, expression := familyOf(p.kind).labels(c)
		if strings.Contains(expression, "user") {
			seen = append(seen, u.Metadata.Name, keyOf(u.Spec.Traits))
			for _, role := range side {
				seen = append(seen, role.Metadata.Name)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(selector)) {
			for _, v := range selector[key] {
				if predicate.IsTemplate(v) {
					seen = append(seen, keyOf(predicate.AppendExpanded(nil, p.cache, v, predicate.Traits{Internal: u.Spec.Traits, External: u.Spec.Traits})))
				}
			}
		}
	}
	return strings.Join(seen, "\x01")
}

// saysOf tells of each group whether a role's selectors allow (1) or deny (2) it.
func (p *planner) saysOf(u *types.User, role *types.Role, side []*types.Role, view string) []byte {
	key := asked{role, view}
	if says, ok := p.says[key]; ok {
		return says
	}
	says := make([]byte, len(p.groups))
	id := p.bearer(u, nil)
	for i, g := range p.groups {
		r := Request{Identity: id, Roles: side, Resource: g.of[0], Labels: g.labels, Cache: p.cache, Now: p.in.Now}
		d := newDecider(&r)
		if d.allowsLabels(role) {
			says[i] |= 1
		}
		if d.deniesLabels(role) {
			says[i] |= 2
		}
	}
	p.says[key] = says
	return says
}
