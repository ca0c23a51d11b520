package teleport_test

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// goPackage is what go list says of one package.
type goPackage struct {
	ImportPath string
	Name       string
	Doc        string
	Dir        string
	Standard   bool
	Imports    []string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Dir,Standard,Imports,GoFiles", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// A row gives packages their floor, and names what they may import on that
// same floor. The first pattern that matches a package decides. "x/*" covers x
// and everything below it; "{dir}" in a permission stands for the package's own
// parent folder, "{family}" for its first path element.
type row struct {
	pattern string
	floor   int
	beside  []string
}

// beside marks the trees that stand beside the floors: they may import anything.
const beside = 100

var floors = []row{
	{"fault", 0, nil},
	{"types/*", 0, []string{"fault", "types/*"}},

	{"predicate", 1, nil},
	{"access/*", 1, []string{"predicate", "access/*"}},
	{"keys", 1, nil},
	{"cert/*", 1, []string{"keys", "cert/*"}},
	{"dialect", 1, nil},
	{"recfmt", 1, nil},
	{"screen", 1, nil},
	{"transcript", 1, nil},
	{"tunnel/tunframe", 1, nil},
	{"audit/chain", 1, nil},
	{"sigv4wire", 1, nil},
	{"cloudhost", 1, nil},
	{"dbaccess/dynamodb/dynamowire", 1, nil},
	{"dbaccess/redis/rediswire", 1, nil},

	{"lifecycle", 2, nil},
	{"generation", 2, []string{"lifecycle", "wholefile"}},
	{"netx/*", 2, []string{"netx/*", "lifecycle"}},
	{"telemetry", 2, nil},
	{"backend/*", 2, []string{"backend/*", "lifecycle", "telemetry"}},
	{"blob/*", 2, []string{"blob/*", "lifecycle", "telemetry"}},
	{"keystore/*", 2, []string{"keystore/*", "lifecycle", "telemetry", "backend"}},
	{"cloud/cloudcall", 2, nil},
	{"cloud/renewal", 2, nil},
	{"cloud/*", 2, []string{"cloud/cloudcall", "cloud/renewal"}}, // a cloud knows no other cloud
	{"web", 2, nil},
	{"wholefile", 2, nil},
	{"steady", 2, nil},
	{"maxprocs", 2, nil},
	{"healthcheck", 2, []string{"lifecycle", "netx"}},

	{"store", 3, nil},
	{"audit/*", 3, []string{"audit/*"}},
	{"recorder/*", 3, []string{"audit", "recorder/*"}},
	{"api/*", 3, []string{"api/*", "store"}},
	{"session", 3, []string{"recorder", "audit"}},
	{"join/*", 3, []string{"join/*"}},
	{"member", 3, []string{"join", "api/authclient", "api/gen/*"}},
	{"resume", 3, nil},
	{"tunnel/*", 3, []string{"tunnel/*", "sshserver", "sshclient"}},
	{"dial", 3, []string{"tunnel/tundial", "resume"}},
	{"tlsroute", 3, nil},
	{"sshserver", 3, nil},
	{"sshclient", 3, nil},

	{"auth/*", 4, []string{"auth/*"}},
	{"proxy/native", 4, []string{"proxy/proxyd", "dbaccess/postgres/pgwire"}},
	{"proxy/*", 4, []string{"proxy/*", "sshaccess/sshproxy"}},
	{"agent/*", 4, []string{"agent/*"}},
	{"sshaccess/*", 4, []string{"agent/agentd", "sshaccess/*"}},
	{"dbaccess", 4, []string{"agent/agentd", "agent/inside", "dbaccess/relay"}},
	{"dbaccess/relay", 4, nil},
	{"dbaccess/postgres/pgwire", 4, nil},
	{"dbaccess/postgres", 4, []string{"dbaccess", "dbaccess/relay", "dbaccess/postgres/pgwire"}},
	{"dbaccess/mysql/mysqlwire", 1, nil},
	{"dbaccess/mysql", 4, []string{"dbaccess", "dbaccess/relay", "dbaccess/mysql/mysqlwire"}},
	{"dbaccess/dbtest", 4, []string{"dbaccess", "dbaccess/relay", "agent/insidetest"}},
	{"dbaccess/*", 4, []string{"dbaccess", "dbaccess/relay"}}, // an engine knows no other engine
	{"appaccess", 4, []string{"agent/agentd", "agent/inside"}},
	{"appaccess/apptest", 4, []string{"appaccess", "agent/insidetest"}},
	{"appaccess/cloudapp", 4, []string{"appaccess"}},
	{"appaccess/*", 4, []string{"appaccess"}}, // an engine knows no other engine
	{"client/*", 4, []string{"client/*"}},

	{"config", 5, nil},
	{"builtin/*", 5, nil},
	{"assembly", 5, []string{"config", "builtin/*"}},
	{"cli/output", 5, nil},
	{"cli/teleportcmd", 5, []string{"config", "cli/output", "builtin/*", "assembly"}},
	{"cli/*", 5, []string{"config", "cli/output", "builtin/*"}},

	{"cmd/*", 6, nil},

	{"test/*", beside, nil},
	{"bench/*", beside, nil},
	{"connect/*", beside, nil},
	{"deploy/*", beside, nil},
	{"", beside, nil},
}

// libraries that only some floors may see: words and rules stay pure.
var pureFloors = map[int]struct {
	forbidden []string
	why       string
}{
	0: {[]string{"net/http", "os/exec", "crypto/tls"}, "floor 0 is words"},
	1: {[]string{"os", "net/http", "os/exec", "database/sql"}, "floor 1 has no sockets, files or goroutines"},
}

func matches(pattern, pkg string) bool {
	base, tree := strings.CutSuffix(pattern, "/*")
	return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
}

func rowOf(pkg string) (row, bool) {
	for _, r := range floors {
		if matches(r.pattern, pkg) {
			return r, true
		}
	}
	return row{}, false
}

// TestFloors keeps the import law: lower floors freely, the own floor only as
// the row says, columns never each other, leaves only from builtin.
func TestFloors(t *testing.T) {
	for _, p := range listPackages(t) {
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "teleport"), "/")
		from, ok := rowOf(pkg)
		if !ok {
			t.Errorf("%s stands on no floor: give it a row in floors_test.go", p.ImportPath)
			continue
		}
		if from.floor == beside {
			continue
		}
		for _, imp := range p.Imports {
			checkPure(t, p, from.floor, imp)
			if !strings.HasPrefix(imp, "teleport/") {
				continue
			}
			dep := strings.TrimPrefix(imp, "teleport/")
			to, ok := rowOf(dep)
			switch {
			case !ok:
			case to.floor < from.floor:
			case to.floor == from.floor && slices.ContainsFunc(from.beside, func(pat string) bool { return matches(pat, dep) }):
			default:
				t.Errorf("%s (floor %d) imports %s (floor %d)", pkg, from.floor, dep, to.floor)
			}
		}
	}
}

