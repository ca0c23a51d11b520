package access_test

import (
	"testing"

	"teleport/access"
	"teleport/types"
)

func TestAttendance(t *testing.T) {
	mod := func(edit func(*types.RequireSessionJoin)) types.RequireSessionJoin {
		p := types.RequireSessionJoin{Name: "audit", Filter: `contains(user.spec.roles, "auditor")`, Kinds: []string{"ssh"},
			Modes: []string{"moderator"}, Count: 1, OnLeave: "terminate"}
		if edit != nil {
			edit(&p)
		}
		return p
	}
	role := func(name string, p ...types.RequireSessionJoin) *types.Role {
		r := &types.Role{}
		r.Metadata.Name, r.Spec.Allow.RequireSessionJoin = name, p
		return r
	}
	at := func(user, mode string, roles ...string) access.Attendee {
		return access.Attendee{User: user, Mode: mode, Roles: roles}
	}
	one := role("prod", mod(nil))
	two := role("prod", mod(func(p *types.RequireSessionJoin) { p.Count = 2 }))
	named := role("boss", mod(func(p *types.RequireSessionJoin) {
		p.Name, p.Filter, p.Modes = "boss", `equals(user.name, "carol")`, nil
	}))
	either := role("prod", mod(nil), mod(func(p *types.RequireSessionJoin) {
		p.Name, p.Filter, p.Modes = "peers", `!contains(user.spec.roles, "guest")`, []string{"peer", "observer"}
	}))
	for _, c := range []struct {
		name    string
		roles   []*types.Role
		present []access.Attendee
		missing string
	}{
		{"no policy", []*types.Role{role("plain")}, nil, ""},
		{"alone", []*types.Role{one}, nil, `1 person to join as moderator (policy "audit")`},
		{"a moderator", []*types.Role{one}, []access.Attendee{at("bob", "moderator", "auditor")}, ""},
		{"in the wrong mode", []*types.Role{one}, []access.Attendee{at("bob", "observer", "auditor")}, `1 person to join as moderator (policy "audit")`},
		{"without the role", []*types.Role{one}, []access.Attendee{at("bob", "moderator", "dev")}, `1 person to join as moderator (policy "audit")`},
		{"two wanted", []*types.Role{two}, []access.Attendee{at("bob", "moderator", "auditor")}, `1 person to join as moderator (policy "audit")`},
		{"one who came twice", []*types.Role{two}, []access.Attendee{at("bob", "moderator", "auditor"), at("bob", "moderator", "auditor")}, `1 person to join as moderator (policy "audit")`},
		{"two came", []*types.Role{two}, []access.Attendee{at("bob", "moderator", "auditor"), at("eve", "moderator", "auditor")}, ""},
		{"two lack", []*types.Role{two}, nil, `2 people to join as moderator (policy "audit")`},
		{"or within a role", []*types.Role{either}, []access.Attendee{at("dan", "peer", "dev")}, ""},
		{"neither", []*types.Role{either}, []access.Attendee{at("dan", "peer", "guest")}, `1 person to join as moderator (policy "audit") or 1 person to join as peer or observer (policy "peers")`},
		{"and over roles", []*types.Role{one, named}, []access.Attendee{at("bob", "moderator", "auditor")}, `1 person to join (policy "boss")`},
		{"one for both", []*types.Role{one, named}, []access.Attendee{at("carol", "moderator", "auditor")}, ""},
		{"other kind", []*types.Role{role("k", mod(func(p *types.RequireSessionJoin) { p.Kinds = []string{"k8s"} }))}, nil, ""},
		{"every kind", []*types.Role{role("k", mod(func(p *types.RequireSessionJoin) { p.Kinds = nil }))}, nil, `1 person to join as moderator (policy "audit")`},
		{"a filter that does not read", []*types.Role{role("k", mod(func(p *types.RequireSessionJoin) { p.Filter = `nonsense(` }))},
			[]access.Attendee{at("bob", "moderator", "auditor")}, `1 person to join as moderator (policy "audit")`},
		{"a count of none is one", []*types.Role{role("k", mod(func(p *types.RequireSessionJoin) { p.Count = 0 }))}, nil, `1 person to join as moderator (policy "audit")`},
	} {
		a := access.RequiredAttendance(c.roles, "ssh")
		if got := a.Missing(nil, c.present); got != c.missing {
			t.Errorf("%s: missing %q, want %q", c.name, got, c.missing)
		}
	}
	pause := mod(func(p *types.RequireSessionJoin) { p.OnLeave = "pause" })
	for want, roles := range map[bool][]*types.Role{true: {role("a", pause), role("b", pause)}, false: {role("a", pause), one}} {
		if got := access.RequiredAttendance(roles, "ssh").Pauses(); got != want {
			t.Errorf("pauses: %v, want %v", got, want)
		}
	}
	text := access.RequiredAttendance([]*types.Role{two, role("boss", pause)}, "ssh").Text()
	want := "Who must be present in this session:\r\n" +
		"  role \"prod\", any one of:\r\n    2 people to join as moderator (policy \"audit\"), where contains(user.spec.roles, \"auditor\") holds\r\n" +
		"  role \"boss\", any one of:\r\n    1 person to join as moderator (policy \"audit\"), where contains(user.spec.roles, \"auditor\") holds\r\n" +
		"  When one of them leaves, the session ends."
	if text != want {
		t.Errorf("%q, want %q", text, want)
	}
	if (access.Attendance{}).Pauses() || (access.Attendance{}).Any() {
		t.Error("nobody is needed, and yet")
	}
}
