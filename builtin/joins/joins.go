// Package joins lists the join methods that this program knows. Methods is for
// the auth service, Prover for a process that joins.
package joins

import (
	"teleport/fault"
	"teleport/join"
	"teleport/join/tokenjoin"
)

// Methods returns every join method.
func Methods() []join.Method { return []join.Method{tokenjoin.Method{}} }

// Prover returns the half of a method that runs in the process that joins.
func Prover(name string) (join.Prover, error) {
	for _, m := range Methods() {
		if m.Name() == name {
			return m, nil
		}
	}
	return nil, fault.New(fault.Invalid, "the join method %q is not in this version", name).WithHint("Methods: token.")
}
