package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestAnAgentOfFlags: teleport db start fronts a database without a file, and what
// teleport db configure create writes is a file that fronts one.
func TestAnAgentOfFlags(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	teleport := filepath.Join(s.Bin(), "teleport")
	flags := func(name string) []string {
		return []string{"--proxy-server=" + s.ProxyAddr(), "--token=" + s.Token(t, "db"), "--ca-pin=" + s.CAPin(t), "--nodename=" + name,
			"--data-dir=" + filepath.Join(t.TempDir(), "data"), "--name=" + name, "--protocol=postgres", "--uri=localhost:" + s.server.Port, "--labels=env=test,from=flags"}
	}
	file := filepath.Join(t.TempDir(), "teleport.yaml")
	s.alice.Run(cluster.Command{Path: teleport, Args: append([]string{"db", "configure", "create", "-o", file}, flags("of-file")...)}).OK(t)
	contains(t, s.alice.Run(cluster.Command{Path: teleport, Args: []string{"configure", "--test=" + file}}).OK(t), "is good")
	s.alice.Go(t, teleport, append([]string{"db", "start"}, flags("of-flags")...)...)
	s.alice.Go(t, teleport, "db", "start", "-c", file)
	for _, name := range []string{"of-flags", "of-file"} {
		cluster.Until(t, within, name+" in tsh db ls", func() bool {
			return strings.Contains(s.alice.Tsh("db", "ls", "from=flags").Stdout, name)
		})
		cluster.Until(t, within, name+" to answer", func() bool { // the proxy hears of it in its own time
			return s.alice.Tsh("db", "connect", name, "--db-user=alice", "--db-name=orders", "--", "-X", "-A", "-t", "-c", "select 40+2").Stdout == "42\n"
		})
	}
}
