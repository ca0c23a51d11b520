package types

// Role is a set of permissions (kind role, v3 to v9).
type Role struct {
	Header
	Spec RoleSpec `json:"spec"`
}

// RoleSpec is options plus what is allowed and what is denied.
type RoleSpec struct {
	Options RoleOptions    `json:"options,omitzero"`
	Allow   RoleConditions `json:"allow,omitzero"`
	Deny    RoleConditions `json:"deny,omitzero"`
}

// Labels is a selector: key to the values of which one must match. In JSON a
// value may be a string or a list.
type Labels map[string]StringList

// StringList reads "a" and ["a","b"] alike and writes a list.
type StringList []string
