package e2e

import (
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"teleport/test/cluster"
)

// door is a way to a server that a test opens and closes.
type door struct {
	addr, to string
	mu       sync.Mutex
	ln       net.Listener
	through  map[net.Conn]bool
}

func newDoor(t *testing.T, port, to string) *door {
	t.Helper()
	d := &door{addr: "127.0.0.1:" + port, to: to, through: map[net.Conn]bool{}}
	t.Cleanup(d.shut)
	return d
}

func (d *door) open(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.ln = ln
	d.mu.Unlock()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go d.carry(c)
		}
	}()
}

func (d *door) carry(c net.Conn) {
	defer c.Close()
	far, err := net.Dial("tcp", d.to)
	if err != nil {
		return
	}
	defer far.Close()
	d.mu.Lock()
	shut := d.ln == nil
	d.through[c] = !shut
	d.mu.Unlock()
	if shut { // while it came
		return
	}
	go func() { _, _ = far.(*net.TCPConn).ReadFrom(c); _ = far.Close() }()
	_, _ = c.(*net.TCPConn).ReadFrom(far)
}

// shut closes the door, and the connections through it.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ln != nil {
		d.ln.Close()
		d.ln = nil
	}
	for c := range d.through {
		c.Close()
	}
}

const shopChecks = `kind: health_check_config
version: v1
metadata: {name: a-shop}
spec:
  interval: 5s
  timeout: 5s
  healthy_threshold: 1
  match:
    db_labels: [{name: env, values: [test]}]
    db_labels_expression: labels["env"] == "test"
`

// TestConnectionsGoWhereTheDatabaseIs has two agents before one database, of whom
// one does not reach it: nobody notices.
func TestConnectionsGoWhereTheDatabaseIs(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	contains(t, s.Tctl("get", "hcc/default").OK(t), `interval: "30s"`, "unhealthy_threshold: 1")
	s.TctlIn(shopChecks, "create").OK(t)
	if r := s.TctlIn(strings.ReplaceAll(shopChecks, `labels["env"]`, `user.name`), "create", "-f"); r.Code == 0 || !strings.Contains(r.Stderr, "spec.match.db_labels_expression") {
		t.Errorf("an expression of a user: %s", r)
	}
	ports := []string{cluster.FreePort(t), cluster.FreePort(t)}
	var doors []*door
	var agents []*cluster.Process
	for i, name := range []string{"near", "far"} {
		doors = append(doors, newDoor(t, ports[i], "127.0.0.1:"+s.server.Port))
		s.token = s.Token(t, "db")
		agents = append(agents, s.AddAgent(t, name, func(d cluster.Doc) {
			s.fronts(d)
			d.Set("db_service.databases", []any{map[string]any{"name": "two-ways", "protocol": "postgres", "uri": "localhost:" + ports[i],
				"static_labels": map[string]any{"env": "test"}}})
		}))
	}
	for up := range doors {
		doors[up].open(t)
		doors[1-up].shut()
		cluster.Until(t, within, "the agents to notice", func() bool {
			return s.health(t, agents[up]) == "healthy" && s.health(t, agents[1-up]) == "unhealthy"
		})
		contains(t, s.Tctl("get", "db_server/two-ways."+agents[1-up].UUID(t)).OK(t), "transition_error: connection refused", "transition_reason: threshold_reached", "protocol: TCP")
		line := regexp.MustCompile(`(?m)^ *two-ways .* ` + agents[up].Name + ` +healthy`)
		cluster.Until(t, within, "tsh db ls -v to name the one that reaches it", func() bool { // the proxy hears of it in its own time
			return line.MatchString(s.alice.Tsh("db", "ls", "-v").OK(t))
		})
		cluster.Until(t, within, "each connection to go there", func() bool { // and so does the proxy that leads there
			for range 3 {
				if s.alice.Tsh("db", "connect", "two-ways", "--db-user=alice", "--db-name=orders", "--", "-X", "-A", "-t", "-c", "select count(*) from items").Stdout != "1000\n" {
					return false
				}
			}
			return true
		})
	}
	s.Tctl("rm", "hcc/a-shop").OK(t)
	s.Tctl("rm", "hcc/default").OK(t)
	cluster.Until(t, within, "checks to end", func() bool { return s.health(t, agents[0]) == "disabled" })
}

// health is what an agent says of the database that two front.
func (s *shop) health(t *testing.T, agent *cluster.Process) string {
	t.Helper()
	for l := range strings.Lines(s.Tctl("get", "db_server/two-ways."+agent.UUID(t)).Stdout) {
		if word, ok := strings.CutPrefix(strings.TrimSpace(l), "status: "); ok {
			return word
		}
	}
	return ""
}
