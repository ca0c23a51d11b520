package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"teleport/fault"
)

var update = flag.Bool("update", false, "write the frozen examples that are missing")

// checkClasses returns what is wrong with the tags of a struct.
func checkClasses(t reflect.Type, path string) []string {
	var bad []string
	names := make(map[string]bool)
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous && f.Tag.Get("json") == "" {
				walk(f.Type)
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			where := path + "." + f.Name
			if name == "" {
				bad = append(bad, where+" has no JSON name")
			}
			if names[name] {
				bad = append(bad, where+" repeats the JSON name "+name)
			}
			names[name] = true
			switch class := f.Tag.Get("class"); class {
			case classPublic, classSensitive, classSecret:
			case classStruct:
				ft := f.Type
				if ft.Kind() == reflect.Pointer {
					ft = ft.Elem()
				}
				bad = append(bad, checkClasses(ft, where)...)
			default:
				bad = append(bad, fmt.Sprintf("%s has class %q", where, class))
			}
		}
	}
	walk(t)
	return bad
}

func TestEveryFieldHasAClass(t *testing.T) {
	for _, e := range Catalogue() {
		for _, bad := range checkClasses(reflect.TypeOf(e.New()).Elem(), e.Type) {
			t.Error(bad)
		}
	}
	type slack struct {
		Meta
		Name  string `json:"name"`
		Event string `json:"event" class:"public"`
	}
	if got := checkClasses(reflect.TypeFor[slack](), "slack"); len(got) != 2 {
		t.Errorf("the check does not see an unclassed field and a repeated name: %v", got)
	}
}

func TestCodesAreUsedOnce(t *testing.T) {
	types, codes, structs := make(map[string]bool), make(map[string]string), make(map[reflect.Type]string)
	for _, e := range Catalogue() {
		if types[e.Type] {
			t.Errorf("type %s is listed twice", e.Type)
		}
		types[e.Type] = true
		g := reflect.TypeOf(e.New())
		if was, ok := structs[g]; ok {
			t.Errorf("%s is the struct of %s and %s", g, was, e.Type)
		}
		structs[g] = e.Type
		if len(e.Codes) == 0 {
			t.Errorf("type %s has no code", e.Type)
		}
		for _, c := range e.Codes {
			if was, ok := codes[c]; ok {
				t.Errorf("code %s belongs to %s and %s", c, was, e.Type)
			}
			codes[c] = e.Type
			if !strings.ContainsAny(c[len(c)-1:], "IWES") {
				t.Errorf("code %s does not end in I, W, E or S", c)
			}
		}
	}
}

// sample fills every field of an event with a value that is easy to recognise.
func sample(e Entry) Event {
	ev := e.New()
	n := 0
	fill(reflect.ValueOf(ev).Elem(), "", &n)
	m := ev.EventMeta()
	m.Type, m.Code = e.Type, e.Codes[0]
	return ev
}

func fill(v reflect.Value, name string, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, *n*1000, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, n)
		}
	case reflect.String:
		v.SetString(name + "-<é>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), name+"0", n)
		fill(v.Index(1), name+"1", n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		el := reflect.New(v.Type().Elem()).Elem()
		fill(el, name, n)
		v.SetMapIndex(reflect.ValueOf("key"), el)
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	c := NewCodec()
	for _, entry := range Catalogue() {
		in := sample(entry)
		enc, err := c.Encode(in)
		if err != nil {
			t.Fatalf("%s: %v", entry.Type, err)
		}
		parsed, err := ParseEncoded(enc.Bytes())
		if err != nil {
			t.Fatalf("%s: %v\n%s", entry.Type, err, enc.Bytes())
		}
		whole, err := parsed.JSON()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Decode(whole)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Errorf("%s does not come back:\n%+v\n%+v", entry.Type, in, out)
		}
		// The same content as encoding/json would write.
		std, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(std, &a) != nil || json.Unmarshal(whole, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s differs from encoding/json:\n%s\n%s", entry.Type, std, whole)
		}
		if again, err := c.Encode(in); err != nil || !bytes.Equal(again.Bytes(), enc.Bytes()) {
			t.Errorf("%s: two encodings differ", entry.Type)
		}
	}
}

