package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"teleport/test/cluster"
	"teleport/test/ledger"
)

// talkFor is how long the conversations of TestNoByteIsLost last: a minute, or
// what TELEPORT_SOAK says.
func talkFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("TELEPORT_SOAK")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rate is what each conversation says, either way, in bytes per second: seldom
// quiet, and not more than eight conversations on a small machine can carry.
const rate = 200_000

// conversation runs two ledgers through a command of a person, at whose far end
// ledgertalk runs.
type conversation struct {
	what string
	pid  int // of the command, and of its group; 0 where there is none
	errs cluster.Output
	stop context.CancelFunc
	done chan struct{}

	came        atomic.Int64 // bytes so far
	heard, said int64
	err         error
}

// talk starts a conversation through a command's standard input and output, and
// returns when the far end has spoken.
func (s *survivors) talk(t *testing.T, who *cluster.Person, what, path string, args ...string) *conversation {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &conversation{what: what, stop: stop, done: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stderr = who.Env(), who.Home, &c.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts sleeps with it
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.pid = cmd.Process.Pid
	go func() {
		defer close(c.done)
		c.heard, c.said, c.err = ledger.Talker{In: 2, Out: 1, Rate: rate}.Run(ctx, &counted{out, &c.came}, in)
		if err := cmd.Wait(); c.err == nil {
			c.err = err
		}
	}()
	t.Cleanup(func() {
		stop()
		_ = syscall.Kill(-c.pid, syscall.SIGKILL) // gone already is as good
		<-c.done
	})
	cluster.Until(t, patience, what+" to begin", func() bool { c.alive(t); return c.came.Load() > 0 })
	return c
}

// counted tells how much has come of a reader.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// finish ends a conversation and holds what this end says against what the far
// end says.
func (c *conversation) finish(t *testing.T) {
	t.Helper()
	c.stop()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Errorf("%s does not end: %s", c.what, c.errs.String())
		return
	}
	if c.err != nil {
		t.Errorf("%s: %v\n%s", c.what, c.err, c.errs.String())
		return
	}
	c.compare(t, c.errs.String())
}

func (c *conversation) compare(t *testing.T, far string) {
	t.Helper()
	if want := fmt.Sprintf("heard %d said %d", c.said, c.heard); !strings.Contains(far, want) {
		t.Errorf("%s: here %q, and there:\n%s", c.what, want, far)
	}
	t.Logf("%s: heard %d said %d", c.what, c.heard, c.said)
}

// alive fails the test when a conversation has ended before it was told to.
func (c *conversation) alive(t *testing.T) {
	t.Helper()
	select {
	case <-c.done:
		t.Fatalf("%s has ended: %v\n%s", c.what, c.err, c.errs.String())
	default:
	}
}

// forwarded starts a conversation through a port that tsh forwards.
func (s *survivors) forwarded(t *testing.T, who *cluster.Person, node *cluster.Process, far string) (*conversation, *cluster.Live) {
	t.Helper()
	near, there := cluster.FreePort(t), cluster.FreePort(t)
	live := who.StartTsh(t, "ssh", "-L", near+":127.0.0.1:"+there, s.at(node), far, "-listen", "127.0.0.1:"+there)
	var conn net.Conn
	cluster.Until(t, patience, "the forwarded port to lead to the far end", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+near)
		if err != nil {
			return false
		}
		one := make([]byte, 1)
		if c.SetReadDeadline(time.Now().Add(patience)) != nil { // the far end takes one connection, and no other after it
			return false
		}
		if n, _ := c.Read(one); n == 0 {
			c.Close() // nobody listens there yet
			return false
		}
		conn = prepended{c, bytes.NewReader(one)}
		return c.SetReadDeadline(time.Time{}) == nil
	})
	ctx, stop := context.WithCancel(context.Background())
	c := &conversation{what: "a forwarded port", stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.heard, c.said, c.err = ledger.Talker{In: 2, Out: 1, Rate: rate}.Run(ctx, conn, ledger.HalfClose(conn.(prepended).Conn))
	}()
	t.Cleanup(func() { stop(); conn.Close(); <-c.done })
	return c, live
}

// prepended is a connection of which a byte was read already.
type prepended struct {
	net.Conn
	first *bytes.Reader
}

func (p prepended) Read(b []byte) (int, error) {
	if p.first.Len() > 0 {
		return p.first.Read(b)
	}
	return p.Conn.Read(b)
}

// breath is between two rounds of copying: the machine has other tests to run.
const breath = 3 * time.Second

// neverBegan reports whether a program says that it found no proxy, or one that was
// killed before it had answered, or one that the agent had not found again.
func neverBegan(stderr string) bool {
	return slices.ContainsFunc([]string{"cannot connect", "ended before the dial was answered", "the proxy closed the connection", "is offline"},
		func(said string) bool { return strings.Contains(stderr, said) })
}

