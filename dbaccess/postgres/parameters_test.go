package postgres

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/types"
)

func TestBind(t *testing.T) {
	long := make([]uint32, 1000)
	for level, want := range map[string]string{
		"":                       "2 [] []",
		types.DBParametersNone:   "2 [] []",
		types.DBParametersTypes:  "2 [int4 text] []",
		types.DBParametersValues: `2 [int4 text] [0x00000007 \N]`,
	} {
		d := newDeclared(level)
		d.parse(&pgproto3.Parse{Name: "s", ParameterOIDs: []uint32{23, 25}})
		m := &pgproto3.Bind{PreparedStatement: "s", ParameterFormatCodes: []int16{1, 0}, Parameters: [][]byte{{0, 0, 0, 7}, nil}}
		if e := d.bind(m); fmt.Sprint(e.Count, " ", e.Types, " ", e.Values) != want {
			t.Errorf("%q: %+v", level, e)
		}
	}
	d := newDeclared(types.DBParametersValues)
	for i := range 2 * mostDeclared {
		d.parse(&pgproto3.Parse{Name: fmt.Sprint(i), ParameterOIDs: long})
	}
	if len(d.types) != mostDeclared || len(d.types["0"]) != maxDeclared {
		t.Errorf("%d statements are kept, %d types", len(d.types), len(d.types["0"]))
	}
	d.close("0")
	d.parse(&pgproto3.Parse{Name: "0", ParameterOIDs: []uint32{99999, 0, 0}})
	values := [][]byte{[]byte("a"), []byte("b"), {0}, []byte("d")}
	for _, c := range []struct {
		forms []int16
		types []string
		last  string
	}{
		{nil, []string{"oid 99999", "untyped", "untyped", "untyped"}, "d"},
		{[]int16{1}, []string{"oid 99999", "binary", "binary", "binary"}, "0x64"},
		{[]int16{0, 1}, []string{"oid 99999", "binary", "untyped", "untyped"}, "d"}, // too few: the server refuses it
	} {
		e := d.bind(&pgproto3.Bind{PreparedStatement: "0", ParameterFormatCodes: c.forms, Parameters: values})
		if !slices.Equal(e.Types, c.types) || e.Values[3] != c.last {
			t.Errorf("%v: %q %q", c.forms, e.Types, e.Values)
		}
	}
}
