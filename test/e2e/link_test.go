package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"teleport/netx"
	"teleport/netx/shaper"
	"teleport/test/cluster"
)

// link is a person's network: a forwarder before the proxy, which may be down,
// and whose connections come from the address of the day.
type link struct {
	*shaper.Shaper
	addr string

	mu   sync.Mutex
	from string
}

func newLink(t *testing.T) *link {
	t.Helper()
	return &link{Shaper: shaper.New(shaper.Shape{}), addr: "127.0.0.1:" + cluster.FreePort(t), from: "127.0.0.1"}
}

// serve forwards to the first proxy of a cluster for as long as that lives: what its
// proxies announce leads here.
func (l *link) serve(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ln, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	dial := netx.DialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		l.mu.Lock()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(l.from)}}
		l.mu.Unlock()
		return d.DialContext(ctx, network, addr)
	})
	go func() { done <- l.Forward(ctx, ln, dial, c.Proxies[0].WebAddr) }()
	c.After(func() { stop(); <-done })
}

// move gives the link another address; what was open over the old one is held
// for ever, as by a router that forgot it.
func (l *link) move(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = to
}

// behindLink makes a world in which the link is the only way to the proxy that
// people are told of. Alice is behind it.
func behindLink(t *testing.T, l *link, tweaks ...func(process string, conf cluster.Doc)) *survivors {
	t.Helper()
	s := &survivors{Cluster: cluster.New(t, cluster.Opts{Proxies: 1, Agents: 1, Config: func(process string, conf cluster.Doc) {
		for _, tweak := range tweaks {
			tweak(process, conf)
		}
		if process == "proxy-1" {
			conf.Set("proxy_service.public_addr", []string{l.addr}).Set("teleport.advertise_ip", "127.0.0.99")
		}
	}})}
	s.login = s.OSUser(t, "/bin/sh").Name
	l.serve(t, s.Cluster)
	s.alice = s.User(t, "alice", []string{"access"}, []string{s.login})
	s.alice.Login(t, "--proxy="+l.addr)
	found(t, s.alice, s.Agents[0].Name)
	return s
}

// bothTalk starts a conversation by tsh and one by OpenSSH over tsh proxy ssh.
func (s *survivors) bothTalk(t *testing.T, who *cluster.Person, far string) []*conversation {
	t.Helper()
	node := s.Agents[0]
	conf := write(t, who.Home+"/ssh_config", who.Tsh("config").OK(t))
	return []*conversation{
		s.talk(t, who, who.Name+"'s tsh ssh", filepath.Join(s.Bin(), "tsh"), "ssh", s.at(node), far),
		s.talk(t, who, who.Name+"'s OpenSSH over tsh proxy ssh", cluster.Need(t, "ssh", "openssh-client"), "-F", conf, s.login+"@"+node.Name+"."+s.Name, far),
	}
}

// signal reaches a command and all that it has started.
func (c *conversation) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-c.pid, sig); err != nil {
		t.Fatalf("%s: %v: %v", c.what, sig, err)
	}
}

// How long the link is down, and the laptop sleeps.
const (
	away   = 60 * time.Second
	asleep = 90 * time.Second
)

// TestALinkGoesDownAndALaptopSleeps: alice's link is down for a minute, and
// nothing is closed meanwhile, so that only silence tells; then it is back with
// another address. Bob's programs stand still for a minute and a half, and go on.
// No byte of theirs is lost, and none comes twice.
func TestALinkGoesDownAndALaptopSleeps(t *testing.T) {
	t.Parallel()
	far := cluster.Ledger(t)
	l := newLink(t)
	s := behindLink(t, l)
	s.bob = s.person(t, "bob", s.Proxies[0])
	moved, slept := s.bothTalk(t, s.alice, far), s.bothTalk(t, s.bob, far)
	all := append(moved[:2:2], slept...)
	begun := time.Now()
	until := func(d time.Duration) {
		t.Helper()
		cluster.Poll(time.Until(begun.Add(d)), func() bool {
			for _, c := range all {
				c.alive(t)
			}
			return false
		})
	}
	until(5 * time.Second)
	l.Partition(true)
	for _, c := range slept {
		c.signal(t, syscall.SIGSTOP)
	}
	until(5*time.Second + away)
	l.move("127.0.0.7")
	l.CutAll() // a connection of the old address never speaks again
	l.Partition(false)
	until(5*time.Second + asleep)
	for _, c := range slept {
		c.signal(t, syscall.SIGCONT)
	}
	for _, e := range s.Events(t, 2, "session.attach", "alice") {
		if addr := fmt.Sprint(e["addr.remote"]); !strings.HasPrefix(addr, "127.0.0.7:") {
			t.Errorf("the event tells of %s", addr)
		}
	}
	s.Events(t, 2, "session.attach", "bob")
	for _, c := range all {
		c.finish(t)
	}
	for _, c := range moved {
		if told := c.errs.String(); !strings.Contains(told, "connection lost, reconnecting") || !strings.Contains(told, "connection is back after") {
			t.Errorf("%s: the person was told %q", c.what, told)
		}
	}
}
