// Package engines is the list of database protocols that agents of this binary
// speak.
package engines

import (
	"teleport/dbaccess"
	"teleport/dbaccess/postgres"
)

// All returns the engines by protocol. CockroachDB speaks PostgreSQL's.
func All() map[string]dbaccess.Engine {
	return map[string]dbaccess.Engine{"postgres": postgres.Engine{}, "cockroachdb": postgres.Engine{}}
}
