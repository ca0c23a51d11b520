package dbclient

import "teleport/fault"

// Batch is the program of PostgreSQL or MySQL that runs one query without asking
// anybody, and ends with a code that is not 0 where it fails.
func (t Target) Batch(query string, installed func(program string) bool) ([]string, error) {
	switch {
	case Postgres(t.Protocol):
		return []string{"psql", "--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1", "--command=" + query, "--dbname=" + t.conninfo()}, nil
	case t.Protocol == "mysql":
		argv := t.mysql(installed)
		return append([]string{argv[0], "--no-defaults"}, append(argv[1:], "--table", "--execute="+query)...), nil
	}
	return nil, fault.New(fault.Unimplemented, "queries run on PostgreSQL and MySQL, not on %s", t.Protocol)
}