func checkPure(t *testing.T, p goPackage, floor int, imp string) {
	t.Helper()
	rule, ok := pureFloors[floor]
	if ok && slices.Contains(rule.forbidden, imp) && !strings.HasSuffix(p.ImportPath, "test") {
		t.Errorf("%s imports %s: %s", p.ImportPath, imp, rule.why)
	}
	if floor == 0 && strings.Contains(imp, ".") && !strings.HasPrefix(imp, "teleport/") {
		t.Errorf("%s imports %s: floor 0 knows the standard library only", p.ImportPath, imp)
	}
}

// TestPackagesSayWhatTheyAreFor wants a package comment of at least a sentence
// and unique, plain names.
func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	banned := []string{"util", "utils", "common", "helper", "helpers", "misc", "base"}
	seen := map[string]string{}
	for _, p := range listPackages(t) {
		if strings.Contains(p.ImportPath, "/gen/") || len(p.GoFiles) == 0 {
			continue
		}
		if len(p.Doc) < 30 {
			t.Errorf("%s has no package comment that says what it is for", p.ImportPath)
		}
		if slices.Contains(banned, p.Name) {
			t.Errorf("%s: the name says nothing", p.ImportPath)
		}
		if p.Name == "main" {
			continue
		}
		if p.Name != path.Base(p.ImportPath) {
			t.Errorf("%s is named %s", p.ImportPath, p.Name)
		}
		if other, ok := seen[p.Name]; ok {
			t.Errorf("%s and %s share a name", other, p.ImportPath)
		}
		seen[p.Name] = p.ImportPath
	}
}
