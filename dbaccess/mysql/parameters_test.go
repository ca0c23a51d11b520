package mysql_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"teleport/types"
	"teleport/types/event"
)

// TestParametersAreTold: as far as the role says, of a real program and server.
func TestParametersAreTold(t *testing.T) {
	w, addr := world(t)
	for level, want := range map[string][]string{
		types.DBParametersNone:  {"3 [] []", "3 [] []"},
		types.DBParametersTypes: {"3 [bigint char null] []", "3 [bigint char char] []"},
		types.DBParametersValues: {`3 [bigint char null] [-7 Émile \N]`,
			"3 [bigint char char] [8 0xff00 " + strings.Repeat("x", 256) + "… (300 bytes)]"},
	} {
		w.Role(func(r *types.RoleSpec) { r.Options.RecordDBParameters = level })
		before := len(w.Log.Events(event.TypeMySQLExecute))
		db, err := sql.Open("mysql", "alice:secret@tcp("+addr.String()+")/shop")
		if err != nil {
			t.Fatal(err)
		}
		st, err := db.Prepare("select ?, ?, ?")
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]any{{-7, "Émile", nil}, {8, "\xff\x00", strings.Repeat("x", 300)}} {
			var a, b, c any
			if err := st.QueryRow(args...).Scan(&a, &b, &c); err != nil {
				t.Errorf("%s: %v", level, err)
			}
		}
		db.Close()
		var got []string
		for _, e := range w.Log.Events(event.TypeMySQLExecute)[before:] {
			p := e.(*event.MySQLExecute).Parameters
			got = append(got, fmt.Sprint(p.Count, " ", p.Types, " ", p.Values))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", level, got, want)
		}
	}
}
