package teleport_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// An exception to a rule of the house: a file or a folder, and why.
type exception struct{ under, why string }

// houseRules are found by reading the source, without building it.
var houseRules = []struct {
	name       string
	find       func(f *goFile) []token.Pos
	exceptions []exception
}{
	{"no init functions: what a binary can do stands in lists", initFunctions, nil},
	{"os.Exit and log.Fatal belong to commands and TestMain", exits, []exception{
		{"generation/supervise_test.go", "the test program plays the program that is replaced"}}},
	{"libraries do not print: writers are passed in", prints, nil},
	{"tests do not sleep, except on the clock of synctest", sleeps, nil},
	{"a missing peer is a failure, not a skip", skips, nil},
	{"package variables are constants in all but name", changedVariables, []exception{
		{"sshaccess/spawn/spawn.go", "a process has one umask, whoever spawns"},
		{"test/cluster/build.go", "one number keeps apart the worlds of all tests in a program"}}},
}

// goFile is one parsed file, and what is known of its package.
type goFile struct {
	name string // from the root, with slashes
	set  *token.FileSet
	ast  *ast.File
	pkg  *goFolder
}

// goFolder is a package: the names of its variables, and whether its tests run
// on a virtual clock.
type goFolder struct {
	vars     map[string]bool
	synctest bool
}

func (f *goFile) test() bool { return strings.HasSuffix(f.name, "_test.go") }
func (f *goFile) main() bool { return f.ast.Name.Name == "main" }

// TestHouseRules keeps the habits that a compiler does not know of.
func TestHouseRules(t *testing.T) {
	files := parseAll(t)
	for _, r := range houseRules {
		for _, f := range files {
			if excepted(f.name, r.exceptions) {
				continue
			}
			for _, pos := range r.find(f) {
				p := f.set.Position(pos)
				t.Errorf("%s:%d: %s", f.name, p.Line, r.name)
			}
		}
		for _, e := range r.exceptions {
			if _, err := os.Stat(e.under); err != nil || e.why == "" {
				t.Errorf("the exception %q of %q is of no use", e.under, r.name)
			}
		}
	}
}

func excepted(name string, list []exception) bool {
	for _, e := range list {
		if name == e.under || strings.HasPrefix(name, e.under+"/") {
			return true
		}
	}
	return false
}

// sourceTree calls visit for every file of ours with the suffix.
func sourceTree(t *testing.T, suffix string, visit func(name string)) {
	t.Helper()
	skip := map[string]bool{"node_modules": true, ".git": true, "bin": true, "dist": true, "testdata": true, ".cache": true}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (skip[d.Name()] || name == filepath.Join("api", "gen")) {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, suffix) {
			visit(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func parseAll(t *testing.T) []*goFile {
	t.Helper()
	set := token.NewFileSet()
	folders := map[string]*goFolder{}
	var files []*goFile
	sourceTree(t, ".go", func(name string) {
		parsed, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name) + " " + strings.TrimSuffix(parsed.Name.Name, "_test")
		if folders[dir] == nil {
			folders[dir] = &goFolder{vars: map[string]bool{}}
		}
		for _, s := range packageVars(parsed) {
			for _, id := range s.Names {
				folders[dir].vars[id.Name] = id.Name != "_"
			}
		}
		for _, imp := range parsed.Imports {
			folders[dir].synctest = folders[dir].synctest || imp.Path.Value == `"testing/synctest"`
		}
		files = append(files, &goFile{name, set, parsed, folders[dir]})
	})
	return files
}

func packageVars(f *ast.File) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			specs = append(specs, s.(*ast.ValueSpec))
		}
	}
	return specs
}

func initFunctions(f *goFile) (found []token.Pos) {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, fn.Pos())
		}
	}
	return found
}

// calls finds uses of pkg.name, for names that match, outside the function except.
func calls(f *goFile, pkg, names, except string) (found []token.Pos) {
	wanted := regexp.MustCompile("^(" + names + ")$")
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == except {
			continue
		}
		ast.Inspect(d, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil && id.Name == pkg && wanted.MatchString(sel.Sel.Name) {
				found = append(found, sel.Pos())
			}
			return true
		})
	}
	return found
}

func exits(f *goFile) []token.Pos {
	if f.main() && !f.test() {
		return nil
	}
	return append(calls(f, "os", "Exit", "TestMain"), calls(f, "log", "Fatal.*|Panic.*", "")...)
}

func prints(f *goFile) []token.Pos {
	if f.main() || f.test() {
		return nil
	}
	return calls(f, "fmt", "Print|Printf|Println", "")
}

func sleeps(f *goFile) []token.Pos {
	if !f.test() || f.pkg.synctest {
		return nil
	}
	return calls(f, "time", "Sleep", "")
}

func skips(f *goFile) (found []token.Pos) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Skip" && sel.Sel.Name != "Skipf" && sel.Sel.Name != "SkipNow" {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && (id.Name == "t" || id.Name == "tb" || id.Name == "b" || id.Name == "f") && f.test() {
			found = append(found, sel.Pos())
		}
		return true
	})
	return found
}

// changedVariables finds package variables that somebody assigns to, in whole or
// in part, or that exist to be changed: locks and atomics.
func changedVariables(f *goFile) (found []token.Pos) {
	if f.test() {
		return nil
	}
	for _, s := range packageVars(f.ast) {
		if sel, ok := s.Type.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && (id.Name == "sync" || id.Name == "atomic") {
				found = append(found, s.Pos())
			}
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			for _, x := range s.Lhs {
				if s.Tok != token.DEFINE && f.packageVariable(x) {
					found = append(found, x.Pos())
				}
			}
		case *ast.IncDecStmt:
			if f.packageVariable(s.X) {
				found = append(found, s.Pos())
			}
		}
		return true
	})
	return found
}

// packageVariable reports whether an expression is a package variable or a part
// of one. The parser resolves what a file declares; what it leaves unresolved
// may stand in another file of the package.
func (f *goFile) packageVariable(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		if x.Obj == nil {
			return f.pkg.vars[x.Name]
		}
		spec, ok := x.Obj.Decl.(*ast.ValueSpec)
		for _, s := range packageVars(f.ast) {
			if ok && s == spec {
				return true
			}
		}
	case *ast.SelectorExpr:
		return f.packageVariable(x.X)
	case *ast.IndexExpr:
		return f.packageVariable(x.X)
	case *ast.StarExpr:
		return f.packageVariable(x.X)
	case *ast.ParenExpr:
		return f.packageVariable(x.X)
	}
	return false
}
