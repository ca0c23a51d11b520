package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/postgres"
	"teleport/types"
	"teleport/types/event"
)

// A program that declares no types, and asks the server for them as pgx does, has
// the server's in the log.
func TestTypesOfTheServerAreTold(t *testing.T) {
	pki, spec := startServer(t)
	w := dbtest.New(t, postgres.Engine{}, spec, pki.Credentials)
	w.Role(func(r *types.RoleSpec) { r.Options.RecordDBParameters = types.DBParametersTypes })
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	c, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://alice@%s/postgres?sslmode=disable", addr))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "select nothing", 1); err == nil {
		t.Error("a statement that fails did not")
	}
	var n int
	var text string
	if err := c.QueryRow(t.Context(), "select $1::int8 + 1, $2::varchar", 41, "x").Scan(&n, &text); err != nil || n != 42 || text != "x" {
		t.Errorf("%d %q %v", n, text, err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
	binds := w.Log.Events(event.TypePostgresBind)
	if len(binds) != 1 {
		t.Fatalf("%d statements were bound", len(binds))
	}
	if b := binds[0].(*event.PostgresBind); b.Count != 2 || !slices.Equal(b.Types, []string{"int8", "varchar"}) || len(b.Values) != 0 {
		t.Errorf("%+v", b.Parameters)
	}
}
