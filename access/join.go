package access

import (
	"slices"
	"strconv"

	"teleport/predicate"
	"teleport/types"
)

// Modes of joining a live session: observers see, peers type too, moderators see
// and may end it.
const (
	ModeObserver  = "observer"
	ModePeer      = "peer"
	ModeModerator = "moderator"
)

// decideJoin decides about joining a live session, which is the Subject, in
// Mode. Without a mode it is whether the session may be joined at all, which is
// also who sees it in listings; without a subject, whether the bearer may join
// anything: which session is said later. Own sessions may be joined; those of
// others by join_sessions, which looks at the roles of the session's owner.
func (d *decider) decideJoin() Decision {
	a := &d.r.Identity.Authority
	if len(a.Usage) > 0 && !slices.Contains(a.Usage, "ssh") {
		return d.refuse(reason(CodeUsageMismatch, "", "the certificate is only for %v", a.Usage))
	}
	if a.Route != nil && !d.bridged() {
		return d.refuse(reason(CodeRouteMismatch, "", "a certificate for one resource joins no sessions"))
	}
	t, ok := d.r.Subject.(*types.SessionTracker)
	if d.r.Subject != nil && !ok {
		return d.refuse(reason(CodeKindNotSupported, "", "only a live session can be joined"))
	}
	if d.r.Mode != "" || t == nil {
		d.matched = d.roles // where it leads is not known, so what any role asks for counts
		if why := d.checkProofs(); why != nil {
			return d.refuse(why)
		}
	}
	if t == nil {
		return d.joins(nil, "")
	}
	if len(a.ResourceIDs) > 0 && !slices.ContainsFunc(a.ResourceIDs, func(id types.ResourceID) bool {
		return id.Kind == types.KindNode && id.Name == t.Spec.HostID
	}) {
		return d.refuse(reason(CodeNotRequested, "", "%s is not among the requested resources", t.Spec.Hostname))
	}
	if d.r.Mode != "" {
		return d.joinAs(t, d.r.Mode)
	}
	var no Decision
	for _, mode := range []string{ModeModerator, ModePeer, ModeObserver} {
		if no = d.joinAs(t, mode); no.Allow {
			return no
		}
	}
	return no
}

// bridged reports whether the bearer came over a bridge to the very host that
// decides: its route is a way there, and not what it is limited to.
func (d *decider) bridged() bool {
	id := d.r.Identity
	r := id.Authority.Route
	return id.Kind == types.IdentityBridge && r != nil && r.Kind == types.KindNode && d.r.HostID != "" && r.Name == d.r.HostID &&
		(r.Cluster == "" || r.Cluster == id.Cluster)
}

// joinAs decides about one mode.
func (d *decider) joinAs(t *types.SessionTracker, mode string) Decision {
	if !slices.Contains([]string{ModeObserver, ModePeer, ModeModerator}, mode) {
		return d.refuse(reason(CodeUnknownAction, "", "nobody joins as %q", mode))
	}
	for _, role := range d.roles {
		for _, p := range role.Spec.Deny.JoinSessions {
			if (len(p.Kinds) == 0 || listed(p.Kinds, t.Spec.Kind)) && (len(p.Modes) == 0 || listed(p.Modes, mode)) && d.ownerMatches(p.Roles, t, true) {
				return d.refuse(reason(CodeJoinDenied, role.Metadata.Name, "the role %s denies joining sessions of %s as %s", role.Metadata.Name, t.Spec.User, mode))
			}
		}
	}
	if owns(d.r.Identity, t) {
		return d.joins(nil, "own")
	}
	for _, role := range d.roles {
		for i, p := range role.Spec.Allow.JoinSessions {
			if listed(p.Kinds, t.Spec.Kind) && listed(p.Modes, mode) && d.ownerMatches(p.Roles, t, false) {
				return d.joins(role, "join_sessions["+strconv.Itoa(i)+"]")
			}
		}
	}
	return d.refuse(reason(CodeNoJoin, "", "no role allows joining the sessions of %s as %s", t.Spec.User, mode))
}

// owns reports whether the session is the bearer's own.
func owns(id *types.Identity, t *types.SessionTracker) bool {
	return t.Spec.User == id.Name && (t.Spec.Cluster == "" || t.Spec.Cluster == id.Cluster)
}

// joins is the allow of a join; the role is nil where none had to grant it.
func (d *decider) joins(role *types.Role, rule string) Decision {
	if role != nil {
		return d.allow(role, rule)
	}
	return Decision{Allow: true, Rule: rule, Policy: d.r.Policy, Limits: d.limits(),
		Reasons: []Reason{{Code: CodeAllowed, Text: "allowed, as far as it is known what is joined"}}}
}

// ownerMatches compares names and patterns of roles with those of the session's
// owner; onError is the answer of a pattern that cannot be read.
func (d *decider) ownerMatches(patterns []string, t *types.SessionTracker, onError bool) bool {
	for _, p := range patterns {
		for _, r := range t.Spec.Roles {
			ok, err := predicate.MatchPattern(d.r.Cache, p, r)
			if ok || err != nil && onError {
				return true
			}
		}
	}
	return false
}

func listed(list []string, s string) bool {
	return slices.Contains(list, s) || slices.Contains(list, types.Wildcard)
}
