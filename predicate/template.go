package predicate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Traits are what templates read: Internal for {{internal.…}}, External for
// {{external.…}}. For a local user both are the traits of the account.
type Traits struct {
	Internal, External map[string][]string
}

// Template is a parsed text with at most one {{expression}} and a literal before
// and after it. It is immutable and safe for concurrent use.
type Template struct {
	prefix, suffix string
	expr           tmplNode // nil: a literal
}

type tmplNode interface{ values(Traits) []string }

// internalTraits returns the closed list for {{internal.…}}.
func internalTraits() []string {
	return []string{"logins", "windows_logins", "kubernetes_groups", "kubernetes_users", "db_users", "db_names", "db_roles",
		"aws_role_arns", "azure_identities", "gcp_service_accounts", "host_user_uid", "host_user_gid", "jwt"}
}

// IsTemplate reports whether s holds a template expression.
func IsTemplate(s string) bool { return strings.Contains(s, "{{") || strings.Contains(s, "}}") }

// ParseTemplate parses a template such as "{{internal.logins}}",
// `IAM#{{regexp.replace(external["team name"], "^x-(.*)$", "$1")}};` or a literal.
func ParseTemplate(src string) (*Template, error) {
	if len(src) > MaxSource {
		return nil, invalid("the template is longer than %d bytes", MaxSource)
	}
	if !IsTemplate(src) {
		return &Template{prefix: src}, nil
	}
	prefix, rest, opened := strings.Cut(src, "{{")
	body, suffix, closed := strings.Cut(rest, "}}")
	if !opened || !closed || IsTemplate(suffix) || strings.Contains(prefix, "}}") || strings.Contains(body, "{{") {
		return nil, invalid("%q wants exactly one {{…}}", src)
	}
	tree, err := parser.ParseExpr(strings.TrimSpace(body))
	if err != nil {
		return nil, invalid("%q is not a template: %s", src, plain(err))
	}
	n, err := tmplExpr(tree, 0)
	if err != nil {
		return nil, err
	}
	return &Template{prefix: prefix, suffix: suffix, expr: n}, nil
}

// Expand returns the values; a list trait gives several, a missing one none.
// Empty results are left out. The caller checks each for its use.
func (t *Template) Expand(tr Traits) []string {
	if t.expr == nil {
		if t.prefix == "" {
			return nil
		}
		return []string{t.prefix}
	}
	vals := t.expr.values(tr)
	out := make([]string, 0, len(vals))
	for _, v := range vals {
		if v != "" && len(v) <= MaxSource {
			out = append(out, t.prefix+v+t.suffix)
		}
	}
	return out
}

// ExpandAll expands each text of a list through the cache, which may be nil.
// Broken templates expand to nothing.
func ExpandAll(c *Cache, list []string, tr Traits) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = AppendExpanded(out, c, s, tr)
	}
	return out
}

// AppendExpanded appends the expansion of one text to dst.
func AppendExpanded(dst []string, c *Cache, s string, tr Traits) []string {
	if !IsTemplate(s) {
		if s == "" {
			return dst
		}
		return append(dst, s)
	}
	t, err := c.Template(s)
	if err != nil {
		return dst
	}
	return append(dst, t.Expand(tr)...)
}

type traitNode struct {
	internal bool
	name     string
}

func (n traitNode) values(t Traits) []string {
	if n.internal {
		return t.Internal[n.name]
	}
	return t.External[n.name]
}

type localNode struct{ x tmplNode }

func (n localNode) values(t Traits) []string {
	var out []string
	for _, s := range n.x.values(t) {
		if l, ok := localPart(s); ok {
			out = append(out, l)
		}
	}
	return out
}

type replaceNode struct {
	x    tmplNode
	re   *regexp.Regexp
	repl string
}

func (n replaceNode) values(t Traits) []string { return replaceAll(n.x.values(t), n.re, n.repl) }

func tmplExpr(e ast.Expr, depth int) (tmplNode, error) {
	if depth > 4 {
		return nil, invalid("the template is nested too deeply")
	}
	if call, ok := e.(*ast.CallExpr); ok {
		return tmplCall(call, depth)
	}
	path, ok := pathOf(e)
	if !ok || len(path) != 2 || path[0] != "internal" && path[0] != "external" {
		return nil, invalid("a template reads internal.NAME or external.NAME").WithHint(`names with other characters are written external["a name"]`)
	}
	if path[0] == "internal" && !slices.Contains(internalTraits(), path[1]) {
		return nil, invalid("there is no internal trait %q", path[1]).WithHint("use external.%s for a trait of your own; internal traits are: %s", path[1], strings.Join(internalTraits(), ", "))
	}
	return traitNode{path[0] == "internal", path[1]}, nil
}

func tmplCall(call *ast.CallExpr, depth int) (tmplNode, error) {
	path, _ := pathOf(call.Fun)
	name := strings.Join(path, ".")
	switch {
	case name == "email.local" && len(call.Args) == 1:
		x, err := tmplExpr(call.Args[0], depth+1)
		return localNode{x}, err
	case name == "regexp.replace" && len(call.Args) == 3:
		x, err := tmplExpr(call.Args[0], depth+1)
		if err != nil {
			return nil, err
		}
		src, ok1 := textLit(call.Args[1])
		repl, ok2 := textLit(call.Args[2])
		if !ok1 || !ok2 {
			return nil, invalid("regexp.replace takes a trait, a regular expression and a replacement, both in quotes")
		}
		re, err := compileRegexp(src)
		return replaceNode{x, re, repl}, err
	}
	return nil, invalid("%q is not a function of templates", name).WithHint("functions are: email.local(trait), regexp.replace(trait, \"re\", \"replacement\")")
}

func textLit(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// RoleMatcher matches role names in request and review lists: a literal, a glob,
// ^regexp$, {{regexp.match("re")}} or {{regexp.not_match("re")}}.
type RoleMatcher struct {
	pattern string
	re      *regexp.Regexp
	negate  bool
}

// ParseRoleMatcher parses one entry of such a list.
func ParseRoleMatcher(src string) (*RoleMatcher, error) {
	if !IsTemplate(src) {
		return &RoleMatcher{pattern: src}, CheckPattern(src)
	}
	body, ok := strings.CutPrefix(src, "{{")
	body, ok2 := strings.CutSuffix(body, "}}")
	tree, err := parser.ParseExpr(strings.TrimSpace(body))
	call, isCall := tree.(*ast.CallExpr)
	if !ok || !ok2 || err != nil || !isCall || len(call.Args) != 1 || len(src) > MaxSource {
		return nil, invalid("%q is not a matcher of role names", src).WithHint(`write a name, a glob, ^regexp$ or {{regexp.match("re")}}`)
	}
	path, _ := pathOf(call.Fun)
	name := strings.Join(path, ".")
	text, isText := textLit(call.Args[0])
	if name != "regexp.match" && name != "regexp.not_match" || !isText {
		return nil, invalid("%q wants regexp.match or regexp.not_match", src)
	}
	re, err := compileRegexp(text)
	if err != nil {
		return nil, err
	}
	return &RoleMatcher{re: re, negate: name == "regexp.not_match"}, nil
}

// Match reports whether the role name matches.
func (m *RoleMatcher) Match(role string) bool {
	if m.re != nil {
		return m.re.MatchString(role) != m.negate
	}
	ok, err := MatchPattern(nil, m.pattern, role)
	return ok && err == nil
}
