package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"teleport/test/cluster"
)

// patience bounds the waits for something that takes seconds at most.
const patience = 60 * time.Second

// counter is a session under way in which a number goes out and must come back,
// again and again: a lost, doubled or late line shows.
type counter struct {
	*cluster.Live
	what string

	mu   sync.Mutex
	sent int
	stop chan struct{}
	done chan struct{}
}

// echoLoop answers each line of its input with the same line.
const echoLoop = `while read n; do echo "$n"; done; echo end >&2`

// count starts to count through a session, which tsh or ssh has opened.
func count(t *testing.T, what string, live *cluster.Live) *counter {
	t.Helper()
	c := &counter{Live: live, what: what, stop: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	t.Cleanup(func() { c.halt(); <-c.done })
	c.moves(t)
	return c
}

func (c *counter) run() {
	defer close(c.done)
	defer c.In.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		c.sent++
		n := c.sent
		c.mu.Unlock()
		if _, err := fmt.Fprintln(c.In, n); err != nil {
			return
		}
	}
}

func (c *counter) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
}

// moves waits until lines that were sent after this call have come back.
func (c *counter) moves(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	goal := c.sent + 20
	c.mu.Unlock()
	cluster.Until(t, patience, c.what+" to count on", func() bool {
		if c.Ended() {
			t.Fatalf("%s has ended: %s", c.what, c.Errs)
		}
		return strings.Contains(c.Out.String(), fmt.Sprintf("\n%d\n", goal))
	})
}

// finish ends the session at its own wish and checks every line of it.
func (c *counter) finish(t *testing.T) {
	t.Helper()
	c.moves(t)
	c.halt()
	if code := c.Wait(t); code != 0 || !strings.Contains(c.Errs.String(), "end") {
		t.Errorf("%s ended with %d: %s", c.what, code, c.Errs)
	}
	c.inOrder(t, c.sent)
}

// inOrder checks that the lines are 1, 2, 3 … and, where all are wanted, up to
// the last that was sent.
func (c *counter) inOrder(t *testing.T, all int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(c.Out.String()), "\n")
	if all > 0 && len(lines) != all {
		t.Errorf("%s: %d lines of %d came back", c.what, len(lines), all)
	}
	for i, l := range lines {
		if l != fmt.Sprint(i+1) {
			t.Errorf("%s: line %d is %q", c.what, i+1, l)
			return
		}
	}
}

// isCut waits for the end of a session that somebody else ends, and returns what
// its user was told.
func (c *counter) isCut(t *testing.T) string {
	t.Helper()
	if code := c.Wait(t); code == 0 {
		t.Errorf("%s ended as if all were well", c.what)
	}
	c.inOrder(t, 0)
	return c.Errs.String()
}

// survivors is a world with two of each, and an ordinary account for the sessions.
type survivors struct {
	*cluster.Cluster
	alice *cluster.Person // logged in at the first proxy
	bob   *cluster.Person // at the second, where there is one
	login string
}

func newSurvivors(t *testing.T, o cluster.Opts) *survivors {
	t.Helper()
	s := &survivors{Cluster: cluster.New(t, o)}
	s.login = s.OSUser(t, "/bin/sh").Name
	s.alice = s.person(t, "alice", s.Proxies[0])
	s.bob = s.person(t, "bob", s.Proxies[len(s.Proxies)-1])
	nodes := s.Agents
	if o.OneProcess {
		nodes = []*cluster.Process{s.Auth}
	}
	for _, node := range nodes {
		found(t, s.alice, node.Name)
		found(t, s.bob, node.Name)
	}
	return s
}

func (s *survivors) person(t *testing.T, name string, at *cluster.Process) *cluster.Person {
	t.Helper()
	p := s.User(t, name, []string{"access"}, []string{s.login})
	p.Login(t, "--proxy="+at.WebAddr)
	return p
}

func (s *survivors) at(node *cluster.Process) string { return s.login + "@" + node.Name }

// counting opens a session of a person on a node by tsh.
func (s *survivors) counting(t *testing.T, who *cluster.Person, node *cluster.Process) *counter {
	t.Helper()
	return count(t, who.Name+"'s session on "+node.Name, who.StartTsh(t, "ssh", s.at(node), echoLoop))
}

