package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"teleport/test/cluster"
	"teleport/test/myserver"
	"teleport/test/pgserver"
)

// harbour is a cluster with one agent that serves SSH and six databases, two of
// each kind.
type harbour struct {
	*cluster.Cluster
	agent *cluster.Process
	os    *cluster.OSUser
	alice *cluster.Person
	pg    [2]*pgserver.Server
	my    [2]*myserver.Server
	redis [2]string // ports
}

func newHarbour(t *testing.T) *harbour {
	t.Helper()
	h := &harbour{Cluster: cluster.New(t, cluster.Opts{})}
	var databases []any
	front := func(name, protocol, port string) {
		databases = append(databases, map[string]any{"name": name, "protocol": protocol, "uri": "localhost:" + port, "static_labels": map[string]any{"env": "test"}})
	}
	for i := range 2 {
		h.pg[i], h.my[i], h.redis[i] = pgserver.Start(t), myserver.Start(t), redisServer(t, h.Cluster)
		(&shop{Cluster: h.Cluster, server: h.pg[i]}).mutualTLS(t)
		(&stall{Cluster: h.Cluster, server: h.my[i]}).mutualTLS(t)
		h.pg[i].SQL(t, "postgres", "create role alice login; create database orders owner alice;")
		h.pg[i].SQL(t, "orders", "create table said (n int); alter table said owner to alice;")
		h.my[i].SQL(t, "create database orders; create table orders.said (n int);")
		front(fmt.Sprintf("pg-%d", i), "postgres", h.pg[i].Port)
		front(fmt.Sprintf("my-%d", i), "mysql", h.my[i].Port)
		front(fmt.Sprintf("redis-%d", i), "redis", h.redis[i])
	}
	token := h.Token(t, "node,db")
	h.agent = h.AddAgent(t, "quay", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", true).Set("db_service.enabled", true).Set("db_service.databases", databases)
		d.Set("teleport.join_params.token_name", token)
	})
	h.TctlIn(shopRole, "create", "-f").OK(t)
	h.os = h.OSUser(t, "/bin/sh")
	h.alice = h.User(t, "alice", []string{"access", "shop"}, []string{h.os.Name})
	h.alice.Login(t)
	for _, d := range databases {
		reached(t, h.alice, d.(map[string]any)["name"].(string))
	}
	found(t, h.alice, h.agent.Name)
	return h
}

// near opens a port of this machine for a database.
func (h *harbour) near(t *testing.T, database string) (port string) {
	t.Helper()
	port = cluster.FreePort(t)
	h.alice.StartTsh(t, "proxy", "db", database, "--tunnel", "--db-user=alice", "--db-name=orders", "--port="+port).WaitFor(t, port)
	return port
}

// speaker says statements to one database, each when the one before is answered.
type speaker func(ctx context.Context, n int) error

