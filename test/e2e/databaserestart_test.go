package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
	"teleport/test/pgserver"
)

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
	live := s.alice.Go(t, bench, append([]string{"-c", "8", "-j", "2", "-t", "250", "-P", "1"}, args...)...)
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
	ways := map[string]int{} // each a dial
	for _, e := range s.Events(t, 8, "db.session.start", "alice") {
		way, _ := e["gateway"].(map[string]any)
		ways[fmt.Sprint(way["stream"])]++
	}
	if most := slices.Max(slices.Collect(maps.Values(ways))); most < 8 {
		t.Errorf("the connections of one local proxy went separate ways: %v", ways)
	}
	if got := done(); got != "2000" {
		t.Errorf("the database has %s transactions", got)
	}
}
