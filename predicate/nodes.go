package predicate

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

type constant struct{ v Value }

func (n constant) eval(*run) (Value, error) { return n.v, nil }
func (n constant) yields() kind             { return n.v.kind }

type pathNode struct{ path []string }

func (n pathNode) yields() kind { return missing }
func (n pathNode) eval(r *run) (Value, error) {
	v, err := r.env.Lookup(n.path)
	if err != nil {
		return Value{}, err
	}
	return v, r.spend(len(v.list))
}

type notNode struct{ x node }

func (n notNode) yields() kind { return truth }
func (n notNode) eval(r *run) (Value, error) {
	b, err := evalTruth(n.x, r)
	return Truth(!b), err
}

type andNode struct{ x, y node }

func (n andNode) yields() kind { return truth }
func (n andNode) eval(r *run) (Value, error) {
	b, err := evalTruth(n.x, r)
	if err != nil || !b {
		return Truth(false), err
	}
	b, err = evalTruth(n.y, r)
	return Truth(b), err
}

type orNode struct{ x, y node }

func (n orNode) yields() kind { return truth }
func (n orNode) eval(r *run) (Value, error) {
	b, err := evalTruth(n.x, r)
	if err != nil || b {
		return Truth(b), err
	}
	b, err = evalTruth(n.y, r)
	return Truth(b), err
}

func evalTruth(n node, r *run) (bool, error) {
	v, err := n.eval(r)
	if err != nil {
		return false, err
	}
	return v.asTruth()
}

type equalNode struct {
	x, y   node
	negate bool
}

func (n equalNode) yields() kind { return truth }
func (n equalNode) eval(r *run) (Value, error) {
	x, err := n.x.eval(r)
	if err != nil {
		return Value{}, err
	}
	y, err := n.y.eval(r)
	if err != nil {
		return Value{}, err
	}
	eq, err := same(x, y)
	return Truth(eq != n.negate), err
}

type callNode struct {
	f    *function
	args []node
	re   *regexp.Regexp
	// reSize is the number of its states.
	reSize int
}

func (n callNode) yields() kind { return n.f.result }
func (n callNode) eval(r *run) (Value, error) {
	args := make([]Value, len(n.args))
	for i, a := range n.args {
		v, err := a.eval(r)
		if err != nil {
			return Value{}, err
		}
		if err := r.spend(len(v.list)); err != nil {
			return Value{}, err
		}
		args[i] = v
	}
	if n.re != nil {
		if err := r.spend(n.reading(args[0])); err != nil {
			return Value{}, err
		}
	}
	v, err := n.f.call(r, args, n.re)
	if err != nil {
		return Value{}, fmt.Errorf("%s: %w", n.f.name, err)
	}
	return v, nil
}

// reading is what it costs to match a regular expression with a value: its states
// for each byte, in the coin of maxCost.
func (n callNode) reading(v Value) int {
	bytes := len(v.text)
	for _, s := range v.list {
		bytes += len(s)
	}
	return bytes * n.reSize / 64
}

// function is one entry of a dialect. regexArg is the index of the argument that
// must be a literal regular expression, or -1.
type function struct {
	name, usage string
	min, max    int
	regexArg    int
	result      kind
	call        func(*run, []Value, *regexp.Regexp) (Value, error)
}

// eachOf tells whether it rewrites the values of its first argument, so that it
// makes of one text one text at most.
func (f *function) eachOf() bool {
	switch f.name {
	case "regexp.replace", "email.local", "strings.upper", "strings.lower":
		return true
	}
	return false
}

// ofUsers are the types of what all dialects with users know of them.
func ofUsers() []typed {
	return []typed{{"user.metadata.name", text}, {"user.name", text}, {"user.spec.roles", list}, {"user.spec.traits.*", list}}
}

