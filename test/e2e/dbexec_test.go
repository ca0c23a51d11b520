package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestAQueryOnManyDatabases runs tsh db exec on two databases of which one fails.
func TestAQueryOnManyDatabases(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	s.TctlIn(fmt.Sprintf("kind: db\nversion: v3\nmetadata: {name: second, labels: {env: test, team: shop}}\nspec: {protocol: postgres, uri: 'localhost:%s'}\n", s.server.Port), "create", "-f").OK(t)
	exec := func(query string, args ...string) cluster.Result {
		return s.alice.Tsh(append([]string{"db", "exec", query, "--db-user=alice"}, args...)...)
	}
	const count = "select count(*) from items"
	both := []string{"--dbs=orders-db,second", "--db-name=orders", "--no-confirm"}
	var r cluster.Result
	cluster.Until(t, within, "both databases", func() bool { r = exec(count, both...); return r.Code == 0 }) // auth and the proxy hear of it in their own time
	contains(t, r.OK(t), "orders-db:   1000\n", "second:   1000\n")
	contains(t, r.Stderr, "2 databases: 2 succeeded, 0 failed\n")

	out := filepath.Join(s.alice.Home, "out")
	r = exec(count, "--labels=env=test", "--db-name=orders", "--parallel=2", "--output-dir="+out, "--confirm=false")
	if r.OK(t) != "" {
		t.Errorf("%s", r)
	}
	contains(t, r.Stderr, "[1/2] ", "[2/2] ", ": done in ", "2 succeeded")
	for _, name := range []string{"orders-db", "second"} {
		if text, err := os.ReadFile(filepath.Join(out, name+".output")); err != nil || !strings.Contains(string(text), " 1000\n") {
			t.Errorf("%s: %v %s", name, err, text)
		}
	}

	// In one of them the table is missing: the rest goes on.
	s.alice.Tsh("db", "login", "orders-db", "--db-user=alice", "--db-name=orders").OK(t)
	s.alice.Tsh("db", "login", "second", "--db-user=alice", "--db-name=copy").OK(t)
	r = s.alice.Tsh("db", "exec", count, "--search=o", "--no-confirm", "--output-dir="+out).Exit(t, 1)
	contains(t, r.Stderr, "2 databases: 1 succeeded, 1 failed\n", `second: ERROR:  relation "items" does not exist`)
	var sum struct {
		Total, Succeeded, Failed int
		Databases                []struct {
			Name, Error, Output string
			Success             bool
		}
	}
	text, err := os.ReadFile(filepath.Join(out, "summary.json"))
	if err != nil || json.Unmarshal(text, &sum) != nil || sum.Total != 2 || sum.Failed != 1 || !sum.Databases[0].Success ||
		sum.Databases[1].Name != "second" || !strings.Contains(sum.Databases[1].Error, "does not exist") || sum.Databases[1].Output != "second.output" {
		t.Errorf("%v %s", err, text)
	}
	if info, err := os.Stat(filepath.Join(out, "summary.json")); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nobody can be asked": {both[:2], 2, "--no-confirm"},
		"none":                {[]string{"--db-name=orders"}, 2, "no database was named"},
		"two ways":            {append([]string{"--labels=env=test"}, both...), 2, "use one way"},
		"too many at once":    {append([]string{"--parallel=11"}, both...), 2, "from 1 to 10"},
		"one that is not":     {[]string{"--dbs=orders-db,third", "--no-confirm"}, 5, `there is no database "third"`},
		"none matches":        {[]string{"--labels=env=none", "--no-confirm"}, 5, "there is no database"},
		"another user":        {[]string{"--dbs=second", "--no-confirm", "--db-user=bob", "--db-name=orders"}, 1, "no role that matches it has bob in db_users"},
	} {
		r := exec(count, c.args...)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: %s, want %d and %q", name, r, c.code, c.want)
		}
	}
}
