package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
	"teleport/test/pgserver"
)

// pauses is what pgbench does by itself, with a pause after each transaction: who
// looks seldom on a busy machine would otherwise find it done.
const pauses = `\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
\sleep 25 ms
`

// TestAProxyRestartsUnderPgbench kills and restarts the proxy under eight clients
// behind a local proxy: no transaction fails.
func TestAProxyRestartsUnderPgbench(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{Proxies: 1})
	_, port := s.proxied(t)
	bench := pgserver.Bin + "/pgbench"
	cluster.Need(t, bench, "postgresql-15")
	args := []string{"-h", "127.0.0.1", "-p", port, "-U", "alice", "orders"}
	s.alice.Run(cluster.Command{Path: bench, Args: append([]string{"-i", "-q", "-s", "1"}, args...)}).OK(t)
	script := write(t, filepath.Join(s.alice.Home, "script.sql"), pauses)
	live := s.alice.Go(t, bench, append([]string{"-c", "8", "-j", "2", "-t", "250", "-P", "1", "-f", script}, args...)...)
	done := func() string {
		return strings.TrimSpace(s.server.SQL(t, "orders", "select count(*) from pgbench_history"))
	}
	for _, how := range []string{"killed", "asked"} {
		before := done()
		cluster.Until(t, within, "transactions", func() bool { return done() != before || live.Ended() })
		if how == "killed" {
			s.Proxies[0].Kill9(t)
		} else {
			s.Proxies[0].Term(t)
		}
		if live.Ended() { // without a proxy it cannot
			t.Fatalf("it ended too early to show anything, when the proxy was %s: %s %s", how, live.Out, live.Errs)
		}
		s.Proxies[0].Start(t)
	}
	cluster.Poll(5*time.Minute, live.Ended) // a busy machine may take so long
	if code := live.Wait(t); code != 0 {
		t.Fatalf("pgbench ended with %d: %s %s", code, live.Out, live.Errs)
	}
	contains(t, live.Out.String(), "number of transactions actually processed: 2000/2000", "number of failed transactions: 0")
	ways := map[string]int{}               // each a dial
	if !cluster.Poll(within, func() bool { // the agent ships them in its own time
		clear(ways)
		for _, e := range s.Events(t, 8, "db.session.start", "alice") {
			way, _ := e["gateway"].(map[string]any)
			ways[fmt.Sprint(way["stream"])]++
		}
		return slices.Max(slices.Collect(maps.Values(ways))) >= 8
	}) {
		t.Errorf("the connections of one local proxy went separate ways: %v", ways)
	}
	if got := done(); got != "2000" {
		t.Errorf("the database has %s transactions", got)
	}
}
