package types

// RoleOptions is filled in role_options.go's successor.
type RoleOptions struct{}

// RoleConditions is filled with it.
type RoleConditions struct{}
