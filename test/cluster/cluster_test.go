package cluster_test

import (
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
)

// readyAgain bounds the time for tunnels and replicas to come back.
const readyAgain = 60 * time.Second

func TestEachProcessComesAndGoesAsAsked(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{Proxies: 1, Agents: 1})
	login := c.OSUser(t, "/bin/sh").Name
	alice := c.User(t, "alice", []string{"access"}, []string{login})
	alice.Login(t)
	agent := c.Agents[0]
	echo := func() {
		t.Helper()
		cluster.Until(t, readyAgain, "a session", func() bool {
			r := alice.Tsh("ssh", login+"@"+agent.Name, "echo hello")
			return r.Code == 0 && r.Stdout == "hello\n"
		})
	}
	echo()
	for _, p := range []*cluster.Process{agent, c.Proxies[0], c.Auth} {
		p.Kill9(t)
		p.Start(t)
		echo()
		old := p.PID()
		p.HUP(t)
		if p.PID() == old {
			t.Errorf("%s: HUP changed nothing", p.Name)
		}
		echo()
		if code := p.Term(t); code > 0 {
			t.Errorf("%s: TERM ended it with %d", p.Name, code)
		}
		p.Start(t)
		echo()
	}
	agent.WaitReady(t)
	if !strings.Contains(agent.Log(), "ready") || len(agent.Generations()) != 4 {
		t.Errorf("generations %v\n%s", agent.Generations(), agent.LogTail())
	}
}
