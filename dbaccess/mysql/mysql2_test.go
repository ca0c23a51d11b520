package mysql_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestMysql2LogsInWithCachingSHA2 runs mysql2 of npm, which logs in in the way
// that its server names.
func TestMysql2LogsInWithCachingSHA2(t *testing.T) {
	dir := cluster.NPM(t, "testdata/mysql2")
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
