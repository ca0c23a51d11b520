package event

import "time"

// Types and codes about databases.
const (
	TypeDBStart          = "db.session.start"
	CodeDBStart          = "TDB00I"
	CodeDBStartFail      = "TDB00W"
	TypeDBEnd            = "db.session.end"
	CodeDBEnd            = "TDB01I"
	TypeDBQuery          = "db.session.query"
	CodeDBQuery          = "TDB02I"
	TypeDBQueryFail      = "db.session.query.failed"
	CodeDBQueryFail      = "TDB02W"
	TypeDBMalformed      = "db.session.malformed_packet"
	CodeDBMalformed      = "TDB06I"
	TypeDBUserCreate     = "db.session.user.create"
	CodeDBUserCreate     = "TDB08I"
	CodeDBUserCreateFail = "TDB08W"
	TypeDBUserEnd        = "db.session.user.deactivate"
	CodeDBUserEnd        = "TDB09I"
	CodeDBUserEndFail    = "TDB09W"
	TypeDBResult         = "db.session.result"
	CodeDBResult         = "TDB10I"
	CodeDBResultFail     = "TDB10W"
	TypePostgresParse    = "db.session.postgres.statements.parse"
	CodePostgresParse    = "TPG00I"
	TypePostgresBind     = "db.session.postgres.statements.bind"
	CodePostgresBind     = "TPG01I"
	TypePostgresExecute  = "db.session.postgres.statements.execute"
	CodePostgresExecute  = "TPG02I"
	TypePostgresClose    = "db.session.postgres.statements.close"
	CodePostgresClose    = "TPG03I"
	TypePostgresFunction = "db.session.postgres.function"
	CodePostgresFunction = "TPG04I"
)

// Database says which database, and as whom.
type Database struct {
	Service  string   `json:"db_service,omitempty" class:"public"`
	Protocol string   `json:"db_protocol,omitempty" class:"public"`
	URI      string   `json:"db_uri,omitempty" class:"public"`
	Type     string   `json:"db_type,omitempty" class:"public"` // self-hosted, rds, gcp, azure
	Origin   string   `json:"db_origin,omitempty" class:"public"`
	Name     string   `json:"db_name,omitempty" class:"public"`
	DBUser   string   `json:"db_user,omitempty" class:"sensitive"`
	DBRoles  []string `json:"db_roles,omitempty" class:"public"`
}

// OfDatabase is implemented by the events of a session with a database: it gives
// the parts that all of them share, to be filled in place.
type OfDatabase interface {
	OfDatabase() (*User, *Session, *Server, *Database)
}

// inDatabase is those parts.
type inDatabase struct {
	User
	Session
	Server
	Database
}

// OfDatabase implements the interface of that name.
func (d *inDatabase) OfDatabase() (*User, *Session, *Server, *Database) {
	return &d.User, &d.Session, &d.Server, &d.Database
}

// Statement is a text that was sent to a database. A long one is cut: Bytes and
// SHA256 are then of the whole.
type Statement struct {
	Text   string `json:"db_query" class:"sensitive"`
	Bytes  int    `json:"db_query_bytes,omitempty" class:"public"`  // only of one that was cut
	SHA256 string `json:"db_query_sha256,omitempty" class:"public"` // hex, only of one that was cut
}

// Parameters are the values of a statement, as far as the capture level of the
// user's roles lets them be told: how many there are,
// their types, or all. The first 64 are told, the first 256 bytes of each; NULL is
// \N, and bytes that are no text are hex after 0x.
type Parameters struct {
	Count  int      `json:"parameter_count,omitempty" class:"public"`
	Types  []string `json:"parameter_types,omitempty" class:"public"`
	Values []string `json:"parameters,omitempty" class:"sensitive"`
}

// DBStart opens a session with a database and carries the decision. A refused
// one has the code CodeDBStartFail, and no end.
type DBStart struct {
	Meta
	inDatabase
	Connection
	Status
	Recording string   `json:"session_recording,omitempty" class:"public"`
	Decision  Decision `json:"decision" class:"struct"`
	Gateway   *Gateway `json:"gateway,omitempty" class:"struct"`
}

// DBEnd closes a session with a database.
type DBEnd struct {
	Meta
	inDatabase
	Connection
	Start     time.Time `json:"session_start" class:"public"`
	Stop      time.Time `json:"session_stop" class:"public"`
	Recording string    `json:"session_recording,omitempty" class:"public"`
	Reason    string    `json:"reason,omitempty" class:"public"`
}

// DBUserCreate is a user of the database that was made, or made ready again, for a
// session: with the roles of the database that it has there.
type DBUserCreate struct {
	Meta
	inDatabase
	Status
	Username string `json:"username" class:"sensitive"` // in the database
}

// DBUserEnd is such a user whose last session has ended: it has no roles any more,
// and cannot log in, or is gone.
type DBUserEnd struct {
	Meta
	inDatabase
	Status
	Username string `json:"username" class:"sensitive"`
	Delete   bool   `json:"delete" class:"public"` // it is gone
}

// DBQuery is a statement on its way to the database. Statements that only a
// refusal ended have the type TypeDBQueryFail.
type DBQuery struct {
	Meta
	inDatabase
	Statement
	Status
}

// DBQueryFail is a statement that was not sent on.
type DBQueryFail struct {
	Meta
	inDatabase
	Statement
	Status
}

// DBResult is how the database ended one statement.
type DBResult struct {
	Meta
	inDatabase
	Status
	Command string `json:"command,omitempty" class:"public"`    // SELECT, INSERT …
	Rows    uint64 `json:"affected_records" class:"public"`     // as the database counted
	Code    string `json:"error_code,omitempty" class:"public"` // SQLSTATE or number
	// StatementID is the number that a MySQL server gave to what was prepared.
	StatementID uint32 `json:"statement_id,omitempty" class:"public"`
}

// DBMalformed is a message that the engine refused.
type DBMalformed struct {
	Meta
	inDatabase
	Payload string `json:"payload,omitempty" class:"sensitive"` // hex, at most 256 bytes
	Reason  string `json:"reason" class:"public"`
}

// PostgresParse prepares a statement.
type PostgresParse struct {
	Meta
	inDatabase
	Statement
	Name  string   `json:"statement_name" class:"sensitive"`
	Types []uint32 `json:"parameter_oids,omitempty" class:"public"`
}

// PostgresBind binds values to a prepared statement.
type PostgresBind struct {
	Meta
	inDatabase
	Parameters
	Name   string `json:"statement_name" class:"sensitive"`
	Portal string `json:"portal_name" class:"sensitive"`
}

// PostgresExecute runs what was bound.
type PostgresExecute struct {
	Meta
	inDatabase
	Portal string `json:"portal_name" class:"sensitive"`
	Rows   uint32 `json:"max_rows,omitempty" class:"public"`
}

// PostgresClose forgets a statement or a portal.
type PostgresClose struct {
	Meta
	inDatabase
	Name   string `json:"statement_name,omitempty" class:"sensitive"`
	Portal string `json:"portal_name,omitempty" class:"sensitive"`
}

// PostgresFunction calls a function by its number.
type PostgresFunction struct {
	Meta
	inDatabase
	OID  uint32 `json:"function_oid" class:"public"`
	Args int    `json:"function_args" class:"public"` // how many
}
