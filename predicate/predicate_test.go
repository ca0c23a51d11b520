package predicate_test

import (
	"slices"
	"strings"
	"testing"

	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
)

func env() predicate.Vars {
	n := &types.Node{Spec: types.NodeSpec{Hostname: "web-1", UseTunnel: true}}
	n.Metadata.Name, n.Metadata.Labels = "uuid", map[string]string{"env": "prod", "team": "web"}
	u := &types.User{Spec: types.UserSpec{Roles: []string{"dev", "ops"}, Traits: map[string][]string{"team": {"web"}, "email": {"al@example.com"}, "none": {}}}}
	u.Metadata.Name = "alice"
	return predicate.Vars{"labels": n.Metadata.Labels, "user": u, "resource": n, "name": "web-1", "session": map[string]any{"participants": []string{"alice", "bob"},
		"json": map[string]any{"roles": []any{"dev", "ops"}, "uses": float64(3), "on": true, "mixed": []any{"a", float64(1)}, "more": map[string]any{}}}}
}

func TestEval(t *testing.T) {
	where, labels, query := predicate.Where(), predicate.LabelExpr(), predicate.Query()
	for _, c := range []struct {
		d    *predicate.Dialect
		src  string
		want bool
	}{
		{where, `contains(user.spec.roles, "dev") && !equals(resource.metadata.name, "x")`, true},
		{where, `contains(user.spec.roles, "admin")`, false},
		{where, `contains(session.participants, user.metadata.name)`, true},
		{where, `equals(resource.metadata.labels["env"], "prod")`, true},
		{where, `resource.spec.use_tunnel`, true},
		{where, `resource.spec.hostname == "web-1"`, true},
		{where, `contains(user.spec.traits["team"], resource.metadata.labels["team"])`, true},
		{where, `contains(user.spec.traits["nothing"], resource.metadata.labels["nothing"])`, false},
		{where, `contains_all(user.spec.roles, user.spec.traits["none"])`, false},
		{labels, `labels["env"] == "prod"`, true},
		{labels, `labels["env"] != "prod"`, false},
		{labels, `labels["nope"] == ""`, true},
		{labels, `strings.upper(labels["env"]) == "PROD" && strings.lower(labels["team"]) != "x"`, true},
		{where, `user.spec.roles == session.json.roles && equals(resource.metadata.name, "uuid")`, true},
		{labels, `contains(user.spec.traits["team"], labels["team"])`, true},
		{labels, `contains_any(user.spec.traits["team"], labels["team"])`, true},
		{labels, `contains_all(user.spec.roles, user.spec.traits["team"])`, false},
		{labels, `regexp.match(labels["env"], "^(prod|test)$")`, true},
		{labels, `contains(email.local(user.spec.traits["email"]), "al")`, true},
		{labels, `contains(regexp.replace(user.spec.traits["email"], "@.*$", ""), "al")`, true},
		{labels, `contains(strings.upper(labels["env"]), "PROD")`, true},
		{labels, `contains(labels_matching("^te"), "web")`, true},
		{labels, `!(labels["env"] == "prod" || labels["team"] == "x")`, false},
		{query, `name == "web-1" && labels["env"] == "prod"`, true},
		{query, `exists(labels["env"]) && !exists(labels["nope"])`, true},
		{query, `hasPrefix(name, "web")`, true},
		{query, `search("WEB", "prod")`, true},
		{query, `search("web", "absent")`, false},
		{query, `contains(split(name, "-"), "1")`, true},
		{query, `resource.spec.hostname == "web-1"`, true},
		{where, `contains(session.json.roles, "dev") && session.json.uses == "3" && session.json.on == true`, true},
		{where, `session.json.hidden == true || session.json.more.hidden == true`, false},
		{where, `session.json.hidden == false && session.json.hidden != true`, true},
	} {
		p, err := predicate.Compile(c.d, c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got, err := p.Eval(env()); err != nil || got != c.want {
			t.Errorf("%s = %v, %v; want %v", c.src, got, err, c.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, src := range map[string]string{
		"empty": "", "unknown root": `secret.x == "y"`, "unknown function": `system("x")`, "text": `"x"`, "list": `strings.upper(user.spec.roles)`,
		"arity": `contains(user.spec.roles)`, "ellipsis": `contains(user.spec.roles...)`, "operator": `user.x < "y"`, "arithmetic": `user.x + "y" == "z"`,
		"func literal": `func() bool { return true }()`, "composite": `[]string{"a"}`, "index": `user.spec.roles[0]`, "slice": `user.spec.roles[0:1]`,
		"regex": `regexp.match(user.spec.roles, "(")`, "regex not literal": `regexp.match(user.spec.roles, user.name)`, "char": `user.name == 'a'`,
		"text in and": `"a" && true`, "negation of text": `!"a"`, "long": strings.Repeat("(", predicate.MaxSource+1),
		"deep": strings.Repeat("!", 200) + "true", "wide": "true" + strings.Repeat("||true", 600), "truth argument": `contains(user.spec.roles, true)`,
	} {
		if _, err := predicate.Compile(predicate.Where(), src); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestComparisonsOfDifferentTypes are refused where the types are known, with what
// was meant; where they are not, the values decide.
func TestComparisonsOfDifferentTypes(t *testing.T) {
	where, labels, query := predicate.Where(), predicate.LabelExpr(), predicate.Query()
	for _, c := range []struct {
		d         *predicate.Dialect
		src, hint string
	}{
		{labels, `labels["team"] == user.spec.traits["team"]`, `write: contains(user.spec.traits["team"], labels["team"])`},
		{labels, `labels["a"] == "b" || user.spec.traits.team != labels.team`, `write: !contains(user.spec.traits.team, labels.team)`},
		{labels, `(user.spec.roles) == "dev"`, `write: contains((user.spec.roles), "dev")`},
		{labels, `user.metadata.name == labels_matching("owner")`, `write: contains(labels_matching("owner"), user.metadata.name)`},
		{labels, `strings.lower(user.spec.traits["team"]) == strings.lower(labels["team"])`, `write: contains(strings.lower(user.spec.traits["team"]), strings.lower(labels["team"]))`},
		{labels, `labels["on"] == true`, `write text in quotes: labels["on"] == "true"`},
		{labels, `false != labels["on"]`, `write text in quotes: labels["on"] != "false"`},
		{labels, `user.spec.roles == (labels["a"] == "b")`, ""},
		{where, `equals(user.spec.roles, "dev")`, `write: contains(user.spec.roles, "dev")`},
		{where, `equals(user.metadata.name, session.participants)`, `write: contains(session.participants, user.metadata.name)`},
		{where, `user.name == session_tracker.participants`, `write: contains(session_tracker.participants, user.name)`},
		{query, `name == split(name, "-")`, `write: contains(split(name, "-"), name)`},
		{query, `equals(labels["env"], true)`, `write text in quotes: labels["env"] == "true"`},
	} {
		_, err := predicate.Compile(c.d, c.src)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Message(err), "compares") || fault.Hint(err) != c.hint {
			t.Errorf("%s: %v; hint %q", c.src, err, fault.Hint(err))
			continue
		}
		if _, fixed, ok := strings.Cut(c.hint, ": "); ok {
			if _, err := predicate.Compile(c.d, fixed); err != nil {
				t.Errorf("%s: the hint is no expression: %v", c.src, err)
			}
		}
	}
	for _, src := range []string{`resource.spec.nodes == name`, `labels["a"] == name`, `resource.spec.on == true`, `resource.spec.x == split(name, "-")`, `labels == name`} {
		if _, err := predicate.Compile(query, src); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}

// TestErrorsNeverGrant: an evaluation error yields false at every position.
func TestErrorsNeverGrant(t *testing.T) {
	for _, src := range []string{
		`resource.spec.nope == "x"`, `!(resource.spec.nope == "x")`, `resource.spec.nope == "x" || true`, `true && resource.spec.nope != "x"`,
		`!contains(email.local(user.spec.roles), "x")`, `user.spec.roles`, `resource.spec.use_tunnel == "true"`, `session_tracker.spec.user == "x"`,
		`!contains(user.spec, "x")`, `contains(session.json.mixed, "a")`, `!contains(session.json.mixed, "a")`,
	} {
		p, err := predicate.Compile(predicate.Where(), src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := p.Eval(env()); got || err == nil {
			t.Errorf("%s = %v, %v; want an error", src, got, err)
		}
	}
}

// TestRegularExpressionsAreBounded: a few bytes cannot stand for millions of
// states, wherever a regular expression may be written, and what matching costs
// is counted.
func TestRegularExpressionsAreBounded(t *testing.T) {
	bomb := "((a{100}){100}){100}"
	for name, compile := range map[string]func() error{
		"query": func() error {
			_, err := predicate.Compile(predicate.Query(), `regexp.match(name, "`+bomb+`")`)
			return err
		},
		"where": func() error {
			_, err := predicate.Compile(predicate.Where(), `regexp.match(user.x, "`+bomb+`")`)
			return err
		},
		"expression": func() error {
			_, err := predicate.Compile(predicate.LabelExpr(), `contains(labels_matching("`+bomb+`"), "x")`)
			return err
		},
		"pattern": func() error { return predicate.CheckPattern("^" + bomb + "$") },
		"template": func() error {
			_, err := predicate.ParseTemplate(`{{regexp.replace(external.x, "` + bomb + `", "y")}}`)
			return err
		},
		"matcher": func() error { _, err := predicate.ParseRoleMatcher(`{{regexp.match("` + bomb + `")}}`); return err },
	} {
		if err := compile(); err == nil {
			t.Errorf("%s: a bomb compiles", name)
		}
	}
	if ok, err := predicate.MatchPattern(nil, "^"+bomb+"$", "a"); ok || err == nil {
		t.Errorf("a bomb matches: %v %v", ok, err)
	}
	for _, fine := range []string{"^[a-z]{1,63}(\\.[a-z]{1,63}){0,10}$", "^(web|db|cache)-[0-9]{1,4}$"} {
		if err := predicate.CheckPattern(fine); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
	long := []string{strings.Repeat("a", 4000), strings.Repeat("b", 4000)}
	p, err := predicate.Compile(predicate.Where(), `regexp.match(user.x, "(a?){300}(b?){300}c")`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Eval(predicate.Vars{"user": map[string]any{"x": long}}); got || err == nil {
		t.Error("sixteen million steps are free")
	}
}

func TestCostIsBounded(t *testing.T) {
	big := make([]string, 1000)
	for i := range big {
		big[i] = strings.Repeat("a", 20)
	}
	p, err := predicate.Compile(predicate.Where(), `contains_all(user.x, user.x)`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(predicate.Vars{"user": map[string]any{"x": big}}); err == nil {
		t.Error("a million comparisons are free")
	}
}

func TestMatchPattern(t *testing.T) {
	c := predicate.NewCache()
	for _, x := range []struct {
		pattern, s string
		want       bool
	}{
		{"prod", "prod", true}, {"prod", "Prod", false}, {"*", "", true}, {"us-west-*", "us-west-2", true}, {"us-west-*", "us-east-1", false},
		{"*-db", "x-db", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a**b", "ab", true}, {"p.od", "prod", false},
		{"^pr.*$", "prod", true}, {"^a|b$", "xb", false}, {"^a|b$", "b", true}, {"^(dev|test)$", "dev", true}, {"^dev$", "dev\n", false}, {"", "", true},
	} {
		for _, cache := range []*predicate.Cache{nil, c, c} {
			if got, err := predicate.MatchPattern(cache, x.pattern, x.s); err != nil || got != x.want {
				t.Errorf("MatchPattern(%q, %q) = %v, %v", x.pattern, x.s, got, err)
			}
		}
	}
	for _, bad := range []string{"^dev", "^(", "^($", "^a)(b$", "^", `^a\$`} {
		if ok, err := predicate.MatchPattern(c, bad, "dev"); ok || err == nil {
			t.Errorf("%q matches: %v %v", bad, ok, err)
		}
		if predicate.CheckPattern(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTemplates(t *testing.T) {
	tr := predicate.Traits{Internal: map[string][]string{"logins": {"alice", "root"}},
		External: map[string][]string{"x y": {"a", "", "b"}, "email": {"al@example.com", "broken", "bo@example.com"}, "groups": {"grp-dev", "other", "grp-ops"}}}
	for src, want := range map[string][]string{
		"literal": {"literal"}, "": {}, "{{internal.logins}}": {"alice", "root"}, `{{external["x y"]}}`: {"a", "b"}, "{{external.missing}}": {},
		"IAM#{{internal.logins}};": {"IAM#alice;", "IAM#root;"}, "{{email.local(external.email)}}": {"al", "bo"},
		`{{regexp.replace(external.groups, "^grp-(.*)$", "$1")}}`: {"dev", "ops"}, "{{ external.email }}": {"al@example.com", "broken", "bo@example.com"},
		`{{regexp.replace(email.local(external.email), "^a(.)$", "x$1")}}`: {"xl"},
	} {
		tm, err := predicate.ParseTemplate(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := tm.Expand(tr); !slices.Equal(got, want) {
			t.Errorf("%s = %q, want %q", src, got, want)
		}
	}
	for _, bad := range []string{"{{", "}}", "{{internal.logins}", "{{internal.secret}}", "{{a}}", "{{internal}}", "{{internal.logins}}{{internal.logins}}",
		"{{external.a.b}}", `{{os.exit(external.a)}}`, `{{regexp.replace(external.a, "(", "x")}}`, "{{external[0]}}", "}}{{internal.logins}}"} {
		if _, err := predicate.ParseTemplate(bad); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got := predicate.ExpandAll(nil, []string{"a", "{{internal.logins}}", "{{broken"}, tr); !slices.Equal(got, []string{"a", "alice", "root"}) {
		t.Errorf("ExpandAll = %q", got)
	}
}

func TestRoleMatcher(t *testing.T) {
	for _, c := range []struct {
		src, role string
		want      bool
	}{{"dev", "dev", true}, {"d*", "dev", true}, {"^d.v$", "dev", true}, {`{{regexp.match("^dev-")}}`, "dev-1", true}, {`{{regexp.not_match("^dev-")}}`, "dev-1", false}} {
		m, err := predicate.ParseRoleMatcher(c.src)
		if err != nil || m.Match(c.role) != c.want {
			t.Errorf("%s on %s: %v", c.src, c.role, err)
		}
	}
	for _, bad := range []string{`{{regexp.match("(")}}`, "{{internal.logins}}", "x{{regexp.match(\"a\")}}", "^dev"} {
		if _, err := predicate.ParseRoleMatcher(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`contains(user.spec.roles, "dev") && !equals(resource.metadata.name, "x")`, `labels["a"] == "b"`, `regexp.match(user.spec.roles, "a.*")`, `((true))`, `!resource.spec.use_tunnel`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		for _, d := range []*predicate.Dialect{predicate.Where(), predicate.LabelExpr(), predicate.Query()} {
			p, err := predicate.Compile(d, src)
			if err != nil {
				if fault.KindOf(err) != fault.Invalid {
					t.Fatal(err)
				}
				continue
			}
			if ok, err := p.Eval(env()); ok && err != nil {
				t.Fatalf("%q grants with an error", src)
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{internal.logins}}", `a{{external["x y"]}}b`, `{{regexp.replace(external.groups, "^grp-(.*)$", "$1")}}`, "plain"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, src, trait string) {
		tm, err := predicate.ParseTemplate(src)
		if err != nil {
			return
		}
		for _, v := range tm.Expand(predicate.Traits{Internal: map[string][]string{"logins": {trait}}, External: map[string][]string{"groups": {trait}}}) {
			if v == "" || len(v) > 3*predicate.MaxSource {
				t.Fatalf("%q gives %q", src, v)
			}
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("us-*", "us-west")
	f.Add("^a|b$", "xb")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		ok, err := predicate.MatchPattern(nil, pattern, s)
		if ok && err != nil {
			t.Fatal("matches with an error")
		}
		if (err == nil) != (predicate.CheckPattern(pattern) == nil) && len(pattern) <= predicate.MaxSource {
			t.Fatalf("%q: check and match disagree: %v", pattern, err)
		}
	})
}