// Where returns the dialect of where clauses and filters in roles.
func Where() *Dialect {
	return &Dialect{name: "a where clause",
		roots: []string{"user", "resource", "session", "session_tracker", "ssh_session", "impersonate_role", "impersonate_user", "request", "reviewer", "review"},
		funcs: append(listFuncs(), regexFuncs()...),
		known: append(ofUsers(), typed{"resource.metadata.name", text}, typed{"resource.metadata.labels.*", text},
			typed{"session.participants", list}, typed{"session_tracker.participants", list}, typed{"session.user", text}, typed{"session.login", text})}
}

// LabelExpr returns the dialect of *_labels_expression fields.
func LabelExpr() *Dialect {
	return &Dialect{name: "a label expression", roots: []string{"labels", "user"},
		funcs: append(append(listFuncs()[1:], regexFuncs()...), function{"labels_matching", "one regular expression", 1, 1, 0, list, labelsMatching}),
		known: append(ofUsers(), typed{"labels.*", text})}
}

// TargetExpr returns the dialect of expressions that select resources for
// themselves, and not for a user.
func TargetExpr() *Dialect {
	d := LabelExpr()
	d.roots, d.known = []string{"labels"}, []typed{{"labels.*", text}}
	return d
}

// Query returns the dialect of --query in listings.
func Query() *Dialect {
	fs := append(listFuncs(),
		function{"exists", "one value", 1, 1, -1, truth, exists},
		function{"hasPrefix", "a value and a prefix", 2, 2, -1, truth, hasPrefix},
		function{"search", "words", 1, 16, -1, truth, search},
		function{"split", "text and a separator", 2, 2, -1, list, split})
	return &Dialect{name: "a query", roots: []string{"labels", "name", "resource"}, funcs: append(fs, regexFuncs()[0]),
		known: []typed{{"name", text}, {"labels.*", text}, {"resource.metadata.name", text}, {"resource.metadata.labels.*", text}}}
}

// listFuncs returns the functions over lists; equals is the first.
func listFuncs() []function {
	return []function{
		{"equals", "two values", 2, 2, -1, truth, func(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
			eq, err := same(a[0], a[1])
			return Truth(eq), err
		}},
		{"contains", "a list and a value", 2, 2, -1, truth, contains},
		{"contains_any", "two lists", 2, 2, -1, truth, func(r *run, a []Value, _ *regexp.Regexp) (Value, error) { return overlap(r, a, false) }},
		{"contains_all", "two lists", 2, 2, -1, truth, func(r *run, a []Value, _ *regexp.Regexp) (Value, error) { return overlap(r, a, true) }},
	}
}

// regexFuncs returns the functions over texts; regexp.match is the first.
func regexFuncs() []function {
	return []function{
		{"regexp.match", "a list and a regular expression", 2, 2, 1, truth, regexpMatch},
		{"regexp.replace", "a list, a regular expression and a replacement", 3, 3, 1, list, regexpReplace},
		{"email.local", "one list", 1, 1, -1, list, emailLocal},
		{"strings.upper", "one list", 1, 1, -1, list, mapped(strings.ToUpper)},
		{"strings.lower", "one list", 1, 1, -1, list, mapped(strings.ToLower)},
	}
}

func contains(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
	l, err := a[0].asList()
	if err != nil {
		return Value{}, err
	}
	if a[1].kind == missing { // nothing is in no list
		return Truth(false), nil
	}
	s, err := a[1].asText()
	return Truth(slices.Contains(l, s)), err
}

func overlap(r *run, a []Value, all bool) (Value, error) {
	l, err := a[0].asList()
	if err != nil {
		return Value{}, err
	}
	want, err := a[1].asList()
	if err != nil {
		return Value{}, err
	}
	if err := r.spend(len(l) * len(want)); err != nil {
		return Value{}, err
	}
	for _, w := range want {
		if slices.Contains(l, w) != all {
			return Truth(!all), nil
		}
	}
	return Truth(all && len(want) > 0), nil
}

func regexpMatch(_ *run, a []Value, re *regexp.Regexp) (Value, error) {
	l, err := a[0].asList()
	return Truth(slices.ContainsFunc(l, re.MatchString)), err
}

