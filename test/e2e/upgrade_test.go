package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
	"teleport/types"
)

// served opens a session by tsh and checks which process of the agent holds it:
// a command is the child of that one.
func (s *survivors) served(t *testing.T, who *cluster.Person, node *cluster.Process, pid int) *counter {
	t.Helper()
	live := who.StartTsh(t, "ssh", s.at(node), "echo child of $PPID >&2; "+echoLoop)
	c := count(t, fmt.Sprintf("%s's session in process %d", who.Name, pid), live)
	cluster.Until(t, within, "the session to say whose child it is", func() bool { return strings.Contains(live.Errs.String(), "\n") })
	if want := fmt.Sprintf("child of %d\n", pid); live.Errs.String() != want {
		t.Errorf("%s: %q instead of %q", c.what, live.Errs, want)
	}
	return c
}

// runs waits until the cluster knows an agent to be of a version, and looks at
// the program that its newest process was started from.
func (s *survivors) runs(t *testing.T, node *cluster.Process, version string) {
	t.Helper()
	if out := cluster.Run(cluster.Command{Path: node.Program, Args: []string{"version", "--raw"}}).OK(t); strings.TrimSpace(out) != version {
		t.Fatalf("%s is version %q", node.Program, out)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", node.PID())); err != nil || exe != node.Program {
		t.Errorf("process %d of %s runs %s (%v)", node.PID(), node.Name, exe, err)
	}
	for _, list := range [][]string{{"nodes", "ls"}, {"inventory", "list"}} {
		cluster.Until(t, patience, fmt.Sprintf("tctl %s to show version %s", strings.Join(list, " "), version), func() bool {
			for line := range strings.Lines(s.Tctl(list...).OK(t)) {
				if strings.Contains(line, node.Name) {
					return strings.Contains(line, version)
				}
			}
			return false
		})
	}
}

// TestAnUpgradeKeepsEverySession: HUP after another binary was put in the
// agent's place. What was there stays with the process of before, what comes is
// the new one's, and a client that lost its connection finds the process that
// holds its session: after the upgrade, and after the way back.
func TestAnUpgradeKeepsEverySession(t *testing.T) {
	t.Parallel()
	next, err := cluster.NextTeleport()
	if err != nil {
		t.Fatal(err)
	}
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	agent, proxy, present := s.Agents[0], s.Proxies[0], filepath.Join(s.Bin(), "teleport")
	agent.Term(t)
	agent.Program = filepath.Join(agent.Dir, "teleport")
	cluster.Install(t, present, agent.Program)
	agent.Start(t)
	s.runs(t, agent, types.Release)
	found(t, s.alice, agent.Name)

	first := agent.PID()
	all := []*counter{s.served(t, s.alice, agent, first), s.openssh(t, s.bob, agent)}
	back := 0
	for _, step := range []struct{ program, version string }{{next, cluster.NextRelease}, {present, types.Release}} {
		cluster.Install(t, step.program, agent.Program)
		agent.HUP(t)
		s.runs(t, agent, step.version)
		all = append(all, s.served(t, s.alice, agent, agent.PID()))
		// Every client comes anew, through the newest process alone.
		proxy.Kill9(t)
		proxy.Start(t)
		for _, c := range all {
			c.moves(t)
		}
		back += len(all)
		s.Events(t, back, "session.attach", "")
		s.hello(t, s.bob, agent)
	}
	for _, c := range all {
		c.finish(t)
	}
	for _, pid := range agent.Generations() {
		if pid != agent.PID() {
			s.gone(t, agent, pid)
		}
	}
}
