package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/test/cluster"
)

// TestDatabasesOnBadDays has databases that take a connection and say nothing, and
// clients that say nothing of use: each gets an end, in its own words where it has
// some, and nobody hangs.
func TestDatabasesOnBadDays(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	var databases []any
	for _, protocol := range []string{"postgres", "mysql", "redis"} {
		silent := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		_, port, _ := net.SplitHostPort(silent)
		databases = append(databases, map[string]any{"name": "silent-" + protocol, "protocol": protocol, "uri": "localhost:" + port, "static_labels": map[string]any{"env": "test"}})
	}
	token := c.Token(t, "db")
	agent := c.AddAgent(t, "db-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("db_service.enabled", true).Set("teleport.join_params.token_name", token)
		d.Set("db_service.databases", databases)
	})
	c.TctlIn(shopRole, "create", "-f").OK(t)
	alice := c.User(t, "alice", []string{"shop"}, nil)
	alice.Login(t)
	reached(t, alice, "silent-postgres", "silent-mysql", "silent-redis")
	ports := map[string]string{}
	for _, protocol := range []string{"postgres", "mysql", "redis"} {
		ports[protocol] = cluster.FreePort(t)
		alice.StartTsh(t, "proxy", "db", "silent-"+protocol, "--tunnel", "--db-user=alice", "--db-name=orders", "--port="+ports[protocol]).WaitFor(t, ports[protocol])
	}
	var work sync.WaitGroup
	for protocol, args := range map[string][]string{
		"postgres": {"psql", "postgresql-client-15", "-X", "host=127.0.0.1 user=alice dbname=orders port=" + ports["postgres"]},
		"mysql":    {"mariadb", "mariadb-client", "--no-defaults", "--skip-ssl", "--protocol=TCP", "-h127.0.0.1", "-P" + ports["mysql"], "-ualice", "orders"},
		"redis":    {"redis-cli", "redis-tools", "-p", ports["redis"], "PING"},
	} {
		client := cluster.Need(t, args[0], args[1])
		work.Go(func() {
			r := alice.Run(cluster.Command{Path: client, Args: args[2:]})
			if said := r.Stdout + r.Stderr; !strings.Contains(said, "the database silent-"+protocol+" does not answer") {
				t.Errorf("%s with a silent server: %s", protocol, r)
			}
		})
	}
	for _, protocol := range []string{"postgres", "redis"} { // a MySQL client speaks after its server
		for name, words := range map[string]string{"another protocol": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "half a packet": "*", "nothing": ""} {
			work.Go(func() {
				if err := ends(ports[protocol], words); err != nil {
					t.Errorf("%s, and a client that says %s: %v", protocol, name, err)
				}
			})
		}
	}
	work.Wait()
	// A bare connection is all that is asked of the others.
	cluster.Until(t, within, "what the check says of it", func() bool {
		return strings.Contains(c.Tctl("get", "db_server/silent-mysql."+agent.UUID(t)).OK(t), "transition_error: no answer within 5s")
	})
	cluster.Until(t, within, "a session with each in the log", func() bool { // which the agent ships in its own time
		told := map[string]bool{}
		for _, e := range c.Events(t, 3, "db.session.start", "alice") {
			if e["db_user"] == "alice" {
				told[fmt.Sprint(e["db_service"])] = true
			}
		}
		return told["silent-postgres"] && told["silent-mysql"] && told["silent-redis"]
	})
}

// ends says some words to a port, and waits until it is hung up on.
func ends(port, words string) error {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(4 * within)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, words); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return fmt.Errorf("the connection stays open: %q", said)
	}
	return nil
}
