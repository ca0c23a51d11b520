package mysql_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestMysql2LogsInWithCachingSHA2 runs mysql2 of npm, which logs in in the way
// that its server names.
func TestMysql2LogsInWithCachingSHA2(t *testing.T) {
	dir := installed(t)
	_, addr := world(t)
	_, port, _ := net.SplitHostPort(addr.String())
	ask := exec.Command("node", "ask.mjs", port, "alice")
	ask.Dir = dir
	b, err := ask.CombinedOutput()
	out := string(b)
	for _, want := range []string{"caching_sha2_password\n", "row row 7\n", "many 1 2\n", "id true\n", "error ER_BAD_FIELD_ERROR 1054\n", "change 1235\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%v: %s, want %q", err, out, want)
		}
	}
}

// installed is a folder with ask.mjs, and the package that it needs.
func installed(t *testing.T) string {
	t.Helper()
	cluster.Need(t, "npm", "npm")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/mysql2")); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}
