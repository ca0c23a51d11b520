package predicate

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"teleport/fault"
)

// Bounds of expressions.
const (
	MaxSource = 4096   // bytes of one expression, template or pattern
	maxNodes  = 512    // operators, calls, paths and literals of one expression
	maxDepth  = 32     // nesting
	maxCost   = 200000 // list elements looked at in one evaluation
)

// Dialect is a set of roots and functions for one use of the grammar.
type Dialect struct {
	name  string
	roots []string
	funcs []function
	known []typed
}

// typed is the type that all values at a path have, or at those below it where the
// path ends in "*".
type typed struct {
	path string
	kind kind
}

// Program is a compiled expression: immutable, safe for concurrent use.
type Program struct {
	src  string
	root node
}

// node is a compiled sub-expression. yields is its type when that is known
// before evaluation, else missing.
type node interface {
	eval(*run) (Value, error)
	yields() kind
}

// run is the state of one evaluation.
type run struct {
	env  Env
	cost int
}

func (r *run) spend(n int) error {
	if r.cost += n + 1; r.cost > maxCost {
		return fmt.Errorf("the expression costs too much")
	}
	return nil
}

// String returns the source.
func (p *Program) String() string { return p.src }

// Eval evaluates the program. On error the result is false; a caller that
// refuses on true must treat the error as true.
func (p *Program) Eval(env Env) (bool, error) {
	v, err := p.root.eval(&run{env: env})
	if err != nil {
		return false, fault.Wrap(err, fault.Invalid, "%q cannot be evaluated", p.src)
	}
	b, err := v.asTruth()
	return b, fault.Wrap(err, fault.Invalid, "%q cannot be evaluated", p.src)
}

// Compile parses and checks an expression: roots, functions, numbers and types
// of arguments, regular expressions. It returns fault.Invalid with what is wrong.
func Compile(d *Dialect, src string) (*Program, error) {
	if len(src) > MaxSource {
		return nil, invalid("the expression is longer than %d bytes", MaxSource)
	}
	tree, err := parser.ParseExpr(src)
	if err != nil {
		return nil, invalid("%q is not an expression: %s", src, plain(err))
	}
	c := &compiler{d: d, src: src}
	n, err := c.node(tree, 0)
	if err != nil {
		return nil, err
	}
	if k := n.yields(); k == text || k == list {
		return nil, invalid("%q yields %s, not true or false", src, k)
	}
	return &Program{src: src, root: n}, nil
}

// plain strips the position prefix of the Go parser's messages.
func plain(err error) string {
	msg, _, _ := strings.Cut(err.Error(), "\n")
	parts := strings.SplitN(msg, ": ", 2)
	return parts[len(parts)-1]
}

type compiler struct {
	d     *Dialect
	src   string
	nodes int
}

// at returns the source text of a sub-expression, for messages.
func (c *compiler) at(e ast.Expr) string {
	from, to := int(e.Pos())-1, int(e.End())-1
	if from < 0 || to > len(c.src) || from > to {
		return c.src
	}
	return c.src[from:to]
}

func (c *compiler) node(e ast.Expr, depth int) (node, error) {
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		return nil, invalid("the expression is too large or too deep")
	}
	switch t := e.(type) {
	case *ast.ParenExpr:
		return c.node(t.X, depth+1)
	case *ast.UnaryExpr:
		return c.not(t, depth)
	case *ast.BinaryExpr:
		return c.binary(t, depth)
	case *ast.CallExpr:
		return c.call(t, depth)
	case *ast.BasicLit:
		return c.literal(t)
	case *ast.Ident:
		if t.Name == "true" || t.Name == "false" {
			return constant{Truth(t.Name == "true")}, nil
		}
	}
	return c.path(e)
}

func (c *compiler) literal(t *ast.BasicLit) (node, error) {
	switch t.Kind {
	case token.STRING:
		s, err := strconv.Unquote(t.Value)
		if err != nil {
			return nil, invalid("%s is not text", t.Value)
		}
		return constant{Text(s)}, nil
	case token.INT:
		return constant{Text(t.Value)}, nil
	}
	return nil, invalid("%s is not possible here; write text in double quotes", t.Value)
}

func (c *compiler) not(t *ast.UnaryExpr, depth int) (node, error) {
	if t.Op != token.NOT {
		return nil, invalid("the operator %s is not possible; there are == != && || !", t.Op)
	}
	x, err := c.truthNode(t.X, depth+1)
	if err != nil {
		return nil, err
	}
	return notNode{x}, nil
}

// truthNode compiles an operand that must be a truth value.
func (c *compiler) truthNode(e ast.Expr, depth int) (node, error) {
	n, err := c.node(e, depth)
	if err != nil {
		return nil, err
	}
	if k := n.yields(); k == text || k == list {
		return nil, invalid("%s is %s, not true or false", c.at(e), k)
	}
	return n, nil
}

