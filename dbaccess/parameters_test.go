package dbaccess

import (
	"slices"
	"strings"
	"testing"

	"teleport/types"
)

func TestParameters(t *testing.T) {
	for level, want := range map[string][2][]string{
		"":                      {nil, nil},
		"other":                 {nil, nil},
		types.DBParametersNone:  {nil, nil},
		types.DBParametersTypes: {{"int4", "text", "bytea", "text", "text"}, nil},
		types.DBParametersValues: {{"int4", "text", "bytea", "text", "text"},
			{"7", `\N`, "0x00ff", strings.Repeat("é", 127) + "… (301 bytes)", "0xff41"}},
	} {
		p := NewParameters(level, 5)
		p.Add("int4", []byte("7"), false)
		p.Add("text", nil, false)
		p.Add("bytea", []byte{0, 255}, true)
		p.Add("text", []byte("x" + strings.Repeat("é", 150))[:301], false)
		p.Add("text", []byte{255, 'A'}, false)
		e := p.Event()
		if want[1] != nil {
			want[1][3] = "x" + want[1][3]
		}
		if e.Count != 5 || !slices.Equal(e.Types, want[0]) || !slices.Equal(e.Values, want[1]) {
			t.Errorf("%q: %+v", level, e)
		}
	}
	p := NewParameters(types.DBParametersValues, 100)
	size := 0
	for range 100 {
		p.Add("bytea", make([]byte, 1<<20), true)
	}
	for _, v := range p.Event().Values {
		size += len(v)
	}
	if e := p.Event(); e.Count != 100 || len(e.Types) != 64 || len(e.Values) != 64 || size > 64<<10 {
		t.Errorf("%d %d %d, %d bytes", e.Count, len(e.Types), len(e.Values), size)
	}
}