// openssh opens a session by OpenSSH with what tsh config prints.
func (s *survivors) openssh(t *testing.T, who *cluster.Person, node *cluster.Process) *counter {
	t.Helper()
	conf := who.Home + "/ssh_config"
	write(t, conf, who.Tsh("config").OK(t))
	return count(t, who.Name+"'s OpenSSH session on "+node.Name,
		who.Go(t, cluster.Need(t, "ssh", "openssh-client"), "-F", conf, s.login+"@"+node.Name+"."+s.Name, echoLoop))
}

// hello runs a command in a new session, once: no second try is allowed.
func (s *survivors) hello(t *testing.T, who *cluster.Person, node *cluster.Process) {
	t.Helper()
	if out := who.Tsh("ssh", s.at(node), "echo hello").OK(t); out != "hello\n" {
		t.Errorf("%s on %s: %q", who.Name, node.Name, out)
	}
}

// helloAgain is for what comes after a proxy was away: agents look for it again and
// again, with growing pauses.
func (s *survivors) helloAgain(t *testing.T, who *cluster.Person, node *cluster.Process) {
	t.Helper()
	cluster.Until(t, patience, node.Name+" to find its proxy again", func() bool { return who.Tsh("ssh", s.at(node), "true").Code == 0 })
	s.hello(t, who, node)
}

func TestEachKilledProcessComesBackAndTheRestLivesOn(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 2, Agents: 2})
	one, two := s.Agents[0], s.Agents[1]
	aliceOne, bobOne, aliceTwo := s.counting(t, s.alice, one), s.counting(t, s.bob, one), s.counting(t, s.alice, two)

	// An agent: its sessions end with a word, the others do not notice.
	two.Kill9(t)
	if told := aliceTwo.isCut(t); !strings.Contains(told, "ERROR") {
		t.Errorf("the user of the killed agent was told %q", told)
	}
	aliceOne.moves(t)
	two.Start(t)
	s.hello(t, s.bob, two)

	// A proxy: what went through it goes on through the other, which takes new
	// dials at once.
	s.Proxies[0].Kill9(t)
	aliceOne.moves(t)
	bobOne.moves(t)
	s.hello(t, s.bob, one)
	s.Proxies[0].Start(t)
	s.helloAgain(t, s.alice, one)
	s.helloAgain(t, s.alice, two)

	// Auth: all sessions live on, and certificates that are there open new ones.
	aliceTwo = s.counting(t, s.alice, two)
	s.Auth.Kill9(t)
	for _, c := range []*counter{aliceOne, aliceTwo, bobOne} {
		c.moves(t)
	}
	s.hello(t, s.alice, two)
	s.hello(t, s.bob, two)
	// Meanwhile an agent dies with events that only its disk has.
	two.Kill9(t)
	aliceTwo.isCut(t)
	s.Auth.Start(t)
	two.Start(t)
	s.hello(t, s.bob, two)
	aliceOne.finish(t)
	bobOne.finish(t)

	s.crashes(t, "alice", 2) // on node-2, by both deaths of its agent
	if out := s.Tctl("audit", "verify").OK(t); !strings.Contains(out, "OK") && !strings.Contains(out, "verif") {
		t.Errorf("tctl audit verify: %s", out)
	}
}

// crashes waits for session ends that a next process told, as the one that held
// them died. The oracles of the cluster check that each start has its end.
func (s *survivors) crashes(t *testing.T, user string, want int) {
	t.Helper()
	cluster.Until(t, patience, fmt.Sprintf("%d sessions of %s that ended by a crash", want, user), func() bool {
		n := 0
		for _, e := range s.Events(t, 1, "session.end", user) {
			if fmt.Sprint(e["reason"]) == "crash" {
				n++
			}
		}
		return n == want
	})
}

func TestHUPLosesNoLine(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	agent := s.Agents[0]
	for _, p := range []*cluster.Process{agent, s.Proxies[0], s.Auth} {
		before := []*counter{s.counting(t, s.alice, agent), s.openssh(t, s.bob, agent)}
		old := p.PID()
		p.HUP(t)
		// The old process holds what it had, the new one takes what comes.
		s.hello(t, s.alice, agent)
		for _, c := range before {
			c.moves(t)
		}
		after := s.counting(t, s.bob, agent)
		p.HUP(t) // and once more: three generations are there now
		s.hello(t, s.bob, agent)
		for _, c := range append(before, after) {
			c.finish(t)
		}
		s.gone(t, p, old)
	}
}