func (c *compiler) binary(t *ast.BinaryExpr, depth int) (node, error) {
	operand := c.node
	switch t.Op {
	case token.LAND, token.LOR:
		operand = c.truthNode
	case token.EQL, token.NEQ:
	default:
		return nil, invalid("the operator %s is not possible; there are == != && || !", t.Op)
	}
	x, err := operand(t.X, depth+1)
	if err != nil {
		return nil, err
	}
	y, err := operand(t.Y, depth+1)
	if err != nil {
		return nil, err
	}
	switch t.Op {
	case token.LAND:
		return andNode{x, y}, nil
	case token.LOR:
		return orNode{x, y}, nil
	}
	return equalNode{x, y, t.Op == token.NEQ}, c.comparable(t.X, t.Y, x, y, t.Op == token.NEQ)
}

// comparable refuses a comparison that can never be what was meant: of a text with
// a list, or of either with a truth value, where the types are known.
func (c *compiler) comparable(a, b ast.Expr, x, y node, negate bool) error {
	k, l := c.kindOf(x), c.kindOf(y)
	if k == l || k == missing || l == missing {
		return nil
	}
	err := invalid("%s cannot equal %s: it compares %s with %s", c.at(a), c.at(b), k, l)
	not := map[bool]string{true: "!"}[negate]
	switch {
	case k == list && l == text:
		return err.WithHint("write: %scontains(%s, %s)", not, c.at(a), c.at(b))
	case k == text && l == list:
		return err.WithHint("write: %scontains(%s, %s)", not, c.at(b), c.at(a))
	}
	for _, side := range []struct {
		n     node
		other ast.Expr
	}{{x, b}, {y, a}} {
		if v, ok := side.n.(constant); ok && v.v.kind == truth {
			op := map[bool]string{false: "==", true: "!="}[negate]
			return err.WithHint("write text in quotes: %s %s \"%t\"", c.at(side.other), op, v.v.flag)
		}
	}
	return err
}

// kindOf is the type that a value is known to have; missing where it is known when
// it is evaluated.
func (c *compiler) kindOf(n node) kind {
	switch t := n.(type) {
	case pathNode:
		for _, k := range c.d.known {
			root := strings.Split(k.path, ".")
			last := len(root) - 1
			if root[last] == "*" && len(t.path) == len(root) && slices.Equal(t.path[:last], root[:last]) || slices.Equal(t.path, root) {
				return k.kind
			}
		}
	case callNode:
		if t.f.eachOf() { // of one text it makes one
			return c.kindOf(t.args[0])
		}
	}
	return n.yields()
}

func (c *compiler) path(e ast.Expr) (node, error) {
	path, ok := pathOf(e)
	if !ok {
		return nil, invalid("%s is not possible in an expression", c.at(e))
	}
	if !slices.Contains(c.d.roots, path[0]) {
		return nil, invalid("%q is not known in %s", path[0], c.d.name).WithHint("it may use: %s", strings.Join(c.d.roots, ", "))
	}
	return pathNode{path}, nil
}

// pathOf reads a.b["c d"].e; ok is false for any other form.
func pathOf(e ast.Expr) (path []string, ok bool) {
	var rev []string
	for {
		switch t := e.(type) {
		case *ast.Ident:
			rev = append(rev, t.Name)
			slices.Reverse(rev)
			return rev, true
		case *ast.SelectorExpr:
			rev, e = append(rev, t.Sel.Name), t.X
		case *ast.IndexExpr:
			lit, isLit := t.Index.(*ast.BasicLit)
			if !isLit || lit.Kind != token.STRING {
				return nil, false
			}
			key, err := strconv.Unquote(lit.Value)
			if err != nil {
				return nil, false
			}
			rev, e = append(rev, key), t.X
		default:
			return nil, false
		}
	}
}

func (c *compiler) call(t *ast.CallExpr, depth int) (node, error) {
	path, ok := pathOf(t.Fun)
	if !ok || t.Ellipsis.IsValid() {
		return nil, invalid("%s is not a function", c.at(t.Fun))
	}
	name := strings.Join(path, ".")
	i := slices.IndexFunc(c.d.funcs, func(f function) bool { return f.name == name })
	if i < 0 {
		return nil, invalid("there is no function %q in %s", name, c.d.name).WithHint("functions are: %s", c.d.functions())
	}
	f := &c.d.funcs[i]
	if len(t.Args) < f.min || len(t.Args) > f.max {
		return nil, invalid("%s takes %s", name, f.usage)
	}
	n := callNode{f: f}
	for j, a := range t.Args {
		arg, err := c.node(a, depth+1)
		if err != nil {
			return nil, err
		}
		if arg.yields() == truth && name != "equals" {
			return nil, invalid("%s is a truth value; %s takes %s", c.at(a), name, f.usage)
		}
		n.args = append(n.args, arg)
		if j == f.regexArg {
			if n.re, err = literalRegexp(arg); err != nil {
				return nil, err
			}
			if tree, err := syntax.Parse(n.re.String(), syntax.Perl); err == nil {
				n.reSize = states(tree)
			}
		}
	}
	if name == "equals" {
		return n, c.comparable(t.Args[0], t.Args[1], n.args[0], n.args[1], false)
	}
	return n, nil
}

func (d *Dialect) functions() string {
	var names []string
	for _, f := range d.funcs {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}
