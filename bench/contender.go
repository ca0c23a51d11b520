package main

import (
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// contender is one way to run a command on a host behind a proxy.
type contender struct {
	name    string
	run     func(line string) *exec.Cmd
	screen  func(line string) *exec.Cmd // the same, but the line runs at a terminal; nil for who has none
	servers []*server
}

// contenders are ours, the peer, and the null relay, in that order.
func (b *bench) contenders() []contender {
	return []contender{
		{"tsh ssh", func(line string) *exec.Cmd { return b.cl.tsh(b.login, line) },
			func(line string) *exec.Cmd { return withFlag(b.cl.tsh(b.login, line), 2, "-t") },
			[]*server{b.cl.servers["proxy"], b.cl.servers["agent"], b.cl.servers["auth"]}},
		{"ssh -J", b.peer.ssh, func(line string) *exec.Cmd { return withFlag(b.peer.ssh(line), 1, "-tt") },
			[]*server{b.peer.jump, b.peer.target}},
		{"null relay", b.null.run, nil, []*server{b.null.relay, b.null.host}},
	}
}

// classicSSH is the peer with the key exchange that it had before the one that
// withstands quantum computers. Ours always has such a one; OpenSSH's is costly
// in some releases, so its share in the time is shown.
func (b *bench) classicSSH() contender {
	return contender{"ssh -J, curve25519 alone", func(line string) *exec.Cmd {
		cmd := b.peer.ssh(line)
		cmd.Args[2] = b.peer.path("classic")
		return cmd
	}, nil, []*server{b.peer.jump, b.peer.target}}
}

// withFlag puts a flag into a command line.
func withFlag(cmd *exec.Cmd, at int, flag string) *exec.Cmd {
	cmd.Args = slices.Insert(cmd.Args, at, flag)
	return cmd
}

// turn returns the order of the contenders in a round: whoever was first goes last.
func turn(n, round int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = (i + round) % n
	}
	return order
}

// tally is what one contender took.
type tally struct {
	wall   []float64 // ms, or MB/s
	client time.Duration
	before []usage
	server []usage // by contender.servers
}

func (c contender) usage() ([]usage, error) {
	var list []usage
	for _, s := range c.servers {
		u, err := s.usage()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		list = append(list, u)
	}
	return list, nil
}

// begin and end bracket what is counted as the servers' processor time.
func (t *tally) begin(c contender) (err error) {
	t.before, err = c.usage()
	return err
}

func (t *tally) end(c contender) error {
	for _, s := range c.servers {
		s.settle()
	}
	after, err := c.usage()
	if err != nil {
		return err
	}
	if t.server == nil {
		t.server = make([]usage, len(after))
	}
	for i := range after {
		d := after[i].minus(t.before[i])
		t.server[i].own += d.own
		t.server[i].children += d.children
	}
	return nil
}

// calm waits until servers have done what a transfer has left to them: auth goes
// through a recording once its session has ended, and that is to be in the books of
// the transfer, not in the time of the next one. It gives up after two minutes.
func calm(servers []*server) error {
	const look, idle = 500 * time.Millisecond, 2 * clockTick
	before := time.Duration(-time.Hour)
	for range 240 {
		var now time.Duration
		for _, s := range servers {
			u, err := s.usage()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			now += u.total()
		}
		if now-before <= idle {
			return nil
		}
		before = now
		time.Sleep(look)
	}
	return nil
}

// sum adds up what the servers took and their children, and says how much by
// server.
func (t *tally) sum(c contender, each func(time.Duration) string) (own, children time.Duration, by []string) {
	for i, u := range t.server {
		own, children = own+u.own, children+u.children
		by = append(by, c.servers[i].name+" "+each(u.own))
	}
	return own, children, by
}

// spread is a median of ratios with the quarter below and above it.
func spread(list []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(list), percentile(list, 0.25), percentile(list, 0.75))
}
