package access

import (
	"fmt"
	"slices"
	"strings"

	"teleport/predicate"
	"teleport/types"
)

// Attendance is who must be present in somebody's sessions: the
// require_session_join of the owner's roles. Each role that has policies for the
// kind of session must be satisfied, by any one of them. The zero value asks for
// nobody.
type Attendance struct {
	sets []attendanceSet
}

type attendanceSet struct {
	role     string
	policies []types.RequireSessionJoin
}

// Attendee is somebody present beside the owner.
type Attendee struct {
	User  string
	Roles []string
	Mode  string
}

// RequiredAttendance collects the policies of the owner's roles for a kind of
// session (ssh, k8s). A policy without kinds is for all.
func RequiredAttendance(roles []*types.Role, kind string) Attendance {
	var a Attendance
	for _, role := range roles {
		set := attendanceSet{role: role.Metadata.Name}
		for _, p := range role.Spec.Allow.RequireSessionJoin {
			if len(p.Kinds) == 0 || listed(p.Kinds, kind) {
				set.policies = append(set.policies, p)
			}
		}
		if len(set.policies) > 0 {
			a.sets = append(a.sets, set)
		}
	}
	return a
}

// Any reports whether anybody must be present at all.
func (a Attendance) Any() bool { return len(a.sets) > 0 }

// Pauses reports what happens when somebody who was needed leaves: the session
// pauses where every policy says so, and ends otherwise.
func (a Attendance) Pauses() bool {
	for _, s := range a.sets {
		for _, p := range s.policies {
			if p.OnLeave != "pause" {
				return false
			}
		}
	}
	return a.Any()
}

// Missing says in a few words who is still needed, "" when nobody is. The cache
// may be nil.
func (a Attendance) Missing(c *predicate.Cache, present []Attendee) string {
	var all []string
	for _, s := range a.sets {
		var ways []string
		for _, p := range s.policies {
			lacks := max(p.Count, 1) - countMatching(c, p, present)
			if lacks <= 0 {
				ways = nil
				break
			}
			ways = append(ways, lacking(p, lacks))
		}
		if len(ways) > 0 {
			all = append(all, strings.Join(ways, " or "))
		}
	}
	return strings.Join(all, ", and ")
}

// Text lists for a person, a line for each policy, who must be present and what
// happens when they leave. Lines end like those of terminals, but for the last.
func (a Attendance) Text() string {
	if !a.Any() {
		return "Nobody has to be present in this session."
	}
	lines := []string{"Who must be present in this session:"}
	for _, s := range a.sets {
		lines = append(lines, fmt.Sprintf("  role %q, any one of:", s.role))
		for _, p := range s.policies {
			line := "    " + lacking(p, max(p.Count, 1))
			if p.Filter != "" {
				line += ", where " + p.Filter + " holds"
			}
			lines = append(lines, line)
		}
	}
	after := "  When one of them leaves, the session ends."
	if a.Pauses() {
		after = "  When one of them leaves, the session pauses."
	}
	return strings.Join(append(lines, after), "\r\n")
}

// countMatching counts the users, not their parties, whom a policy accepts.
func countMatching(c *predicate.Cache, p types.RequireSessionJoin, present []Attendee) int {
	seen := map[string]bool{}
	for _, who := range present {
		if !seen[who.User] && (len(p.Modes) == 0 || listed(p.Modes, who.Mode)) && attendeeMatches(c, p.Filter, who) {
			seen[who.User] = true
		}
	}
	return len(seen)
}

// attendeeMatches evaluates a filter; one that cannot be evaluated accepts nobody.
func attendeeMatches(c *predicate.Cache, filter string, who Attendee) bool {
	if filter == "" {
		return true
	}
	p, err := c.Where(filter)
	if err != nil {
		return false
	}
	u := &subject{Name: who.User}
	u.Metadata.Name, u.Spec.Roles = who.User, slices.Clone(who.Roles)
	ok, err := p.Eval(predicate.Vars{"user": u})
	return err == nil && ok
}

func lacking(p types.RequireSessionJoin, n int) string {
	as := "to join"
	if len(p.Modes) > 0 && !slices.Contains(p.Modes, types.Wildcard) {
		as = "to join as " + strings.Join(p.Modes, " or ")
	}
	who := "1 person"
	if n > 1 {
		who = fmt.Sprintf("%d people", n)
	}
	return fmt.Sprintf("%s %s (policy %q)", who, as, p.Name)
}
