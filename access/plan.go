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
// resource, login).
type Plan struct {
	Policy      string       `json:"policy,omitempty"` // revision of the policy compared with
	Roles       []RoleChange `json:"roles"`
	Users       int          `json:"users"`     // looked at
	Resources   int          `json:"resources"` // looked at
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
	Logins    []string `json:"logins"`
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
	Host      string    `json:"host"`
	Reason    Reason    `json:"reason"`
}

// PlanInput is what a plan compares. Old and New hold every role by name, so
// that a role that New lacks is one that goes.
type PlanInput struct {
	Cluster  string
	Users    []*types.User
	Nodes    []*types.Node
	Old, New map[string]*types.Role
	Settings Settings
	Now      time.Time
}

// Compare tells who gains or loses which login where. It decides as Decide does,
// once for each kind of user and class of nodes that the roles tell apart, so a
// thousand users and a thousand nodes take no million decisions. Second factors
// and devices count as shown. It ends with ctx.
func Compare(ctx context.Context, in PlanInput) (Plan, error) {
	p := &planner{in: in, cache: predicate.NewCache(), changed: map[string]bool{}, says: map[asked][]byte{}, classes: map[string][]class{}}
	out := Plan{Roles: p.roleChanges(), Users: len(in.Users), Resources: len(in.Nodes), Gained: []Shift{}, Lost: []Shift{}}
	p.group()
	for _, u := range in.Users {
		if err := ctx.Err(); err != nil {
			return Plan{}, err
		}
		if slices.ContainsFunc(u.Spec.Roles, func(r string) bool { return p.changed[r] }) {
			p.user(u, &out)
		}
	}
	return out, nil
}

// planner is the working state of one comparison.
type planner struct {
	in      PlanInput
	cache   *predicate.Cache
	changed map[string]bool
	groups  []nodeGroup
	says    map[asked][]byte // by group
	classes map[string][]class
}

// asked is a role with what it sees of a user.
type asked struct {
	role *types.Role
	view string
}

// nodeGroup is nodes with the same labels: no role tells them apart.
type nodeGroup struct {
	labels map[string]string
	nodes  []*types.Node
}

// class is groups to which each role of a set says the same.
type class struct{ nodes []*types.Node }

func (p *planner) roleChanges() []RoleChange {
	names := slices.Collect(maps.Keys(p.in.New))
	for n := range p.in.Old {
		if p.in.New[n] == nil {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	out := []RoleChange{}
	for _, n := range names {
		before, after := p.in.Old[n], p.in.New[n]
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
		p.changed[n] = change != "none"
		out = append(out, RoleChange{n, change})
	}
	return out
}

func sameSpec(a, b *types.Role) bool {
	x, err1 := json.Marshal(a.Spec)
	y, err2 := json.Marshal(b.Spec)
	return err1 == nil && err2 == nil && a.Version == b.Version && string(x) == string(y)
}

func (p *planner) group() {
	index := map[string]int{}
	for _, n := range p.in.Nodes {
		labels := labelsOf(n)
		key := keyOf(labels)
		i, ok := index[key]
		if !ok {
			i = len(p.groups)
			index[key] = i
			p.groups = append(p.groups, nodeGroup{labels: labels})
		}
		p.groups[i].nodes = append(p.groups[i].nodes, n)
	}
}

func keyOf(v any) string {
	b, err := json.Marshal(v) // keys of maps come sorted
	if err != nil {
		return ""
	}
	return string(b)
}

// user compares one user under both policies.
func (p *planner) user(u *types.User, out *Plan) {
	before, after := resolve(p.in.Old, u.Spec.Roles), resolve(p.in.New, u.Spec.Roles)
	ask := p.asker(u, before)
	askNew := p.asker(u, after)
	gained, lost := map[string][]*types.Node{}, map[string][]*types.Node{}
	for _, c := range p.classesFor(u, before, after) {
		had, has := ask(c.nodes[0]), askNew(c.nodes[0])
		if more := without(has, had); len(more) > 0 {
			key := strings.Join(more, "\x00")
			gained[key] = append(gained[key], c.nodes...)
		}
		if less := without(had, has); len(less) > 0 {
			key := strings.Join(less, "\x00")
			lost[key] = append(lost[key], c.nodes...)
		}
	}
	out.Gained, out.GainedCount = out.add(out.Gained, out.GainedCount, u.Name(), gained)
	out.Lost, out.LostCount = out.add(out.Lost, out.LostCount, u.Name(), lost)
}

// add appends shifts as far as there is room, and counts all.
func (pl *Plan) add(list []Shift, n int, user string, by map[string][]*types.Node) ([]Shift, int) {
	for _, key := range slices.Sorted(maps.Keys(by)) {
		logins, nodes := strings.Split(key, "\x00"), by[key]
		n += len(logins) * len(nodes)
		if len(list) >= maxShifts {
			pl.Truncated = true
			continue
		}
		names := make([]string, len(nodes))
		for i, node := range nodes {
			names[i] = displayName(node)
		}
		slices.Sort(names)
		list = append(list, Shift{User: user, Kind: types.KindNode, Logins: logins, Count: len(nodes), Resources: names[:min(len(names), maxResources)]})
	}
	return list, n
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
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

// asker returns which logins a user has on a node under some roles.
func (p *planner) asker(u *types.User, roles []*types.Role) func(*types.Node) []string {
	id := p.bearer(u, roles)
	return func(n *types.Node) []string {
		if len(roles) == 0 {
			return nil
		}
		return Logins(Request{Identity: id, ClientAddr: id.Authority.PinnedIP, Roles: roles, Settings: p.in.Settings,
			Resource: n, HostID: n.Metadata.Name, Cache: p.cache, Now: p.in.Now})
	}
}

// bearer is the user with a certificate that shows every proof there is.
func (p *planner) bearer(u *types.User, roles []*types.Role) *types.Identity {
	id := &types.Identity{Kind: types.IdentityUser, Cluster: p.in.Cluster, Name: u.Metadata.Name, IssuedAt: p.in.Now}
	id.Proofs = types.Proofs{MFADevice: "any", DeviceID: "any"}
	id.Authority = types.Authority{Expires: p.in.Now.Add(time.Hour), Roles: u.Spec.Roles, Traits: u.Spec.Traits,
		Logins: RoleLogins(roles, u.Spec.Traits), PinnedIP: netip.IPv4Unspecified()}
	return id
}

// classesFor divides the nodes by what the roles say to them. Users with the same
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
			out = append(out, class{})
		}
		out[j].nodes = append(out[j].nodes, p.groups[i].nodes...)
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

// viewOf is all of a user that a role's selectors of nodes can see: users with
// the same view are told the same.
func (p *planner) viewOf(u *types.User, r *types.Role, side []*types.Role) string {
	var seen []string
	for _, c := range []*types.RoleConditions{&r.Spec.Allow, &r.Spec.Deny} {
		if strings.Contains(c.NodeLabelsExpression, "user") {
			seen = append(seen, u.Metadata.Name, keyOf(u.Spec.Traits))
			for _, role := range side {
				seen = append(seen, role.Metadata.Name)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(c.NodeLabels)) {
			for _, v := range c.NodeLabels[key] {
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
		r := Request{Identity: id, Roles: side, Resource: g.nodes[0], Labels: g.labels, Cache: p.cache, Now: p.in.Now}
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
