package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds against hanging, not measures.
const (
	readyLimit = 60 * time.Second
	stopLimit  = 60 * time.Second
	shipLimit  = 60 * time.Second
)

// AgentCanary stands in the environment of every process and must never reach a
// session of a user.
const AgentCanary = "TELEPORT_TEST_AGENT_CANARY"

// Process is one teleport process and its successors: after HUP the new
// generation is meant. Its methods may be called concurrently, except that two
// must not start and stop it at one time.
type Process struct {
	// Name is the process's node name.
	Name string
	// Dir is its own directory; DataDir its data_dir.
	Dir, DataDir string
	// ConfigPath is its teleport.yaml. A changed file counts from the next Start or HUP.
	ConfigPath string
	// Conf is what ConfigPath holds; after a change call WriteConfig.
	Conf Doc
	// AuthAddr and WebAddr are its listeners; empty where it has not that service.
	AuthAddr, WebAddr string
	// Program is the file it is started from, which HUP starts again; empty: the
	// cluster's command teleport.
	Program string
	// Env is added to its environment at the next Start.
	Env []string

	c       *Cluster
	logPath string

	mu     sync.Mutex
	born   []stat // every generation, oldest first
	exited chan struct{}
	code   int
}

func (c *Cluster) newProcess(t testing.TB, name string, conf Doc) *Process {
	t.Helper()
	dir := filepath.Join(c.Dir, name+"-"+unique())
	p := &Process{Name: name, Dir: dir, DataDir: filepath.Join(dir, "data"), ConfigPath: filepath.Join(dir, "teleport.yaml"),
		Conf: conf, Env: c.opts.Env, c: c, logPath: filepath.Join(dir, "log")}
	conf.Set("teleport.data_dir", p.DataDir)
	if c.opts.Config != nil {
		c.opts.Config(name, conf)
	}
	p.AuthAddr, _ = conf.Get("auth_service.listen_addr").(string)
	p.WebAddr, _ = conf.Get("proxy_service.web_listen_addr").(string)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.WriteConfig(t)
	return p
}

// WriteConfig writes Conf to ConfigPath.
func (p *Process) WriteConfig(t testing.TB) {
	t.Helper()
	if err := p.Conf.write(p.ConfigPath); err != nil {
		t.Fatal(err)
	}
}

// Start starts the process and returns when it is ready.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	p.StartOnly(t)
	p.WaitReady(t)
}

// StartOnly starts the process and does not wait for anything.
func (p *Process) StartOnly(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(cmp.Or(p.Program, filepath.Join(p.c.bin, "teleport")), "start", "-c", p.ConfigPath)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, p.Dir
	cmd.Env = append(baseEnv(), "HOME="+p.c.Dir, AgentCanary+"=must-not-be-inherited")
	cmd.Env = append(cmd.Env, p.Env...)
	// An open file that the process knows nothing of: no session may see it.
	cmd.ExtraFiles = []*os.File{log}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		// Pdeathsig is about the thread that started the process: it must live on.
		runtime.LockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the code is read below
			p.mu.Lock()
			p.code = cmd.ProcessState.ExitCode()
			p.mu.Unlock()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.born, p.exited = append(p.born, identify(cmd.Process.Pid)), exited
}

// PID is the process id of the newest generation; 0 before the first start.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.born) == 0 {
		return 0
	}
	return p.born[len(p.born)-1].pid
}

// WaitReady returns when /readyz of the newest generation says ok.
func (p *Process) WaitReady(t testing.TB) {
	t.Helper()
	all := p.generations()
	want := all[len(all)-1]
	ok := Poll(readyLimit, func() bool {
		if !want.alive() {
			return true
		}
		status, pid := p.Readyz()
		return status == "ok" && pid == want.pid
	})
	if status, pid := p.Readyz(); !ok || status != "ok" || pid != want.pid {
		t.Fatalf("%s is not ready (%q, pid %d, alive %t)\n%s\n%s", p.Name, status, want.pid, want.alive(), p.LogTail(), p.Goroutines())
	}
}

// Goroutines is what every goroutine of the newest generation does now.
func (p *Process) Goroutines() string {
	resp, err := p.Debug("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Readyz asks the process's debug socket for its state and its process id. The
// state is empty where none answers.
func (p *Process) Readyz() (status string, pid int) {
	body := struct {
		Status string `json:"status"`
		PID    int    `json:"pid"`
	}{}
	resp, err := p.Debug("/readyz")
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&body) != nil {
		return "", 0
	}
	return body.Status, body.PID
}

// Debug asks the process's debug socket: /metrics, /debug/pprof/heap …
func (p *Process) Debug(path string) (*http.Response, error) {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(p.DataDir, "debug.sock"))
		}}}
	return c.Get("http://debug" + path)
}

// Signal sends a signal to the newest generation.
func (p *Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.PID(), s); err != nil {
		t.Fatalf("%s: %v: %v", p.Name, s, err)
	}
}

// Kill9 kills every generation and returns when they are gone.
func (p *Process) Kill9(t testing.TB) {
	t.Helper()
	p.kill()
	p.WaitGone(t)
}

// Term asks for a fast stop and returns when the process is gone, with its exit
// code (-1 where a signal or another process than this started it).
func (p *Process) Term(t testing.TB) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.WaitGone(t)
}

// Quit asks for a graceful stop and returns at once: sessions live on.
func (p *Process) Quit(t testing.TB) { t.Helper(); p.Signal(t, syscall.SIGQUIT) }

// HUP has the process replaced by a new generation and returns when that one is
// ready. The old one drains until its last session ends.
func (p *Process) HUP(t testing.TB) {
	t.Helper()
	old := p.PID()
	p.Signal(t, syscall.SIGHUP)
	next := 0
	Until(t, readyLimit, p.Name+" to be replaced", func() bool {
		status, pid := p.Readyz()
		if status != "ok" || pid == old {
			return false
		}
		next = pid
		return true
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.born = append(p.born, identify(next))
}

// WaitGone returns when no generation runs, with the first one's exit code.
func (p *Process) WaitGone(t testing.TB) int {
	t.Helper()
	if !Poll(stopLimit, func() bool { return !p.Running() }) {
		t.Fatalf("%s did not end\n%s", p.Name, p.LogTail())
	}
	<-p.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code
}

// Running reports whether any generation runs.
func (p *Process) Running() bool { return slices.ContainsFunc(p.generations(), stat.alive) }

// Generations are the process ids so far, oldest first.
func (p *Process) Generations() []int {
	var pids []int
	for _, g := range p.generations() {
		pids = append(pids, g.pid)
	}
	return pids
}

func (p *Process) generations() []stat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.born)
}

func (p *Process) kill() {
	for _, g := range p.generations() {
		if g.alive() {
			_ = syscall.Kill(g.pid, syscall.SIGKILL) // gone meanwhile is as good
		}
	}
}

// Log is all that the process wrote so far, over all starts.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.logPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// LogTail is the end of the log, for messages.
func (p *Process) LogTail() string {
	lines := strings.Split(strings.TrimSpace(p.Log()), "\n")
	if len(lines) > 30 {
		lines = lines[len(lines)-30:]
	}
	return fmt.Sprintf("--- log of %s\n%s\n---", p.Name, strings.Join(lines, "\n"))
}

// UUID is the host's id.
func (p *Process) UUID(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.DataDir, "host_uuid"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