// copying copies a file to the node and back, again and again, and looks at what
// came back.
func (s *survivors) copying(t *testing.T, who *cluster.Person, node *cluster.Process) *conversation {
	t.Helper()
	c := &conversation{what: "scp", done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	const size = 100 << 20
	there, back, remote := filepath.Join(who.Home, "there"), filepath.Join(who.Home, "back"), s.at(node)+":ledger"
	f, err := os.Create(there)
	if err == nil {
		_, err = io.Copy(f, &ledger.Source{Seed: 3, Size: size})
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		for ctx.Err() == nil && c.err == nil {
			for _, pair := range [][2]string{{there, remote}, {remote, back}} {
				// A copy that begins while there is no proxy fails, and may.
				var r cluster.Result
				cluster.Poll(patience, func() bool {
					r = who.Tsh("scp", "-q", pair[0], pair[1])
					return r.Code != 255 || !neverBegan(r.Stderr)
				})
				if r.Code != 0 && c.err == nil {
					c.err = fmt.Errorf("%s", r)
				}
			}
			check := &ledger.Check{Seed: 3}
			f, err := os.Open(back)
			if err == nil {
				_, err = io.Copy(struct{ io.Writer }{check}, f)
				f.Close()
			}
			if c.err == nil && (err != nil || check.Position() != size) {
				c.err = fmt.Errorf("%d bytes came back: %v", check.Position(), err)
			}
			c.said++
			cluster.Poll(breath, func() bool { return ctx.Err() != nil })
		}
	}()
	t.Cleanup(func() { stop(); <-c.done })
	return c
}

// TestNoByteIsLost talks through everything that a person has, for as long as
// TELEPORT_SOAK says, while the proxy is killed and started again and again and
// the agent is replaced once: no byte is lost, and none comes twice.
func TestNoByteIsLost(t *testing.T) {
	t.Parallel()
	far := cluster.Ledger(t)
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	agent, proxy := s.Agents[0], s.Proxies[0]
	conf := write(t, s.bob.Home+"/ssh_config", s.bob.Tsh("config").OK(t))
	tsh := filepath.Join(s.Bin(), "tsh")
	port, portLive := s.forwarded(t, s.alice, agent, far)
	scp := s.copying(t, s.bob, agent)
	talks := []*conversation{
		s.talk(t, s.alice, "tsh ssh", tsh, "ssh", s.at(agent), far),
		s.talk(t, s.bob, "OpenSSH over tsh proxy ssh", cluster.Need(t, "ssh", "openssh-client"), "-F", conf, s.login+"@"+agent.Name+"."+s.Name, far),
		port, scp,
	}
	long := talkFor(t)
	every := min(30*time.Second, long/6)
	old := agent.PID()
	end := time.Now().Add(long)
	for round := 1; time.Now().Before(end); round++ {
		next := time.Now().Add(every)
		cluster.Poll(time.Until(next), func() bool {
			for _, c := range talks {
				c.alive(t)
			}
			return false
		})
		if round == 2 {
			agent.HUP(t)
		}
		proxy.Kill9(t)
		proxy.Start(t)
	}
	for _, c := range talks[:2] {
		c.finish(t)
	}
	scp.stop()
	<-scp.done
	if scp.err != nil {
		t.Errorf("scp: %v", scp.err)
	}
	t.Logf("scp went there and back %d times", scp.said)
	port.stop()
	<-port.done
	if code := portLive.Wait(t); code != 0 || port.err != nil {
		t.Errorf("the forwarded port ended with %d: %v\n%s", code, port.err, portLive.Errs)
	}
	port.compare(t, portLive.Errs.String())
	// The old generation has handed its streams over to the end.
	s.gone(t, agent, old)
	var gaps []time.Duration
	for _, e := range s.Events(t, 8, "session.attach", "") {
		gap, err := time.ParseDuration(fmt.Sprint(e["gap"]))
		if err != nil {
			t.Errorf("%v: %v", e, err)
		}
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	t.Logf("%d sessions went on, after %s at the median and %s at most", len(gaps), gaps[len(gaps)/2], gaps[len(gaps)-1])
}

func TestASessionWhoseClientStaysAwayEnds(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1, Config: func(process string, conf cluster.Doc) {
		if process == "node-1" {
			conf.Set("ssh_service.detached_session_timeout", "2s")
		}
	}})
	live := s.counting(t, s.alice, s.Agents[0])
	if err := live.Cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ends := s.Events(t, 2, "session.detach", "alice")
	var codes []string
	for _, e := range ends {
		codes = append(codes, fmt.Sprint(e["code"]))
	}
	if got := strings.Join(codes, " "); got != "TXS02I TXS02W" {
		t.Errorf("the events are %s", got)
	}
	s.Events(t, 1, "session.end", "alice")
}

func TestAKilledAgentEndsItsSessionsWithAWord(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	agent := s.Agents[0]
	for _, back := range []bool{false, true} {
		live := s.counting(t, s.alice, agent)
		begun := time.Now()
		agent.Kill9(t)
		if back {
			agent.Start(t)
		}
		told := live.isCut(t)
		if !strings.Contains(told, "session") || !strings.Contains(told, "ERROR") {
			t.Errorf("the user was told %q", told)
		}
		t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), told)
		if !back {
			agent.Start(t)
		}
	}
	s.crashes(t, "alice", 2)
}

func TestNoResumeEndsWithTheProxy(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Proxies: 1, Agents: 1})
	live := count(t, "a session with --no-resume", s.alice.StartTsh(t, "ssh", "--no-resume", s.at(s.Agents[0]), echoLoop))
	s.Proxies[0].Kill9(t)
	live.isCut(t)
	s.Proxies[0].Start(t)
}

// TestAWindowThatIsClosedLeavesNothing: a person who goes on purpose leaves no
// session behind that waits for them, and a lock ends one that does.
func TestAWindowThatIsClosedLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSurvivors(t, cluster.Opts{Agents: 1})
	gone := s.counting(t, s.alice, s.Agents[0])
	if err := gone.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Events(t, 1, "session.end", "alice")
	if left := s.Events(t, 0, "session.detach", "alice"); len(left) != 0 {
		t.Errorf("a session waits: %v", left)
	}
	waits := s.counting(t, s.bob, s.Agents[0])
	if err := waits.Cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Events(t, 1, "session.detach", "bob")
	s.Tctl("lock", "--user=bob").OK(t)
	if e := s.Events(t, 1, "session.end", "bob")[0]; fmt.Sprint(e["reason"]) != "lock" {
		t.Errorf("it ended by %v", e["reason"])
	}
}
