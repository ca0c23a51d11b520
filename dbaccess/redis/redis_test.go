package redis_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/redis"
	"teleport/dbaccess/redis/rediswire"
	"teleport/test/cluster"
	"teleport/types"
	"teleport/types/event"
)

// startRedis runs Debian's server: alice needs no password, bob has one, and
// default may do nothing.
func startRedis(t *testing.T) (*dbtest.PKI, types.DatabaseSpec) {
	t.Helper()
	program := cluster.Need(t, "redis-server", "redis-server")
	pki, dir, port := dbtest.NewPKI(t), t.TempDir(), cluster.FreePort(t)
	crt, key := pki.Server(t)
	for name, text := range map[string]string{"crt": crt, "key": key, "cas": string(pki.Users.PEM()),
		"users": "user default off\nuser alice on nopass ~* &* +@all\nuser bob on >s3cret ~* &* +@all\n",
		"conf":  "port 0\nbind 127.0.0.1\ntls-port " + port + "\ntls-cert-file crt\ntls-key-file key\ntls-ca-cert-file cas\naclfile users\nsave \"\"\ndir " + dir + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(program, "conf")
	c.Dir = dir
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	cluster.Until(t, time.Minute, "the server listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return pki, types.DatabaseSpec{Protocol: "redis", URI: "rediss://127.0.0.1:" + port, TLS: types.DatabaseTLS{ServerName: dbtest.ServerName}}
}

func world(t *testing.T) *dbtest.World {
	t.Helper()
	pki, spec := startRedis(t)
	w := dbtest.New(t, redis.Engine{}, spec, pki.Credentials)
	w.Role(func(r *types.RoleSpec) { r.Allow.DBUsers = []string{"alice", "bob"} })
	return w
}

// cli runs redis-cli.
func cli(t *testing.T, addr net.Addr, stdin string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(cluster.Need(t, "redis-cli", "redis-tools"), append([]string{"-h", host, "-p", port}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		out = fmt.Appendf(out, "(%v)", err)
	}
	return string(out)
}

func TestRedisCLIThroughTheAgent(t *testing.T) {
	w := world(t)
	alice := w.Listen("alice", types.DatabaseRoute{User: "alice"})
	for _, c := range []struct {
		stdin, want string
		args        []string
	}{
		{"ACL WHOAMI\n", "alice\n", nil},
		{"SET k \"a b\"\nGET k\n", "OK\na b\n", nil},
		{"HGETALL none\n", "\n", []string{"-3"}},
		{"MULTI\nINCR n\nINCR n\nEXEC\n", "OK\nQUEUED\nQUEUED\n1\n2\n", nil},
		{"EVAL \"return redis.call('GET', KEYS[1])\" 1 k\n", "a b\n", nil},
		{"NOSUCH\n", "ERR unknown command", nil},
		{"AUTH alice anything\nACL WHOAMI\n", "OK\nalice\n", nil},
		{strings.Repeat("x", 5<<20), "OK\n", []string{"-x", "SET", "large"}},
		{"STRLEN large\n", "5242880\n", nil},
	} {
		if got := cli(t, alice, c.stdin, c.args...); !strings.Contains(got, c.want) {
			t.Errorf("%.80q: %.300q, want %.80q", c.stdin, got, c.want)
		}
	}
	bob := w.Listen("alice", types.DatabaseRoute{User: "bob"})
	for _, c := range []struct{ stdin, want string }{
		{"GET k\n", "NOAUTH"},
		{"AUTH bob wrong\nGET k\n", "WRONGPASS"},
		{"AUTH bob s3cret\nACL WHOAMI\n", "OK\nbob\n"},
		{"AUTH alice x\nGET k\n", "NOPERM access denied: the certificate is for the database user bob, not for \"alice\""},
	} {
		if got := cli(t, bob, c.stdin); !strings.Contains(got, c.want) {
			t.Errorf("bob, %q: %q, want %q", c.stdin, got, c.want)
		}
	}
	if got := cli(t, bob, "ACL WHOAMI\n", "-3", "--user", "bob", "--pass", "s3cret", "--no-auth-warning"); got != "bob\n" {
		t.Errorf("bob by options: %q", got)
	}
	if got := cli(t, w.Listen("alice", types.DatabaseRoute{User: "carol"}), "GET k\n"); !strings.Contains(got, "NOPERM access denied") || !strings.Contains(got, "db_users") {
		t.Errorf("carol: %q", got)
	}
	var told []string
	for _, e := range w.Log.Events(event.TypeDBQuery, event.TypeDBQueryFail) {
		switch e := e.(type) {
		case *event.DBQuery:
			told = append(told, e.Text)
		case *event.DBQueryFail:
			told = append(told, "refused "+e.Text)
		}
	}
	for _, want := range []string{"ACL WHOAMI", `SET k "a b"`, "EXEC", "AUTH alice ***", "AUTH bob ***", "refused AUTH alice ***"} {
		if !slices.Contains(told, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if all := strings.Join(told, "\n"); strings.Contains(all, "s3cret") || strings.Contains(all, "anything") {
		t.Error("the log holds a password")
	}
}

func TestRedisBenchmark(t *testing.T) {
	w := world(t)
	host, port, err := net.SplitHostPort(w.Listen("alice", types.DatabaseRoute{User: "alice"}).String())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(cluster.Need(t, "redis-benchmark", "redis-tools"), "-h", host, "-p", port, "-n", "2000", "-c", "4", "-P", "16", "-t", "set,get,lpush", "-q").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "LPUSH") || strings.Contains(string(out), "Error") {
		t.Errorf("%v: %s", err, out)
	}
	if n := len(w.Log.Events(event.TypeDBQuery)); n < 6000 {
		t.Errorf("the log has %d commands", n)
	}
}

// talk is a connection of raw bytes.
type talk struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func dial(t *testing.T, addr net.Addr) *talk {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &talk{c, bufio.NewReader(c), t}
}

func (k *talk) say(words ...string) { k.raw(string(rediswire.Append(nil, words...))) }

func (k *talk) raw(text string) {
	k.t.Helper()
	if _, err := k.Write([]byte(text)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *talk) hear(want string) {
	k.t.Helper()
	got, err := rediswire.ReadAnswer(k.r)
	if err != nil || !strings.Contains(string(got), want) {
		k.t.Errorf("heard %q, %v; want %q", got, err, want)
	}
}

// finds hears on until something is said.
func (k *talk) finds(want string) {
	k.t.Helper()
	for {
		got, err := rediswire.ReadAnswer(k.r)
		if err != nil {
			k.t.Fatal(err)
		}
		if strings.Contains(string(got), want) {
			return
		}
	}
}

func (k *talk) ends() {
	k.t.Helper()
	if _, err := k.r.ReadByte(); err == nil {
		k.t.Error("the connection goes on")
	}
}

func TestPublishedMessagesArrive(t *testing.T) {
	w := world(t)
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice"})
	for _, version := range []string{"2", "3"} {
		sub, pub := dial(t, addr), dial(t, addr)
		sub.say("HELLO", version)
		sub.hear("redis")
		sub.say("SUBSCRIBE", "news")
		sub.hear("subscribe")
		pub.say("PUBLISH", "news", "hello")
		pub.hear(":1")
		sub.hear("hello")
		sub.say("UNSUBSCRIBE")
		sub.hear("unsubscribe")
	}
	mon, other := dial(t, addr), dial(t, addr)
	mon.say("MONITOR")
	mon.hear("OK")
	other.say("SET", "seen", "1")
	other.hear("OK")
	mon.finds(`"seen"`)
}

// TestErrorsAreTold: those that the server answers, in transactions too, and no text
// that looks like one.
func TestErrorsAreTold(t *testing.T) {
	w := world(t)
	k := dial(t, w.Listen("alice", types.DatabaseRoute{User: "alice"}))
	for _, c := range []struct {
		say  []string
		hear string
	}{
		{[]string{"SET", "k", "\r\n-ERR no error\r\n"}, "OK"}, {[]string{"LPUSH", "k", "x"}, "-WRONGTYPE"}, {[]string{"NOSUCH"}, "-ERR unknown command"},
		{[]string{"MULTI"}, "OK"}, {[]string{"INCR", "k"}, "QUEUED"},
	} {
		k.say(c.say...)
		k.hear(c.hear)
	}
	k.say("EXEC")
	k.finds("-ERR value is not an integer")
	k.say("GET", "k")
	k.finds("-ERR no error")
	k.say("QUIT")
	k.finds("OK")
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
	var told []string
	for _, e := range w.Log.Events(event.TypeDBResult) {
		r := e.(*event.DBResult)
		if r.Meta.Code != event.CodeDBResultFail || r.DBUser != "alice" || r.Error == "" {
			t.Errorf("%+v", r)
		}
		told = append(told, r.Code)
	}
	if want := []string{"WRONGTYPE", "ERR", "ERR"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func TestNobodyElsesConnection(t *testing.T) {
	w := world(t)
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice"})
	for _, words := range [][]string{{"AUTH", "bob", "s3cret"}, {"AUTH", "s3cret"}, {"HELLO", "3", "AUTH", "bob", "s3cret"}, {"HELLO", "3", "AUTH", "alice", "x", "AUTH", "bob", "s3cret"},
		{"HELLO", "3", "SETNAME", "AUTH", "AUTH", "bob", "s3cret"}, {"hello", "3", "x", "auth", "bob", "s3cret"}, {"RESET"}, {"PSYNC", "?", "-1"}, {"SYNC"}, {"REPLCONF", "capa", "eof"}} {
		k := dial(t, addr)
		k.say("PING")
		k.hear("PONG")
		k.say(words...)
		k.hear("-NOPERM")
		k.ends()
	}
	bob := w.Listen("alice", types.DatabaseRoute{User: "bob"})
	for _, words := range [][]string{{"HELLO", "3", "AUTH", "bob", "s3cret", "AUTH", "alice", "x"}, {"AUTH", "default", ""}, {"HELLO", "3"}, {"RESET"}, {"GET", "k"}} {
		k := dial(t, bob)
		k.say(words...)
		k.hear("-NO")
		k.say("ACL", "WHOAMI")
		k.hear("-NOAUTH")
	}
}

func TestWhatIsNoCommandEndsTheSession(t *testing.T) {
	w := world(t)
	for _, user := range []string{"alice", "bob"} {
		for _, text := range []string{"PING\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "*1\r\n$-4\r\n", "*1\r\n$536870912\r\n" + strings.Repeat("x", 100)} {
			before := len(w.Log.Events(event.TypeDBMalformed))
			k := dial(t, w.Listen("alice", types.DatabaseRoute{User: user}))
			k.raw(text)
			k.hear("-ERR")
			k.ends()
			if n := len(w.Log.Events(event.TypeDBMalformed)); n != before+1 {
				t.Errorf("%s, %q: the log was told %d times", user, text, n-before)
			}
		}
	}
}

func TestALockCutsASubscriber(t *testing.T) {
	w := world(t)
	k := dial(t, w.Listen("alice", types.DatabaseRoute{User: "alice"}))
	k.say("SUBSCRIBE", "news")
	k.hear("subscribe")
	l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "gone fishing"}}
	l.Metadata.Name = "l"
	w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, l) })
	k.hear("gone fishing")
	k.ends()
}