func TestHUPOfEverythingInOneProcess(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{OneProcess: true})
	all := s.Auth
	before := []*counter{s.counting(t, s.alice, all), s.openssh(t, s.bob, all)}
	old := all.PID()
	for range 2 {
		all.HUP(t)
		s.hello(t, s.alice, all)
		s.bob.Tsh("ls").OK(t)
	}
	for _, c := range before {
		c.finish(t)
	}
	s.gone(t, all, old)
}

// gone waits until a generation that was replaced has ended by itself.
func (s *survivors) gone(t *testing.T, p *cluster.Process, pid int) {
	t.Helper()
	cluster.Until(t, patience, fmt.Sprintf("generation %d of %s to end after its last session", pid, p.Name), func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)) // a zombie has none
		return err != nil
	})
}

func TestANewGenerationThatFailsLeavesTheOldOneWhole(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Agents: 1})
	agent := s.Agents[0]
	live := s.counting(t, s.alice, agent)
	good, err := os.ReadFile(s.Auth.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(bad string) {
		t.Helper()
		seen := strings.Count(s.Auth.Log(), "was not replaced")
		write(t, s.Auth.ConfigPath, bad)
		s.Auth.Signal(t, syscall.SIGHUP)
		cluster.Until(t, patience, "the old process to say that it goes on", func() bool {
			return strings.Count(s.Auth.Log(), "was not replaced") > seen
		})
		write(t, s.Auth.ConfigPath, string(good))
		// The old one has its auth service, its proxy and its sockets.
		s.Auth.WaitReady(t)
		s.Tctl("users", "ls").OK(t)
		s.hello(t, s.bob, agent)
		live.moves(t)
	}
	refused(string(good) + "nonsense: yes\n")
	// One that fails when it has taken the store over already: its web certificate is missing.
	refused(strings.Replace(string(good), "proxy_service:", "proxy_service:\n  https_keypairs: [{key_file: /nowhere/key, cert_file: /nowhere/cert}]", 1))
	s.Auth.HUP(t)
	s.hello(t, s.alice, agent)
	live.finish(t)
}

func TestAFastStopCutsAtOnceAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	agent, proxy := s.Agents[0], s.Proxies[0]
	live := s.counting(t, s.alice, agent)
	ssh := s.openssh(t, s.bob, agent)
	if code := agent.Term(t); code != 0 {
		t.Errorf("TERM ended the agent with %d", code)
	}
	for _, c := range []*counter{live, ssh} {
		if told := c.isCut(t); !strings.Contains(told, "the server is shutting down") {
			t.Errorf("%s: the user was told %q", c.what, told)
		}
	}
	agent.Start(t)
	found(t, s.alice, agent.Name)

	// An old generation that drains ends with the new one.
	live = s.counting(t, s.alice, agent)
	agent.HUP(t)
	if code := agent.Term(t); code != 0 { // waits for both
		t.Errorf("TERM ended the first generation with %d", code)
	}
	live.isCut(t)
	agent.Start(t)
	found(t, s.bob, agent.Name)

	live = s.counting(t, s.bob, agent)
	if code := proxy.Term(t); code != 0 {
		t.Errorf("TERM ended the proxy with %d", code)
	}
	if code := s.Auth.Term(t); code != 0 {
		t.Errorf("TERM ended auth with %d", code)
	}
	s.Auth.Start(t)
	proxy.Start(t)
	s.helloAgain(t, s.alice, agent)
	live.finish(t) // its connection was away, and it is not
}

func TestQuitWaitsForTheLastSession(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	for _, p := range []*cluster.Process{s.Agents[0], s.Proxies[0]} {
		live := s.counting(t, s.alice, s.Agents[0])
		p.Quit(t)
		cluster.Until(t, patience, p.Name+" to say that it drains", func() bool {
			status, _ := p.Readyz()
			return status == "draining"
		})
		if r := s.bob.Tsh("ssh", s.at(s.Agents[0]), "echo hello"); r.Code == 0 || !strings.Contains(r.Stderr, "ERROR") {
			t.Errorf("%s drains, and a new session: %s", p.Name, r)
		}
		live.finish(t)
		if code := p.WaitGone(t); code != 0 {
			t.Errorf("QUIT ended %s with %d", p.Name, code)
		}
		p.Start(t)
		s.helloAgain(t, s.bob, s.Agents[0])
	}
}
