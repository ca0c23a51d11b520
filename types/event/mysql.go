package event

// Types and codes about MySQL and MariaDB. What a statement says is DBQuery.
const (
	TypeMySQLPrepare  = "db.session.mysql.statements.prepare"
	CodeMySQLPrepare  = "TMY00I"
	TypeMySQLExecute  = "db.session.mysql.statements.execute"
	CodeMySQLExecute  = "TMY01I"
	TypeMySQLLongData = "db.session.mysql.statements.send_long_data"
	CodeMySQLLongData = "TMY02I"
	TypeMySQLClose    = "db.session.mysql.statements.close"
	CodeMySQLClose    = "TMY03I"
	TypeMySQLReset    = "db.session.mysql.statements.reset"
	CodeMySQLReset    = "TMY04I"
	TypeMySQLFetch    = "db.session.mysql.statements.fetch"
	CodeMySQLFetch    = "TMY05I"
	TypeMySQLInitDB   = "db.session.mysql.init_db"
	CodeMySQLInitDB   = "TMY07I"
	CodeMySQLInitFail = "TMY07W"
	TypeMySQLCreateDB = "db.session.mysql.create_db"
	CodeMySQLCreateDB = "TMY08I"
	TypeMySQLDropDB   = "db.session.mysql.drop_db"
	CodeMySQLDropDB   = "TMY09I"
	TypeMySQLShutDown = "db.session.mysql.shut_down"
	CodeMySQLShutDown = "TMY10I"
	TypeMySQLKill     = "db.session.mysql.process_kill"
	CodeMySQLKill     = "TMY11I"
	TypeMySQLDebug    = "db.session.mysql.debug"
	CodeMySQLDebug    = "TMY12I"
	TypeMySQLRefresh  = "db.session.mysql.refresh"
	CodeMySQLRefresh  = "TMY13I"
)

// MySQLPrepare prepares a statement. The result that follows it has its number.
type MySQLPrepare struct {
	Meta
	inDatabase
	Statement
}

// MySQLExecute runs a prepared statement.
type MySQLExecute struct {
	Meta
	inDatabase
	Parameters
	StatementID uint32 `json:"statement_id" class:"public"`
}

// MySQLLongData sends a part of one parameter.
type MySQLLongData struct {
	Meta
	inDatabase
	StatementID uint32 `json:"statement_id" class:"public"`
	ParameterID uint16 `json:"parameter_id" class:"public"`
	Bytes       int64  `json:"data_size" class:"public"`
}

// MySQLClose forgets a prepared statement.
type MySQLClose struct {
	Meta
	inDatabase
	StatementID uint32 `json:"statement_id" class:"public"`
}

// MySQLReset forgets what was sent of a prepared statement's parameters.
type MySQLReset struct {
	Meta
	inDatabase
	StatementID uint32 `json:"statement_id" class:"public"`
}

// MySQLFetch gets rows of a statement that left them with the server.
type MySQLFetch struct {
	Meta
	inDatabase
	StatementID uint32 `json:"statement_id" class:"public"`
	Rows        uint32 `json:"rows_count" class:"public"` // at most
}

// MySQLInitDB turns to a database within the server, by a command of its own.
// One that was not let through has an error, and the code CodeMySQLInitFail.
type MySQLInitDB struct {
	Meta
	inDatabase
	Status
	Schema string `json:"schema_name" class:"public"`
}

// MySQLCreateDB makes a database, by a command of its own.
type MySQLCreateDB struct {
	Meta
	inDatabase
	Schema string `json:"schema_name" class:"public"`
}

// MySQLDropDB drops a database, by a command of its own.
type MySQLDropDB struct {
	Meta
	inDatabase
	Schema string `json:"schema_name" class:"public"`
}

// MySQLKill ends a connection by its number.
type MySQLKill struct {
	Meta
	inDatabase
	Process uint32 `json:"process_id" class:"public"`
}

// MySQLShutDown shuts the server down.
type MySQLShutDown struct {
	Meta
	inDatabase
}

// MySQLDebug makes the server write what it is doing into its own log.
type MySQLDebug struct {
	Meta
	inDatabase
}

// MySQLRefresh makes the server read or write things anew.
type MySQLRefresh struct {
	Meta
	inDatabase
	Subcommand uint8 `json:"subcommand" class:"public"` // a set of bits
}
