package output_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func TestTable(t *testing.T) {
	tb := output.NewTable("Name", "Labels").Row("web-1", "env=prod").Row("서버", "a=b").Row("x\x1b[2J\u202e", "", "dropped")
	var b bytes.Buffer
	if err := tb.Write(&b, 0); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		if strings.HasSuffix(line, " ") || strings.ContainsRune(line, 0x1b) {
			t.Errorf("line %d is ragged or unsafe: %q", i, line)
		}
	}
	if !strings.Contains(b.String(), `x\x1b[2J\u202e`) {
		t.Errorf("control characters are not shown as escapes:\n%s", b.String())
	}
	col := func(line, cell string) int {
		return output.Width(line[:strings.Index(line, cell)])
	}
	lines := strings.Split(b.String(), "\n")
	if a, c := col(lines[2], "env="), col(lines[3], "a=b"); a != c || a != col(lines[0], "Labels") {
		t.Errorf("columns start at %d and %d:\n%s", a, c, b.String())
	}
}

func TestTableFits(t *testing.T) {
	tb := output.NewTable("Name", "Description").Row("web-1", strings.Repeat("길다 ", 60)).Row("web-2", strings.Repeat("x", 300))
	for _, width := range []int{40, 80} {
		var b bytes.Buffer
		if err := tb.Write(&b, width); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(b.String(), "\n") {
			if output.Width(line) > width {
				t.Errorf("%d columns: %q has %d", width, line, output.Width(line))
			}
		}
	}
	var b bytes.Buffer
	if err := tb.Write(&b, 0); err != nil || !strings.Contains(b.String(), strings.Repeat("x", 300)) {
		t.Error("without a terminal the table is shortened")
	}
}

