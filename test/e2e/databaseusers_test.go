package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"teleport/test/cluster"
)

// maker is a database in which users are made, set up as docs/databases.md says,
// with a person whom the database knows nothing of.
type maker struct {
	*cluster.Cluster
	guide   *guide
	agent   *cluster.Process
	bob     *cluster.Person
	name    string // of the database in the cluster
	client  []string
	sleep   string        // a statement that goes on
	made    func() string // "on" or "off" and the roles of bob in the database; "" where there is none
	refused string        // what the database says to who has no right
}

// newMaker reads the page, for a database of that name with the table items in orders.
func newMaker(t *testing.T, c *cluster.Cluster, agent *cluster.Process, name string, client ...string) *maker {
	t.Helper()
	page, err := os.ReadFile("../../docs/databases.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.Dir, "readers.yaml")
	m := &maker{Cluster: c, agent: agent, name: name, client: client, guide: &guide{t, string(page),
		[]string{"readers.yaml", file, "env: prod", "env: test", "[shop]", "[orders]", "-name=shop", "-name=orders", "shop.*", "orders.*", "connect orders", "connect " + name}}}
	write(t, file, m.guide.block("metadata: {name: readers}"))
	m.admin(t, "tctl create readers.yaml")
	m.bob = c.User(t, "bob", []string{"access"}, nil)
	m.admin(t, "tctl users update bob")
	m.bob.Login(t)
	return m
}

// admin runs a line of the page on the cluster's machine.
func (m *maker) admin(t *testing.T, begins string) {
	t.Helper()
	cluster.Run(cluster.Command{Path: "/bin/sh", Args: []string{"-c", m.guide.line(begins)}, Dir: m.Dir,
		Env: []string{"PATH=" + m.Bin() + ":/usr/bin:/bin", "HOME=" + m.Dir, "TELEPORT_CONFIG_FILE=" + m.Auth.ConfigPath}}).OK(t)
}

// adminUser is the page's word on who makes users.
func (m *maker) adminUser(t *testing.T, database map[string]any) {
	t.Helper()
	var says map[string]any
	if err := yaml.Unmarshal([]byte(m.guide.block("admin_user:")), &says); err != nil {
		t.Fatal(err)
	}
	maps.Copy(database, says)
}

// connect is the page's line, with what follows it.
func (m *maker) connect(more ...string) []string {
	line := strings.Fields(m.guide.line("tsh db connect orders --db-user=bob"))[1:]
	return append(append(line, "--"), append(m.client, more...)...)
}

// says runs statements and tells what the database answers. Who one is there need
// not be said.
func (m *maker) says(statements string) string {
	r := m.bob.TshIn(statements, slices.DeleteFunc(m.connect(), func(arg string) bool { return arg == "--db-user=bob" })...)
	return r.Stdout + r.Stderr
}

// left waits until the user is as it should be after a session.
func (m *maker) left(t *testing.T, want string) {
	t.Helper()
	got := ""
	if !cluster.Poll(within, func() bool { got = m.made(); return got == want }) {
		t.Fatalf("the user is %q, want %q", got, want)
	}
}

// holds starts a statement that goes on, and waits for the user that it runs as.
func (m *maker) holds(t *testing.T, want string) *cluster.Live {
	t.Helper()
	live := m.bob.StartTsh(t, m.connect()...)
	_, err := fmt.Fprintln(live.In, m.sleep)
	if err = errors.Join(err, live.In.Close()); err != nil {
		t.Fatal(err)
	}
	m.left(t, want)
	return live
}

// role gives bob's role other words. The agent hears of them in its own time.
func (m *maker) role(t *testing.T, from, to string) {
	t.Helper()
	m.TctlIn(strings.Replace(m.guide.block("metadata: {name: readers}"), from, to, 1), "create", "-f").OK(t)
}

// story is what bob sees who is no user of the database until he connects, and
// what is left of him there: after a session, after an agent that died, and after a
// lock.
func (m *maker) story(t *testing.T) {
	if got := m.made(); got != "" {
		t.Fatalf("the database has bob: %q", got)
	}
	cluster.Until(t, within, "the way there", func() bool { return strings.Contains(m.says("select count(*) from items;"), "1000\n") })
	m.left(t, "off")
	out := m.says("select current_user; select count(*) from items; insert into items values (5000, 'x');")
	contains(t, out, "bob", "1000\n", m.refused)
	m.left(t, "off")

	m.role(t, "[reader]", "[reader, writer]")
	cluster.Until(t, within, "the right to write", func() bool {
		out := m.says("insert into items select * from items where 1 = 0; select count(*) from items;")
		return strings.Contains(out, "1000\n") && !strings.Contains(out, m.refused)
	})
	m.left(t, "off")
	live := m.holds(t, "on reader,writer")
	m.agent.Kill9(t)
	live.Wait(t)
	if got := m.made(); got != "on reader,writer" {
		t.Errorf("the dead agent left %q", got)
	}
	m.role(t, "[reader]", "[reader]")
	m.agent.Start(t)
	cluster.Until(t, within, "the agent is back", func() bool {
		out := m.says("select count(*) from items; insert into items values (5000, 'x');")
		return strings.Contains(out, "1000\n") && strings.Contains(out, m.refused)
	})
	m.left(t, "off")

	m.role(t, "keep", "best_effort_drop")
	cluster.Until(t, within, "users to be dropped", func() bool {
		contains(t, m.says("select count(*) from items;"), "1000\n")
		return cluster.Poll(retryAfter, func() bool { return m.made() == "" })
	})
	live = m.holds(t, "on reader")
	m.Tctl("lock", "--user=bob", "--message=laptop stolen").OK(t)
	live.Wait(t)
	contains(t, live.Errs.String()+live.Out.String(), "laptop stolen") // by the database's agent, or by tsh where the proxy was faster
	m.left(t, "")
	cluster.Until(t, within, "word of the lock", func() bool { return strings.Contains(m.says("select 1;"), "laptop stolen") })
	if got := m.made(); got != "" {
		t.Errorf("a locked person was made %q", got)
	}
	var made, ends []map[string]any
	cluster.Until(t, within, "an end of each user but that of the agent which died", func() bool { // the agent ships them in its own time
		made, ends = m.Events(t, 5, "db.session.user.create", "bob"), m.Events(t, 1, "db.session.user.deactivate", "bob")
		return len(ends) == len(made)-1
	})
	for _, e := range made {
		if e["success"] != true || e["username"] != "bob" || e["code"] != "TDB08I" {
			t.Errorf("%v", e)
		}
	}
	if last := ends[len(ends)-1]; last["delete"] != true || last["code"] != "TDB09I" {
		t.Errorf("the last one ended as %v", last)
	}
	contains(t, m.Tctl("access", "explain", "bob", "db/"+m.name, "--db-user=teleport-admin", "--db-name=orders").OK(t), "DENIED")
}

// TestUsersOfPostgreSQLAreMade: the database is a registered one.
func TestUsersOfPostgreSQLAreMade(t *testing.T) {
	t.Parallel()
	s := newShop(t, cluster.Opts{})
	m := newMaker(t, s.Cluster, s.agent, "ledger", "-X", "-A", "-t")
	m.sleep, m.refused = "select pg_sleep(600);", "permission denied for table items"
	m.made = func() string {
		return strings.TrimSpace(s.server.SQL(t, "postgres", `select case when rolcanlogin then 'on' else 'off' end || ' ' || coalesce((select string_agg(r.rolname, ',' order by r.rolname)
			from pg_auth_members m join pg_roles r on r.oid = m.roleid where m.member = u.oid and r.rolname <> 'teleport-auto-user'), '') from pg_roles u where rolname = 'bob'`))
	}
	s.server.SQL(t, "orders", "drop role bob;"+m.guide.block(`CREATE ROLE "teleport-admin"`)+"create role writer; grant insert on items to writer")
	spec := map[string]any{"protocol": "postgres", "uri": "localhost:" + s.server.Port}
	m.adminUser(t, spec)
	doc, err := yaml.Marshal(map[string]any{"kind": "db", "version": "v3", "spec": spec,
		"metadata": map[string]any{"name": "ledger", "labels": map[string]any{"env": "test", "team": "shop"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.TctlIn(string(doc), "create", "-f").OK(t)
	m.story(t)
}

// TestUsersOfMariaDBAreMade: the database is one of the agent's file.
func TestUsersOfMariaDBAreMade(t *testing.T) {
	t.Parallel()
	s := newStall(t)
	m := newMaker(t, s.Cluster, s.Agents[0], "stall-db", "-N", "-B", "-f", "-n")
	m.sleep, m.refused = "select sleep(600);", "command denied to user"
	m.made = func() string {
		return strings.TrimSpace(s.server.SQL(t, `select concat(if(coalesce(json_value(priv, '$.account_locked'), 0), 'off', 'on'), ' ',
			coalesce((select group_concat(role order by role) from mysql.roles_mapping where host = '' and user = 'teleport-role-bob'), ''))
			from mysql.global_priv where user = 'bob' and host = '%'`))
	}
	s.server.SQL(t, m.guide.block("CREATE USER 'teleport-admin'")+"create role writer; grant insert on orders.items to writer; grant writer to 'teleport-admin'@'%' with admin option;")
	database := m.agent.Conf.Get("db_service.databases").([]any)[0].(map[string]any)
	m.adminUser(t, database)
	m.agent.WriteConfig(t)
	m.agent.HUP(t)
	m.story(t)
}
