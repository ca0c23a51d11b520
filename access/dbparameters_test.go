package access

import (
	"testing"

	"teleport/types"
)

// TestTheStrictestRoleSaysWhatIsToldOfParameters: a role without a word leaves it
// to the others, and a level that is not known tells nothing.
func TestTheStrictestRoleSaysWhatIsToldOfParameters(t *testing.T) {
	for _, c := range []struct {
		roles []string
		want  string
	}{
		{nil, "none"},
		{[]string{""}, "none"},
		{[]string{"", "types"}, "types"},
		{[]string{"values", ""}, "values"},
		{[]string{"values", "types"}, "types"},
		{[]string{"types", "values", "none"}, "none"},
		{[]string{"none", "values"}, "none"},
		{[]string{"values", "everything"}, "everything"},
	} {
		var roles []*types.Role
		for _, level := range c.roles {
			r := &types.Role{}
			r.Spec.Options.RecordDBParameters = level
			roles = append(roles, r)
		}
		if got := MergeOptions(roles, Settings{}).DBParameters; got != c.want {
			t.Errorf("%q: %s", c.roles, got)
		}
	}
	r := &types.Role{}
	r.Metadata.Name = "db"
	r.Spec.Options.RecordDBParameters = "everything"
	if r.Validate() == nil {
		t.Error("a role with a level that is not known is taken")
	}
}
