// Package engines is the list of database protocols that agents of this binary
// speak.
package engines

import (
	"teleport/dbaccess"
	"teleport/dbaccess/dynamodb"
	"teleport/dbaccess/mysql"
	"teleport/dbaccess/postgres"
	"teleport/dbaccess/redis"
)

// All returns the engines by protocol. CockroachDB speaks PostgreSQL's, MariaDB
// MySQL's; aws signs for the databases that want each request signed.
func All(aws dynamodb.Signer) map[string]dbaccess.Engine {
	return map[string]dbaccess.Engine{"postgres": postgres.Engine{}, "cockroachdb": postgres.Engine{}, "mysql": mysql.Engine{}, "redis": redis.Engine{},
		"dynamodb": dynamodb.Engine{Signer: aws}}
}
