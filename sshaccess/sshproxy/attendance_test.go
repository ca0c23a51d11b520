package sshproxy

import (
	"errors"
	"testing"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
)

// Where roles want others present, a server without an agent is no way around
// them: nobody could join there.
func TestNobodyWorksAloneWhereOthersMustWatch(t *testing.T) {
	yes := access.Decision{Allow: true}
	watched := &types.Role{Header: types.Header{Metadata: types.Metadata{Name: "watched"}}}
	watched.Spec.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "two", Kinds: []string{"ssh"}, Count: 1, Modes: []string{"moderator"}}}
	elsewhere := &types.Role{Header: types.Header{Metadata: types.Metadata{Name: "elsewhere"}}}
	elsewhere.Spec.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "k8s", Kinds: []string{"k8s"}, Count: 1}}
	for _, c := range []struct {
		roles   []*types.Role
		d       access.Decision
		refused bool
	}{
		{nil, yes, false},
		{nil, access.Decision{}, true},
		{[]*types.Role{elsewhere}, yes, false},
		{[]*types.Role{elsewhere, watched}, yes, true},
	} {
		err := new(end).may(decided{access.Request{Roles: c.roles}, c.d})
		if errors.Is(err, fault.Denied) != c.refused || err != nil != c.refused {
			t.Errorf("%d roles, %t: %v", len(c.roles), c.d.Allow, err)
		}
	}
}
