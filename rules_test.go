package teleport_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sourceFiles parses the Go files that end up in the commands: no tests, no
// helpers of tests, no generated code.
func sourceFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	out := map[string]*ast.File{}
	for _, p := range listPackages(t) {
		rel := strings.TrimPrefix(p.ImportPath, "teleport/")
		if strings.HasPrefix(rel, "test/") || strings.HasPrefix(rel, "bench") || strings.HasPrefix(rel, "api/gen") || strings.HasSuffix(rel, "test") {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			out[rel+"/"+name] = f
		}
	}
	return out
}

// uses lists the files in which a pattern occurs: "pkg.Name" for something of a
// package, "import path" for an import, ".Name()" for calls of a method.
func uses(files map[string]*ast.File, pattern string) []string {
	var out []string
	for name, f := range files {
		if occurs(f, pattern) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func occurs(f *ast.File, pattern string) (hit bool) {
	if path, ok := strings.CutPrefix(pattern, "import "); ok {
		return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return strings.Trim(i.Path.Value, `"`) == path })
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SelectorExpr:
			id, ok := x.X.(*ast.Ident)
			hit = hit || ok && id.Name+"."+x.Sel.Name == pattern
		case *ast.CallExpr:
			sel, ok := x.Fun.(*ast.SelectorExpr)
			hit = hit || ok && "."+sel.Sel.Name+"()" == pattern
		case *ast.KeyValueExpr:
			k, isKey := x.Key.(*ast.Ident)
			v, isName := x.Value.(*ast.Ident)
			hit = hit || isKey && isName && fmt.Sprintf("%s: %s", k.Name, v.Name) == pattern
		}
		return !hit
	})
	return hit
}

// TestSourceKeepsTheRules holds closed lists of the places where a rule of
// security could be broken by one line. A file that is new here needs a reason,
// and a test of its own that shows why it may.
func TestSourceKeepsTheRules(t *testing.T) {
	files := sourceFiles(t)
	for _, rule := range []struct {
		pattern string
		why     string
		where   []string
	}{
		// Rule 1: HTTP is mounted through rpc; the diagnostics are beside it. What is
		// DynamoDB's passes whole, after a signature here and a decision there; an app's
		// goes on to that app alone, after a decision about who is at the other end.
		{"http.Server", "what listens for HTTP", []string{"appaccess/appaccess.go", "assembly/diag.go", "assembly/web.go", "auth/authserver/listener.go", "client/cloudproxy/cloudproxy.go", "client/localproxy/signed.go", "dbaccess/dynamodb/dynamodb.go"}},
		{".HandleFunc()", "handlers without a permission", []string{"api/rpc/route.go", "assembly/diag.go"}},
		{"ssh.ServerConfig", "SSH servers", []string{"sshserver/handshake.go", "tunnel/registryagent.go"}},
		// Rule 5 and record 43: nobody is trusted unverified.
		{"ssh.InsecureIgnoreHostKey", "any host key", nil},
		{"InsecureSkipVerify: true", "verified by VerifyConnection, or not trusted with anything", []string{
			"cert/tlscert/config.go", "netx/alpndial/alpndial.go"}},
		// Rule 7: what dials, and who answers with a redirect.
		{"http.Client", "clients of HTTP, which follow no redirect", []string{"api/authclient/client.go", "assembly/firstcontact.go", "blob/s3blob/s3blob.go", "cli/teleportcmd/host.go",
			"client/web.go", "cloud/azurecloud/azurecloud.go", "cloud/cloudcall/cloudcall.go", "cloud/gcpcloud/gcpcloud.go", "netx/alpndial/upgrade.go"}},
		{"http.Redirect", "redirects, to constants alone, and of an app to the launcher of it", []string{"appaccess/exchange.go", "proxy/appproxy/handover.go", "proxy/webapi/webapi.go"}},
		{"http.DefaultClient", "a client that follows redirects", nil},
		{"http.Get", "a client that follows redirects", nil},
		// Rule 10 and record 69: randomness that secrets are made of.
		{"import math/rand", "guessable", nil},
		{"import math/rand/v2", "guessable: for pauses and orders only", []string{"lifecycle/backoff.go", "member/renew.go", "tunnel/pool.go"}},
		// Rule 11: who starts processes, and with what.
		{"exec.Command", "inherits the environment: of the person's own tsh", []string{"cli/tshcmd/background.go", "cli/tshcmd/cloud.go", "cli/tshcmd/dbproxy.go"}},
		{"import plugin", "code by request", nil},
		{"import C", "memory safety", nil},
		{"import unsafe", "memory safety", nil},
		// Rule 12: no templates, no debug endpoints beside the socket's.
		{"import text/template", "server-made text", nil},
		{"import html/template", "server-made pages", nil},
		{"import net/http/pprof", "on the Unix socket alone", []string{"assembly/diag.go"}},
		{"import expvar", "registers itself for the world", nil},
	} {
		if got := uses(files, rule.pattern); !slices.Equal(got, rule.where) && len(got)+len(rule.where) > 0 {
			t.Errorf("%s (%s): in %q, allowed in %q", rule.pattern, rule.why, got, rule.where)
		}
	}
}

// TestSecretsAreRevealedInFewPlaces lists the packages that turn a secret into
// text: those that make it, compare it, store it or send it on.
func TestSecretsAreRevealedInFewPlaces(t *testing.T) {
	var got []string
	for _, name := range uses(sourceFiles(t), ".Reveal()") {
		if dir := filepath.Dir(name); !slices.Contains(got, dir) {
			got = append(got, dir)
		}
	}
	want := []string{"appaccess", "auth/authapi", "auth/login", "auth/authserver", "cli/tctlcmd", "cli/tshcmd", "client", "config", "join", "join/tokenjoin", "member", "proxy/appproxy", "proxy/webapi", "types"}
	for _, dir := range got {
		if !slices.Contains(want, dir) {
			t.Errorf("%s reveals secrets", dir)
		}
	}
}

// TestHTTPClientsFollowNoRedirect looks at each http.Client that is made.
func TestHTTPClientsFollowNoRedirect(t *testing.T) {
	for name, f := range sourceFiles(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			sel, ok := lit.Type.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Client" {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); !ok || id.Name != "http" {
				return true
			}
			if !slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
				kv, ok := e.(*ast.KeyValueExpr)
				key, isIdent := kv.Key.(*ast.Ident)
				return ok && isIdent && key.Name == "CheckRedirect"
			}) {
				t.Errorf("%s makes an http.Client that follows redirects", name)
			}
			return true
		})
	}
}