// TestFrozenExamples decodes the bytes of the first version for ever. A new
// field may be added to an event; nothing frozen may change its meaning.
func TestFrozenExamples(t *testing.T) {
	c := NewCodec()
	for _, entry := range Catalogue() {
		path := filepath.Join("testdata", "v1", entry.Type+".jsonl")
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) && *update {
			enc, eerr := c.Encode(sample(entry))
			if eerr != nil {
				t.Fatal(eerr)
			}
			b = append(enc.Bytes(), '\n')
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			t.Errorf("no frozen example of %s (go test -update makes it): %v", entry.Type, err)
			continue
		}
		frozen, err := ParseEncoded(bytes.TrimSuffix(b, []byte("\n")))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		whole, err := frozen.JSON()
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.Decode(whole)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		now, err := c.Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sameClass(t, path+" public", frozen.Public, now.Public)
		sameClass(t, path+" sensitive", frozen.Sensitive, now.Sensitive)
	}
}

func sameClass(t *testing.T, what string, frozen, now []byte) {
	t.Helper()
	var a, b map[string]any
	if json.Unmarshal(frozen, &a) != nil || json.Unmarshal(now, &b) != nil {
		t.Fatalf("%s is not an object", what)
	}
	for k, v := range a {
		if !reflect.DeepEqual(v, b[k]) {
			t.Errorf("%s: field %s was %v and is now %v", what, k, v, b[k])
		}
	}
}