func regexpReplace(_ *run, a []Value, re *regexp.Regexp) (Value, error) {
	l, err := a[0].asList()
	if err != nil {
		return Value{}, err
	}
	repl, err := a[2].asText()
	if err != nil {
		return Value{}, err
	}
	return List(replaceAll(l, re, repl)), nil
}

// replaceAll rewrites the values that match and leaves out the others.
func replaceAll(l []string, re *regexp.Regexp, repl string) []string {
	var out []string
	for _, s := range l {
		if len(s) <= MaxSource && re.MatchString(s) {
			if t := re.ReplaceAllString(s, repl); len(t) <= MaxSource {
				out = append(out, t)
			}
		}
	}
	return out
}

func emailLocal(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
	l, err := a[0].asList()
	if err != nil {
		return Value{}, err
	}
	out := make([]string, 0, len(l))
	for _, s := range l {
		local, ok := localPart(s)
		if !ok {
			return Value{}, fmt.Errorf("%q is not an e-mail address", s)
		}
		out = append(out, local)
	}
	return List(out), nil
}

// localPart returns what stands before the last @.
func localPart(s string) (string, bool) {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i == len(s)-1 || strings.ContainsAny(s, " \t\n<>\"") {
		return "", false
	}
	return s[:i], true
}

func mapped(f func(string) string) func(*run, []Value, *regexp.Regexp) (Value, error) {
	return func(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
		l, err := a[0].asList()
		if err != nil {
			return Value{}, err
		}
		out := make([]string, len(l))
		for i, s := range l {
			out[i] = f(s)
		}
		return List(out), nil
	}
}

func labelsMatching(r *run, _ []Value, re *regexp.Regexp) (Value, error) {
	env, ok := r.env.(Labeler)
	if !ok {
		return Value{}, fmt.Errorf("there are no labels here")
	}
	var out []string
	for k, v := range env.Labels() {
		if re.MatchString(k) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return List(out), r.spend(len(out))
}

func exists(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
	return Truth(a[0].kind != missing), nil
}

func hasPrefix(_ *run, a []Value, _ *regexp.Regexp) (Value, error) {
	s, err := a[0].asText()
	if err != nil {
		return Value{}, err
	}
	prefix, err := a[1].asText()
	return Truth(strings.HasPrefix(s, prefix)), err
}

func search(r *run, a []Value, _ *regexp.Regexp) (Value, error) {
	env, ok := r.env.(Searcher)
	if !ok {
		return Value{}, fmt.Errorf("there is nothing to search here")
	}
	words := make([]string, len(a))
	for i, v := range a {
		w, err := v.asText()
		if err != nil {
			return Value{}, err
		}
		words[i] = w
	}
	return Truth(env.Search(words)), nil
}

func split(r *run, a []Value, _ *regexp.Regexp) (Value, error) {
	s, err := a[0].asText()
	if err != nil {
		return Value{}, err
	}
	sep, err := a[1].asText()
	if err != nil {
		return Value{}, err
	}
	out := strings.Split(s, sep)
	return List(out), r.spend(len(out))
}

// literalRegexp compiles the regular expression that an argument spells out.
func literalRegexp(n node) (*regexp.Regexp, error) {
	c, ok := n.(constant)
	if !ok || c.v.kind != text {
		return nil, invalid("a regular expression must be written out in quotes")
	}
	return compileRegexp(c.v.text)
}

// maxRegexp bounds the states of a regular expression: a few bytes of source can
// stand for millions, as in ((a{100}){100}){100}, which costs memory when it is
// compiled and time at each byte that it reads.
const maxRegexp = 10_000

func compileRegexp(src string) (*regexp.Regexp, error) {
	if tree, err := syntax.Parse(src, syntax.Perl); err == nil && states(tree) > maxRegexp {
		return nil, invalid("%q is too large a regular expression", src)
	}
	re, err := regexp.Compile(src)
	if err != nil {
		return nil, invalid("%q is not a regular expression: %s", src, plain(err))
	}
	return re, nil
}

// states estimates the size of a compiled expression. It stops counting above
// maxRegexp, so that it cannot overflow.
func states(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n = min(n+states(sub), maxRegexp+1)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxRegexp+1)
}
