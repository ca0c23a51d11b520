package event

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"
)

// reflected writes a part of a struct field by field, by encoding/json alone: what
// plans must not differ from by a byte.
func reflected(t *testing.T, v reflect.Value, which part) string {
	t.Helper()
	fields := map[string]string{}
	var walk func(v reflect.Value, shared bool)
	walk = func(v reflect.Value, shared bool) {
		for i := range v.NumField() {
			f, x := v.Type().Field(i), v.Field(i)
			tag := f.Tag.Get("json")
			if f.Anonymous && tag == "" {
				walk(x, shared || f.Type == reflect.TypeFor[inDatabase]() || f.Type == reflect.TypeFor[inApp]())
				continue
			}
			name, opts, _ := strings.Cut(tag, ",")
			if name == "" || name == "-" || shared && which == own ||
				strings.Contains(opts, "omitempty") && isEmpty(x) || strings.Contains(opts, "omitzero") && x.IsZero() {
				continue
			}
			if text, ok := reflectedField(t, x, f.Tag.Get("class"), which); ok {
				fields[name] = text
			}
		}
	}
	walk(v, false)
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	sort.Strings(names)
	for i, n := range names {
		names[i] = `"` + n + `":` + fields[n]
	}
	return "{" + strings.Join(names, ",") + "}"
}

func reflectedField(t *testing.T, v reflect.Value, class string, which part) (string, bool) {
	t.Helper()
	switch class {
	case classPublic:
		if which == sensitiveHalf {
			return "", false
		}
	case classSensitive:
		if which == publicHalf {
			return "", false
		}
	case classStruct:
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return "", false
			}
			v = v.Elem()
		}
		text := reflected(t, v, which)
		return text, which != sensitiveHalf || text != "{}"
	default:
		return "", false
	}
	value := v.Interface()
	switch at := value.(type) {
	case time.Time:
		value = at.UTC()
	case *time.Time:
		if at != nil {
			value = at.UTC()
		}
	}
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

// odd are strings that JSON writes in its own way.
var odd = []string{"", "plain", "select * from t where a < 1 and b > 'x' && \"c\"", "two\nlines\tand\r\b\f\x00\x7f", "ünïcode 漢字 🙂", "cut \xc3", "\u2028\u2029", `back\slash`}

// scatter sets some fields of a struct.
func scatter(v reflect.Value, r *rand.Rand) {
	if r.IntN(3) == 0 && v.Kind() != reflect.Struct {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		scatter(v.Elem(), r)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			if r.IntN(2) == 0 {
				v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).In(time.FixedZone("", r.IntN(20000)))))
			}
			return
		}
		for i := range v.NumField() {
			scatter(v.Field(i), r)
		}
	case reflect.String:
		v.SetString(odd[r.IntN(len(odd))])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(r.Uint64())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			scatter(v.Index(i), r)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(12) {
			el := reflect.New(v.Type().Elem()).Elem()
			scatter(el, r)
			v.SetMapIndex(reflect.ValueOf(odd[r.IntN(len(odd))]+string(rune('a'+r.IntN(26)))), el)
		}
	}
}

// TestPlansWriteWhatJSONDoes compares, for every kind of event, all that is written
// of it with what encoding/json writes of its fields.
func TestPlansWriteWhatJSONDoes(t *testing.T) {
	c := NewCodec()
	r := rand.New(rand.NewPCG(1, 2))
	for _, entry := range Catalogue() {
		for i := range 40 {
			e := entry.New()
			switch i {
			case 0: // nothing is set
			case 1:
				e = sample(entry)
			default:
				scatter(reflect.ValueOf(e).Elem(), r)
			}
			m := e.EventMeta()
			m.Type, m.Code = entry.Type, entry.Codes[i%len(entry.Codes)]
			v := reflect.ValueOf(e).Elem()
			enc, err := c.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(enc.Public), reflected(t, v, publicHalf); got != want {
				t.Fatalf("%s, public:\n%s\n%s", entry.Type, got, want)
			}
			if got, want := string(enc.Sensitive), reflected(t, v, sensitiveHalf); got != want {
				t.Fatalf("%s, sensitive:\n%s\n%s", entry.Type, got, want)
			}
			if !isPlain(enc.Public) || !isPlain(enc.Sensitive) {
				t.Fatalf("%s is not plain:\n%s", entry.Type, enc.Bytes())
			}
			for _, which := range []part{whole, own} {
				got, err := c.AppendJSON([]byte("before"), e, which == whole)
				if want := "before" + reflected(t, v, which); err != nil || string(got) != want {
					t.Fatalf("%s, in one object: %v\n%s\n%s", entry.Type, err, got, want)
				}
			}
		}
	}
}

// What is appended is what Bytes and JSON of the halves are.
func TestAppendedIsWhatIsJoined(t *testing.T) {
	c := NewCodec()
	for _, entry := range Catalogue() {
		e := sample(entry)
		enc, err := c.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		all, halves, err := c.Append([]byte("before"), e)
		if err != nil || !bytes.Equal(all, append([]byte("before"), enc.Bytes()...)) || !bytes.Equal(halves.Bytes(), enc.Bytes()) {
			t.Errorf("%s: %v\n%s\n%s", entry.Type, err, all, enc.Bytes())
		}
		joined, err := enc.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.AppendJSON(nil, e, true); err != nil || !bytes.Equal(got, joined) {
			t.Errorf("%s: %v\n%s\n%s", entry.Type, err, got, joined)
		}
	}
}

// An event that does not fit leaves what was there as it was.
func TestAppendKeepsWhatWasThere(t *testing.T) {
	c := NewCodec()
	long := &Exec{Meta: Meta{Code: CodeExec}, Command: Command{Command: strings.Repeat("x", MaxSize)}}
	for _, bad := range []Event{long, &Exec{}} {
		if got, _, err := c.Append([]byte("before"), bad); err == nil || string(got) != "before" {
			t.Errorf("Append: %.20q %v", got, err)
		}
		if got, err := c.AppendJSON([]byte("before"), bad, true); err == nil || string(got) != "before" {
			t.Errorf("AppendJSON: %.20q %v", got, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range odd {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString(nil, s); !bytes.Equal(got, want) {
			t.Fatalf("%q is written %s, not %s", s, got, want)
		}
	})
}

// BenchmarkStatement is what an agent does for each query.
func BenchmarkStatement(b *testing.B) {
	c := NewCodec()
	e := &DBQuery{Meta: Meta{Code: CodeDBQuery, UID: "d3b07384-d113-4ec6-a7d8-6f9b1f0d2c11", Time: time.Unix(1e9, 123456789), Cluster: "example"}, Status: Status{Success: true}}
	e.User = User{User: "alice", UserKind: 1, UserCluster: "example", UserRoles: []string{"access", "db"}, UserTraits: map[string][]string{"db_users": {"reader"}, "team": {"red", "blue"}}}
	e.Session, e.Server = Session{SessionID: "d3b07384-d113-4ec6-a7d8-6f9b1f0d2c11"}, Server{Namespace: "default", ServerID: "d3b07384-d113-4ec6-a7d8-6f9b1f0d2c11", ServerHostname: "node-1"}
	e.Database = Database{Service: "pg", Protocol: "postgres", URI: "localhost:5432", Type: "self-hosted", Name: "bench", DBUser: "reader"}
	e.Text = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"
	b.Run("halves", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _, _ = c.Append(buf[:0], e)
		}
	})
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = c.AppendJSON(buf[:0], e, false)
		}
	})
}
