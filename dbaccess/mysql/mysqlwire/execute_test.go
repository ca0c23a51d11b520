package mysqlwire

import (
	"fmt"
	"testing"
)

func TestParseExecute(t *testing.T) {
	none := func(int) bool { return false }
	text := func(b Bound, err error) string {
		out := ""
		for _, v := range b.Values {
			out += fmt.Sprintf("%s=%s", TypeName(v.Type), v.Data)
			if v.Null {
				out += "NULL"
			}
			if v.Long {
				out += "LONG"
			}
			out += ";"
		}
		return fmt.Sprint(out, " ", len(b.Types), " ", err != nil)
	}
	for name, c := range map[string]struct {
		in    string
		count int
		known []uint16
		long  func(int) bool
		want  string
	}{
		"none":             {"", 0, nil, none, " 0 true"},
		"integers":         {"\x00\x01\x01\x00\x02\x80\x03\x00\x08\x80" + "\xff" + "\xff\xff" + "\xfe\xff\xff\xff" + "\xff\xff\xff\xff\xff\xff\xff\xff", 4, nil, none, "tinyint=-1;smallint unsigned=65535;int=-2;bigint unsigned=18446744073709551615; 4 false"},
		"floats":           {"\x00\x01\x04\x00\x05\x00" + "\x00\x00\xc0\x3f" + "\x00\x00\x00\x00\x00\x00\xf8\xbf", 2, nil, none, "float=1.5;double=-1.5; 2 false"},
		"texts and a null": {"\x02\x01\xfd\x00\xfc\x00\xfe\x00" + "\x03abc" + "\x01x", 3, nil, none, "varchar=abc;blob=NULL;char=x; 3 false"},
		"times":            {"\x00\x01\x0a\x00\x0c\x00\x07\x00\x0b\x00\x0b\x00" + "\x04\xea\x07\x01\x1f" + "\x07\xea\x07\x01\x1f\x0c\x00\x01" + "\x0b\xea\x07\x01\x1f\x0c\x00\x01\x40\x42\x0f\x00" + "\x08\x01\x02\x00\x00\x00\x03\x04\x05" + "\x00", 5, nil, none, "date=2026-01-31;datetime=2026-01-31 12:00:01;timestamp=2026-01-31 12:00:01.1000000;time=-51:04:05;time=00:00:00; 5 false"},
		"as before":        {"\x00\x00" + "\x05", 1, []uint16{1}, none, "tinyint=5; 1 false"},
		"never before":     {"\x00\x00" + "\x05", 1, nil, none, " 0 true"},
		"sent before":      {"\x00\x01\xfc\x00\x01\x00" + "\x05", 2, nil, func(i int) bool { return i == 0 }, "blob=LONG;tinyint=5; 2 false"},
		"breaks off":       {"\x00\x01\x01\x00\xfd\x00" + "\x05" + "\x09abc", 2, nil, none, "tinyint=5; 2 true"},
		"no types":         {"\x00\x01\x01", 2, nil, none, " 0 true"},
		"unknown":          {"\x00\x01\x63\x00" + "\x01x", 1, nil, none, "type 99=x; 1 false"},
	} {
		if got := text(ParseExecute([]byte(c.in), c.count, c.known, c.long)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzParseExecute(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x05"), 1)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		count &= 0xffff
		out, err := ParseExecute(b, count, nil, func(i int) bool { return i%7 == 6 })
		if len(out.Values) > count || err == nil && len(out.Values) != count {
			t.Errorf("%d values of %d, %v", len(out.Values), count, err)
		}
	})
}
