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
	if len(d.types) != mostDeclared || len(d.types["0"].oids) != maxDeclared {
		t.Errorf("%d statements are kept, %d types", len(d.types), len(d.types["0"].oids))
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

// description is what the server says of parameters.
func description(oids ...uint32) []byte {
	b, _ := (&pgproto3.ParameterDescription{ParameterOIDs: oids}).Encode(nil)
	return b[5:]
}

// TestTypesThatTheServerTells asks for types in pipelines: an answer is for the
// statement that was asked about, or for none.
func TestTypesThatTheServerTells(t *testing.T) {
	parse := func(d *declared, name string, oids ...uint32) {
		d.parse(&pgproto3.Parse{Name: name, ParameterOIDs: oids})
	}
	ask := func(d *declared, name string) { d.describe(&pgproto3.Describe{ObjectType: 'S', Name: name}) }
	for name, c := range map[string]struct {
		do   func(*declared)
		want string // of the statement a
	}{
		"asked": {func(d *declared) { parse(d, "a"); ask(d, "a"); d.sync(); d.answered(description(23, 25)); d.ready() }, "[23 25]"},
		"a portal": {func(d *declared) {
			parse(d, "a")
			d.describe(&pgproto3.Describe{ObjectType: 'P', Name: "a"})
			d.answered(description(23))
		}, "[]"},
		"in part declared": {func(d *declared) { parse(d, "a", 23, 0); ask(d, "a"); d.answered(description(23, 25)) }, "[23 25]"},
		"of two": {func(d *declared) {
			parse(d, "b")
			ask(d, "b")
			parse(d, "a")
			ask(d, "a")
			d.answered(description(16))
			d.answered(description(23))
		}, "[23]"},
		"another of the name": {func(d *declared) { parse(d, "a"); ask(d, "a"); parse(d, "a", 20); d.answered(description(23)) }, "[20]"},
		"closed":              {func(d *declared) { parse(d, "a"); ask(d, "a"); d.close("a"); d.answered(description(23)) }, "[]"},
		"skipped after an error": {func(d *declared) {
			parse(d, "b")
			ask(d, "b")
			d.sync()
			parse(d, "a")
			ask(d, "a")
			d.sync()
			d.ready() // of an error: b was not answered
			d.answered(description(23))
			d.ready()
		}, "[23]"},
		"nobody asked": {func(d *declared) {
			parse(d, "a")
			d.answered(description(23))
			d.sync()
			d.answered(description(23))
			d.ready()
			d.ready()
		}, "[]"},
		"cut short": {func(d *declared) { parse(d, "a"); ask(d, "a"); d.answered(description(23, 25)[:7]) }, "[23]"},
		"asked without end": {func(d *declared) {
			parse(d, "a")
			for range mostAsked + 1 {
				ask(d, "a")
			}
			d.answered(description(23))
		}, "[]"},
	} {
		d := newDeclared(types.DBParametersTypes)
		c.do(d)
		if got := fmt.Sprint(d.typesOf("a")); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
