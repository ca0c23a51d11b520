// Package cluster is the process world of the tests: real teleport processes with
// their own data directories and loopback ports, and the people and machines
// that use them through the real commands.
//
//	c := cluster.New(t, cluster.Opts{Agents: 2})
//	alice := c.User(t, "alice", []string{"access"}, []string{"root"})
//	alice.Login(t)
//	out := alice.Tsh("ssh", "root@"+c.Agents[0].Name, "hostname").OK(t)
//	c.Agents[0].Kill9(t)
//	c.Agents[0].Start(t)
//
// A cluster belongs to the test that made it; parallel subtests may share it, and
// then hand their own t to each method. When that test ends, the oracles of
// oracle.go look at what the cluster leaves behind, and all of it is removed.
package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Opts say what a cluster is made of. The zero value is one process that runs
// auth and proxy.
type Opts struct {
	// Name is the cluster's name, "test" if empty.
	Name string
	// Proxies is how many proxy processes run beside auth. 0: the proxy runs in
	// the auth process.
	Proxies int
	// Agents is how many SSH agents join by token through the first proxy. They
	// are called node-1, node-2 …
	Agents int
	// OneProcess runs an SSH service in the auth process too, as "teleport start"
	// without a configuration does. Its name is that of the cluster's auth process: auth.
	OneProcess bool
	// Config may change the configuration of a process before its first start.
	Config func(process string, conf Doc)
	// Env is added to the environment of every process.
	Env []string
	// NoOracles says why the end of this cluster cannot be judged; "" judges it.
	NoOracles string
}

// Cluster is a running cluster. Its methods may be called concurrently.
type Cluster struct {
	Name string
	// Dir holds everything of this cluster; it is removed at the end.
	Dir string
	// Auth is the auth process; in a cluster without Opts.Proxies the proxy too.
	Auth *Process
	// Proxies are the processes that run a proxy service, at least one.
	Proxies []*Process
	// Agents are the SSH agents.
	Agents []*Process
	// Front is the address of a balancer before the proxies, which people and
	// agents use from when it is set.
	Front string

	opts Opts
	bin  string
	pin  string

	mu      sync.Mutex
	secrets map[string]string // value -> what it is
	people  int
	after   []func()
}

// New starts a cluster and returns when each process says that it is ready.
func New(t testing.TB, o Opts) *Cluster {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	if o.Name == "" {
		o.Name = "test"
	}
	// Not t.TempDir: a Unix socket's path must be short.
	dir, err := os.MkdirTemp(roomy(), "tp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a program of a person may still write into its home, and ends
		if !Poll(stopLimit, func() bool { err = os.RemoveAll(dir); return err == nil }) {
			t.Error(err)
		}
	})
	c := &Cluster{Name: o.Name, Dir: dir, opts: o, bin: bin, secrets: map[string]string{}}
	t.Cleanup(func() {
		c.end(t)
		for _, f := range slices.Backward(c.after) {
			f()
		}
	})
	c.Auth = c.newProcess(t, "auth", c.authConfig(t))
	c.Auth.Start(t)
	if o.Proxies == 0 {
		c.Proxies = []*Process{c.Auth}
	}
	for i := range o.Proxies {
		c.AddProxy(t, fmt.Sprintf("proxy-%d", i+1))
	}
	for i := range o.Agents {
		c.AddAgent(t, fmt.Sprintf("node-%d", i+1))
	}
	return c
}

// After calls f when the cluster has been judged and has stopped, the latest first:
// for what its processes need until then, as a balancer between them. What a test
// gives to its own Cleanup is gone before an agent has shipped its last events.
func (c *Cluster) After(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = append(c.after, f)
}

// AddProxy joins one more proxy process and starts it.
func (c *Cluster) AddProxy(t testing.TB, name string) *Process {
	t.Helper()
	p := c.newProcess(t, name, c.proxyConfig(t, name))
	p.Start(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Proxies = append(c.Proxies, p)
	return p
}

// AddAgent joins one more SSH agent of that host name, through the first proxy,
// and starts it. Two agents may have one name.
func (c *Cluster) AddAgent(t testing.TB, hostname string, tweaks ...func(Doc)) *Process {
	t.Helper()
	p := c.newProcess(t, hostname, c.agentConfig(t, hostname, tweaks))
	p.Start(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Agents = append(c.Agents, p)
	return p
}

// ProxyAddr is the address at which clients reach the first proxy, or the Front.
func (c *Cluster) ProxyAddr() string {
	if c.Front != "" {
		return c.Front
	}
	return c.Proxies[0].WebAddr
}

// Bin is the directory of the commands teleport, tsh and tctl.
func (c *Cluster) Bin() string { return c.bin }

// Tctl runs tctl as the administrator of the auth host.
func (c *Cluster) Tctl(args ...string) Result { return c.TctlIn("", args...) }

// TctlIn runs tctl with a standard input.
func (c *Cluster) TctlIn(stdin string, args ...string) Result {
	return Run(Command{Path: filepath.Join(c.bin, "tctl"), Args: args, Stdin: stdin,
		Env: append(baseEnv(), "HOME="+c.Dir, "TELEPORT_CONFIG_FILE="+c.Auth.ConfigPath)})
}

// Token makes a join token for the roles (node, proxy …) with more flags of
// "tctl tokens add". It lasts an hour.
func (c *Cluster) Token(t testing.TB, roles string, flags ...string) string {
	t.Helper()
	out := c.Tctl(append([]string{"tokens", "add", "--type=" + roles, "--ttl=1h", "--format=json"}, flags...)...).OK(t)
	var made struct {
		Secret string   `json:"token"`
		CAPins []string `json:"ca_pins"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Secret == "" || len(made.CAPins) == 0 {
		t.Fatalf("tctl tokens add printed no token and pin: %s", out)
	}
	c.Secret(made.Secret, "join token")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pin = made.CAPins[0]
	return made.Secret
}

// CAPin is the pin of the cluster's host authority.
func (c *Cluster) CAPin(t testing.TB) string {
	t.Helper()
	c.mu.Lock()
	pin := c.pin
	c.mu.Unlock()
	if pin == "" {
		c.Token(t, "node")
		return c.CAPin(t)
	}
	return pin
}

// Secret plants a canary: at the end the value must stand in no log and in no
// audit export. What says what kind of secret it is.
func (c *Cluster) Secret(value, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(value) >= 8 {
		c.secrets[value] = what
	}
}

// enough is free where clusters live: an auth service takes no recordings on a disk
// that is nearly full, which to it are 4 GiB at most, and people copy files.
const enough = 7 << 30

// roomy is the folder for clusters: that for temporary files, or memory where the disk
// of this machine is nearly full. That is no part of any story.
func roomy() string {
	const memory = "/dev/shm"
	if free(os.TempDir()) < enough && free(memory) >= enough {
		return memory
	}
	return os.TempDir()
}

func free(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}

func (c *Cluster) processes() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := append([]*Process(nil), c.Agents...)
	if c.opts.Proxies > 0 {
		out = append(out, c.Proxies...)
	}
	return append(out, c.Auth)
}

func port(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", FreePort(t))
}