func (h *harbour) speakers(t *testing.T, i int) map[string]speaker {
	t.Helper()
	name := func(kind string) string { return kind + "-" + strconv.Itoa(i) }
	pg, err := pgx.Connect(t.Context(), "postgres://alice@127.0.0.1:"+h.near(t, name("pg"))+"/orders?sslmode=disable&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Close(context.Background()) })
	my, err := sql.Open("mysql", "alice@tcp(127.0.0.1:"+h.near(t, name("my"))+")/orders")
	if err != nil {
		t.Fatal(err)
	}
	my.SetMaxOpenConns(1)
	t.Cleanup(func() { my.Close() })
	redis, err := net.Dial("tcp", "127.0.0.1:"+h.near(t, name("redis")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redis.Close() })
	answers := bufio.NewReader(redis)
	return map[string]speaker{
		name("pg"): func(ctx context.Context, n int) error {
			_, err := pg.Exec(ctx, fmt.Sprintf("insert into said values (%d)", n))
			return err
		},
		name("my"): func(ctx context.Context, n int) error {
			_, err := my.ExecContext(ctx, fmt.Sprintf("insert into said values (%d)", n))
			return err
		},
		name("redis"): func(ctx context.Context, n int) error {
			at, _ := ctx.Deadline()
			_ = redis.SetDeadline(at)
			word := strconv.Itoa(n)
			if _, err := fmt.Fprintf(redis, "*3\r\n$5\r\nRPUSH\r\n$4\r\nsaid\r\n$%d\r\n%s\r\n", len(word), word); err != nil {
				return err
			}
			line, err := answers.ReadString('\n')
			if err == nil && line != ":"+word+"\r\n" {
				err = fmt.Errorf("%d is answered by %q", n, line)
			}
			return err
		},
	}
}

// heard is what a database holds of what was said to it, in order.
func (h *harbour) heard(t *testing.T, database string) []string {
	t.Helper()
	kind, i, _ := strings.Cut(database, "-")
	n, _ := strconv.Atoi(i)
	switch kind {
	case "pg":
		return strings.Fields(h.pg[n].SQL(t, "orders", "select n from said order by n"))
	case "my":
		return strings.Fields(h.my[n].SQL(t, "select n from orders.said order by n"))
	}
	return strings.Fields(h.alice.Run(cluster.Command{Path: cluster.Need(t, "redis-cli", "redis-tools"),
		Args: []string{"-p", h.near(t, database), "LRANGE", "said", "0", "-1"}}).OK(t))
}

// logged is what the audit log has of it.
func (h *harbour) logged(t *testing.T, database string) (said []string) {
	t.Helper()
	for _, e := range h.Events(t, 0, "db.session.query", "alice") {
		text, _ := e["db_query"].(string)
		if words := strings.Fields(text); e["db_service"] == database && len(words) > 2 && (words[0] == "insert" || words[0] == "RPUSH") {
			said = append(said, strings.Trim(words[len(words)-1], "()"))
		}
	}
	return said
}

// TestOneAgentFrontsAll reaches everything behind one agent, and kills that in the
// middle of a session with a database of each kind: each statement that reached
// its database is in the log, in order.
func TestOneAgentFrontsAll(t *testing.T) {
	t.Parallel()
	h := newHarbour(t)
	contains(t, h.alice.Tsh("ssh", h.os.Name+"@quay", "echo over ssh").OK(t), "over ssh")
	ctx, cancel := context.WithTimeout(t.Context(), 3*within)
	defer cancel()
	for name, say := range h.speakers(t, 0) {
		if err := say(ctx, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// All wait for each other once, and it is killed when the slowest is well on its way
	// again. The events of all are fewer than the thousand that are listed.
	const together, killed, last = 50, 80, 290
	speakers := h.speakers(t, 1)
	var work, ready, going sync.WaitGroup
	ready.Add(len(speakers))
	going.Add(len(speakers))
	goOn := make(chan struct{})
	for name, say := range speakers {
		work.Go(func() {
			for n := 1; n <= last; n++ {
				if err := say(ctx, n); err != nil {
					if n <= killed {
						t.Errorf("%s: statement %d: %v", name, n, err)
						going.Done()
					}
					if n <= together {
						ready.Done()
					}
					return
				}
				switch n {
				case together:
					ready.Done()
					<-goOn
				case killed:
					going.Done()
				}
			}
		})
	}
	ready.Wait()
	close(goOn)
	going.Wait()
	h.agent.Kill9(t)
	h.agent.Start(t)
	work.Wait()
	for name := range speakers {
		h.nothingIsMissing(t, name, killed)
	}
}

// nothingIsMissing compares what a database heard with what the log has, which may
// be one more: the one that was written and not sent on.
func (h *harbour) nothingIsMissing(t *testing.T, database string, least int) {
	t.Helper()
	var heard []string
	cluster.Until(t, within, "the database "+database+" again", func() bool {
		heard = h.heard(t, database)
		return len(heard) >= least
	})
	var logged []string
	if !cluster.Poll(within, func() bool {
		logged = h.logged(t, database)
		return len(logged) >= len(heard)
	}) {
		t.Fatalf("%s heard %d statements, the log has %d", database, len(heard), len(logged))
	}
	if len(logged) > len(heard)+1 {
		t.Errorf("%s heard %d statements, the log has %d", database, len(heard), len(logged))
	}
	for i := range heard {
		if want := strconv.Itoa(i + 1); heard[i] != want || logged[i] != want {
			t.Fatalf("%s: statement %s was heard as %s, and logged as %s", database, want, heard[i], logged[i])
		}
	}
	t.Logf("%s: %d heard, %d logged, at %s", database, len(heard), len(logged), time.Now().Format(time.TimeOnly))
}
