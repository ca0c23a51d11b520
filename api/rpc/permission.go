// Package rpc is the plumbing under every service that this system offers over
// HTTP: one access table that names the permission of each procedure, the
// verified caller in the context, faults that keep their kind, message and hint
// across the wire, and limits on what a peer may cost before it is known.
//
// A Connect handler is registered through Server.Register, which refuses a
// service with a procedure that the table does not name. HTTP and WebSocket
// handlers are mounted through Mux.Handle, which refuses a Route without a
// permission. Authorisation happens inside the handler, by its method
// descriptor and never by the text of a URL, and its default is refusal.
package rpc

import (
	"slices"
	"strings"

	"teleport/types"
)

// Level says which question a permission asks of a caller.
type Level int

// The levels. The zero Level is no permission at all: nothing registers with it.
const (
	LevelNone      Level = iota
	LevelAnonymous       // anybody, without a certificate
	LevelSystem          // a process of the cluster in one of the roles
	LevelUser            // a user, about the user's own credential
	LevelRule            // whoever the rules allow Verb on Kind
	LevelResource        // an identified caller; Verb on the kind named in the request is decided by the handler
)

// Permission is what a procedure or route asks of its caller. Make one with
// Anonymous, System, AnyUser, Rule or Resource.
type Permission struct {
	Level Level
	Roles []types.SystemRole // LevelSystem: any one of them suffices
	Kind  string             // LevelRule
	Verb  string             // LevelRule and LevelResource
}

// Anonymous admits callers without a certificate.
func Anonymous() Permission { return Permission{Level: LevelAnonymous} }

// System admits hosts of the cluster that have one of the roles.
func System(roles ...types.SystemRole) Permission {
	return Permission{Level: LevelSystem, Roles: roles}
}

// AnyUser admits every user that is not locked, for what concerns the user's
// own credential alone.
func AnyUser() Permission { return Permission{Level: LevelUser} }

// Rule admits callers whose roles allow the verb on the kind.
func Rule(kind, verb string) Permission {
	return Permission{Level: LevelRule, Kind: kind, Verb: verb}
}

// Resource admits identified callers; the handler decides the verb on the kind
// and document that the request names.
func Resource(verb string) Permission { return Permission{Level: LevelResource, Verb: verb} }

// Declared reports whether p asks a complete question. An undeclared permission
// never registers and never admits.
func (p Permission) Declared() bool {
	switch p.Level {
	case LevelAnonymous, LevelUser:
		return true
	case LevelSystem:
		return len(p.Roles) > 0
	case LevelRule:
		return p.Kind != "" && p.Verb != ""
	case LevelResource:
		return p.Verb != ""
	}
	return false
}

// AdmitsSystem reports whether p is for hosts and id is a host in one of its
// roles. Locks and restrictions are the Authorizer's to look at.
func (p Permission) AdmitsSystem(id *types.Identity) bool {
	return p.Level == LevelSystem && slices.ContainsFunc(p.Roles, id.HasSystemRole)
}

// String names the permission for messages and golden tables.
func (p Permission) String() string {
	switch p.Level {
	case LevelAnonymous:
		return "anonymous"
	case LevelSystem:
		names := make([]string, len(p.Roles))
		for i, r := range p.Roles {
			names[i] = string(r)
		}
		return "system " + strings.Join(names, ",")
	case LevelUser:
		return "user"
	case LevelRule:
		return "rule " + p.Verb + " " + p.Kind
	case LevelResource:
		return "resource " + p.Verb
	}
	return "none"
}