// TestTableWhole: what people copy is never shortened; on a narrow screen each row
// is a paragraph, and nothing goes over its edge but a key that is wider.
func TestTableWhole(t *testing.T) {
	const id = "6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11"
	tb := output.NewTable("ID", "Kind", "Where", "Reason", "State").Whole().
		Row(id, "ssh", "root@web-1.example.com", "", "stored").Row(id, "ssh", "루트@서버", strings.Repeat("long ", 30), "running")
	for width, want := range map[int]string{
		0:   "ID                                   Kind Where ",
		100: "ID                                   Kind Where                  Reason ",
		83:  "ID                                   Kind Where            Reason           State\n",
		60: id + "\n  Kind: ssh  Where: root@web-1.example.com  State: stored\n\n" + id +
			"\n  Kind: ssh  Where: 루트@서버\n  Reason: long long long long long long long long long long…\n  State: running\n",
		40: id + "\n  Kind: ssh\n  Where: root@web-1.example.com\n  State: stored\n\n" + id +
			"\n  Kind: ssh  Where: 루트@서버\n  Reason: long long long long long long…\n  State: running\n",
	} {
		var b bytes.Buffer
		if err := tb.Write(&b, width); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(b.String(), want) || strings.Count(b.String(), id) != 2 {
			t.Errorf("%d columns:\n%s", width, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if n := output.Width(strings.TrimSuffix(line, "\n")); width > 0 && n > width || strings.HasSuffix(line, " \n") {
				t.Errorf("%d columns: %q has %d", width, line, n)
			}
		}
	}
}

func TestAround(t *testing.T) {
	for _, c := range []struct {
		s, text string
		n       int
		want    string
	}{
		{"short", "short", 5, "short"},
		{"a needle in much hay", "needle", 12, "a needle in…"},
		{"much hay, a Needle, and as much hay behind", "needle", 17, "…y, a Needle, an…"},
		{"much hay and more of it, then the needle", "needle", 20, "…it, then the needle"},
		{"서버서버서버서버 바늘 서버서버서버", "바늘", 13, "…버 바늘 서…"},
		{"much hay and no such thing", "needle", 8, "much ha…"},
		{"hay hay needle hay", "needle", 3, "…n…"},
		{"hay hay needle hay", "needle", 1, "…"},
	} {
		if got := output.Around(c.s, c.text, c.n); got != c.want || output.Width(got) > c.n {
			t.Errorf("%q around %q in %d: %q", c.s, c.text, c.n, got)
		}
	}
}

func TestRoundTripOfEveryKind(t *testing.T) {
	for _, f := range []output.Format{output.JSON, output.YAML} {
		var docs []types.Resource
		for _, k := range types.Kinds() {
			r := k.Example()
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
			docs = append(docs, r)
		}
		var b bytes.Buffer
		if err := output.WriteDocuments(&b, f, docs); err != nil {
			t.Fatal(err)
		}
		if f == output.JSON {
			if !json.Valid(b.Bytes()) {
				t.Error("not JSON")
			}
			continue
		}
		back, err := output.ReadDocuments("all.yaml", bytes.NewReader(b.Bytes()))
		if err != nil || len(back) != len(docs) {
			t.Fatalf("%d of %d documents, %v\n%s", len(back), len(docs), err, b.String())
		}
		for i := range docs {
			want, _ := types.Encode(docs[i])
			if got, err := types.Encode(back[i]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s changed:\n%s\n%s", docs[i].Head().Kind, got, want)
			}
		}
	}
}

const goodRole = `kind: role
version: v8
metadata:
  name: dev
spec:
  options:
    forward_agent: yes
    max_session_ttl: 8h
  allow:
    logins: ["{{internal.logins}}", root]
    node_labels:
      env: [prod, 'test-*']
      "*": "*"
`

func TestReadDocuments(t *testing.T) {
	docs, err := output.ReadDocuments("r.yaml", strings.NewReader("# comment\n---\n"+goodRole+"---\n"+strings.Replace(goodRole, "name: dev", "name: ops", 1)+"---\n"))
	if err != nil || len(docs) != 2 || docs[1].Head().Name() != "ops" {
		t.Fatalf("%v %v", docs, err)
	}
	if r := docs[0].(*types.Role); !*r.Spec.Options.ForwardAgent || r.Spec.Allow.NodeLabels["env"][1] != "test-*" {
		t.Errorf("%+v", r.Spec)
	}
	if docs, err := output.ReadDocuments("r.json", strings.NewReader(`{"kind":"user","version":"v2","metadata":{"name":"al"}}`)); err != nil || len(docs) != 1 {
		t.Errorf("JSON: %v %v", docs, err)
	}
}

func TestReadDocumentsNamesTheLine(t *testing.T) {
	for _, c := range []struct{ name, doc, message, hint string }{
		{"unknown key", strings.Replace(goodRole, "node_labels:", "node_label:", 1), "r.yaml:11: spec.allow.node_label: unknown key", "node_labels"},
		{"second document", goodRole + "---\n" + strings.Replace(goodRole, "max_session_ttl", "max_session_tl", 1), "r.yaml:22: spec.options.max_session_tl: unknown key", "max_session_ttl"},
		{"bad value", strings.Replace(goodRole, "8h", "8 hours", 1), "r.yaml:8: spec.options.max_session_ttl: ", ""},
		{"number", strings.Replace(goodRole, "[prod, 'test-*']", "1", 1), "r.yaml:12: spec.allow.node_labels.env: ", ""},
		{"missing name", "kind: user\nversion: v2\nmetadata: {}\n", "r.yaml:3: metadata.name: ", ""},
		{"duplicate", goodRole + "version: v8\n", "r.yaml:14: ", ""},
		{"alias", strings.Replace(goodRole, "[prod, 'test-*']", "*x", 1), "r.yaml:12: ", ""},
		{"anchor", strings.Replace(goodRole, "[prod, 'test-*']", "&x prod", 1), "r.yaml:12: ", ""},
		{"merge", strings.Replace(goodRole, "env: [prod, 'test-*']", "<<: {a: b}", 1), "r.yaml:12: ", ""},
		{"tag", strings.Replace(goodRole, "[prod, 'test-*']", "!!str prod", 1), "r.yaml:12: ", ""},
		{"syntax", strings.Replace(goodRole, "[prod, 'test-*']", "[prod", 1), "r.yaml:1", ""},
		{"empty", "# nothing\n", "r.yaml holds no document", ""},
		{"scalar", "hello\n", "r.yaml:1: ", ""},
		{"plural kind", "\n\nkind: roles\nversion: v8\n", "r.yaml:3: kind: ", "role"},
	} {
		_, err := output.ReadDocuments("r.yaml", strings.NewReader(c.doc))
		if err == nil || !strings.HasPrefix(fault.Message(err), c.message) || !strings.Contains(fault.Hint(err), c.hint) {
			t.Errorf("%s: %v (hint %q), want %q", c.name, err, fault.Hint(err), c.message)
		}
	}
	if _, err := output.ReadDocuments("r", strings.NewReader(strings.Repeat("[", 100000))); err == nil {
		t.Error("deep nesting is accepted")
	}
	if _, err := output.ReadDocuments("r", strings.NewReader(strings.Repeat("a", 5<<20))); fault.KindOf(err) != fault.Invalid {
		t.Error("a file of 5 MiB is accepted")
	}
}

// FuzzText: whatever text a document holds, printed as YAML and read back it is
// the same.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "yes", "1.0", "*", "{{x}}", "a: b", "- a", "a\nb\n", "#c", " lead", "trail ", "~", "0x1F", "2026-01-02", "'q'", "é", "<<", "|", "1_000", "null", "=", "a #b", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in, err := json.Marshal(map[string]any{"k" + s: []string{s}, "n": map[string]string{"x": s}})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := output.Write(&b, output.YAML, json.RawMessage(in)); err != nil {
			t.Fatal(err)
		}
		docs, err := output.ReadYAML("x", bytes.NewReader(b.Bytes()))
		if err != nil || len(docs) != 1 {
			t.Fatalf("%q: %v\n%s", s, err, b.String())
		}
		var want, got any
		if json.Unmarshal(in, &want) != nil || json.Unmarshal(docs[0].JSON, &got) != nil {
			t.Fatal("not JSON")
		}
		x, _ := json.Marshal(want)
		y, _ := json.Marshal(got)
		if !bytes.Equal(x, y) {
			t.Fatalf("%s\nbecame %s\nby way of %s", x, y, b.String())
		}
	})
}

func FuzzReadYAML(f *testing.F) {
	f.Add(goodRole)
	f.Add("a: [b, {c: d}]\n---\n- x\n")
	f.Fuzz(func(t *testing.T, s string) {
		docs, err := output.ReadYAML("x", strings.NewReader(s))
		for _, d := range docs {
			if err == nil && !json.Valid(d.JSON) {
				t.Fatalf("%q gives %q", s, d.JSON)
			}
		}
	})
}