func TestSensitiveFieldsStayInTheirHalf(t *testing.T) {
	c := NewCodec()
	enc, err := c.Encode(&SessionStart{
		User:     User{User: "alice", Login: "root", UserRoles: []string{"access"}},
		Session:  Session{SessionID: "s1"},
		Decision: Decision{Allow: true, Role: "access", Traits: map[string][]string{"team": {"red"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"alice", "root", "red"} {
		if bytes.Contains(enc.Public, []byte(word)) {
			t.Errorf("%q is in the public half: %s", word, enc.Public)
		}
		if !bytes.Contains(enc.Sensitive, []byte(word)) {
			t.Errorf("%q is not in the sensitive half: %s", word, enc.Sensitive)
		}
	}
	if !bytes.Contains(enc.Public, []byte(`"decision":{"allow":true,"role":"access"}`)) {
		t.Errorf("the decision's public part is missing: %s", enc.Public)
	}
}

func TestSecretAndUnclassedAreNeverEmitted(t *testing.T) {
	type leaky struct {
		Meta
		Token string `json:"token" class:"secret"`
		Odd   string `json:"odd"`
		Name  string `json:"name" class:"public"`
	}
	v := leaky{Token: "hunter2", Odd: "hunter3", Name: "ok"}
	p := compile(reflect.TypeFor[leaky]())
	var all found
	p.find(reflect.ValueOf(&v).Elem(), &all)
	for which := range parts {
		b, err := p.appendTo(nil, &all, which)
		if err != nil || bytes.Contains(b, []byte("hunter")) {
			t.Errorf("a secret got out: %s, %v", b, err)
		}
	}
}

func TestFillRefusesWhatIsNotInTheCatalogue(t *testing.T) {
	c := NewCodec()
	type foreign struct{ Meta }
	cases := map[string]Event{
		"foreign struct":   &foreign{Meta{Code: CodeExec}},
		"raw":              &Raw{Meta: Meta{Type: "x", Code: "Y"}},
		"wrong code":       &Exec{Meta: Meta{Code: CodeUserLogin}},
		"no code of two":   &Exec{},
		"wrong type":       &Exec{Meta: Meta{Type: TypePort, Code: CodeExec}},
		"nil":              nil,
		"typed nil":        (*Exec)(nil),
		"code of another":  &Resize{Meta: Meta{Code: CodeExec}},
		"pointer to group": &Meta{Code: CodeExec},
	}
	for name, e := range cases {
		if _, err := c.Encode(e); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := &Resize{Size: "80:25"}
	if err := c.Fill(r); err != nil || r.Type != TypeResize || r.Code != CodeResize {
		t.Errorf("the only code is not filled in: %+v, %v", r.Meta, err)
	}
	if _, err := c.Encode(&Exec{Meta: Meta{Code: CodeExec}, Command: Command{Command: strings.Repeat("x", MaxSize)}}); fault.KindOf(err) != fault.Limit {
		t.Errorf("too long: %v", err)
	}
}

func TestDecodeUnknownType(t *testing.T) {
	in := `{"event":"quantum.leap","code":"TQ001I","uid":"u","time":"2030-01-01T00:00:00Z","cluster_name":"c","depth":3}`
	e, err := NewCodec().Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := e.(*Raw)
	if !ok || raw.Type != "quantum.leap" || string(raw.JSON) != in {
		t.Errorf("got %+v", e)
	}
	for _, bad := range []string{"", "null", "[]", `{"event":3}`, `{}`, `{"event":"exec","time":"later"}`} {
		if _, err := NewCodec().Decode([]byte(bad)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseEncodedRefusesOtherForms(t *testing.T) {
	for _, bad := range []string{"", "{}", "{}\n", "{}\n{}\n", "\n{}", "[]\n{}", " {}\n{}", "{}\n{} ", "{\"a\":}\n{}", "{}\n{\n}"} {
		if _, err := ParseEncoded([]byte(bad)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSFTPCodes(t *testing.T) {
	c := NewCodec()
	for _, a := range []int{SFTPOpen, SFTPSetstat, SFTPOpendir, SFTPReaddir, SFTPRemove, SFTPMkdir, SFTPRmdir, SFTPRename, SFTPSymlink, SFTPLink, SFTPDenied} {
		for _, ok := range []bool{true, false} {
			code := SFTPCode(a, ok)
			if c.TypeOf(code) != TypeSFTP || !strings.HasPrefix(code, fmt.Sprintf("TS%03d", a)) {
				t.Errorf("action %d, %v: code %q", a, ok, code)
			}
		}
	}
	if SFTPCode(99, true) != "" {
		t.Error("an unknown action has a code")
	}
}

func FuzzDecode(f *testing.F) {
	c := NewCodec()
	for _, e := range Catalogue() {
		if enc, err := c.Encode(sample(e)); err == nil {
			f.Add(enc.Bytes())
		}
	}
	f.Add([]byte("{\"a\":{\"b\":1}}\n{\"a\":{\"c\":[]}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseEncoded(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Bytes(), b) {
			t.Fatal("the halves do not join to what was parsed")
		}
		whole, err := p.JSON()
		if err != nil {
			return
		}
		if !json.Valid(whole) {
			t.Fatalf("merged form is not JSON: %s", whole)
		}
		e, err := c.Decode(whole)
		if err != nil {
			return
		}
		if _, raw := e.(*Raw); raw {
			return
		}
		if err := c.Fill(e); err != nil {
			return // a code of a newer version
		}
		if _, err := c.Encode(e); err != nil && fault.KindOf(err) != fault.Limit {
			t.Fatalf("decoded and cannot be encoded: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	c := NewCodec()
	e := &Exec{Meta: Meta{Code: CodeExec, UID: "0b9f1c3e", Time: time.Unix(1, 0), Cluster: "example"},
		User: User{User: "alice", Login: "root", UserRoles: []string{"access"}}, Session: Session{SessionID: "s"},
		Server: Server{ServerID: "id", ServerHostname: "node-1"}, Command: Command{Command: "uptime", ExitCode: "0"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}
