package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a process may take to stop before it is killed.
const stopTime = time.Minute

// world is the temporary directory and the processes that run in it.
type world struct {
	bin, dir string
	running  []*process
}

func newWorld(bin string) (*world, error) {
	for _, name := range []string{"teleport", "tsh", "tctl"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("%s is not built: run make", name)
		}
	}
	dir, err := os.MkdirTemp("", "teleport-demo-")
	return &world{bin: bin, dir: dir}, err
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// env is what every command gets: this one's environment without what would
// point it at another cluster.
func (w *world) env() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "TELEPORT_") || strings.HasPrefix(kv, "SSH_")
	})
	return append(env, "TELEPORT_HOME="+w.path("home"))
}

// process is a running teleport. ended is closed when it is gone.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// start runs teleport with a configuration. It stands in a process group of its
// own, so that Ctrl-C reaches only the demo, which then stops it in order.
func (w *world) start(name, config string) error {
	p := &process{name: name, log: w.path(name + ".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(w.bin, "teleport"), "start", "-c", config)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = w.env(), log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	w.running = append(w.running, p)
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended stands in its log
	}()
	return nil
}

// died returns a channel that says which process ended by itself.
func (w *world) died(ctx context.Context) <-chan string {
	names := make(chan string, len(w.running))
	for _, p := range w.running {
		go func() {
			select {
			case <-p.ended:
				names <- p.name
			case <-ctx.Done():
			}
		}()
	}
	return names
}

// close stops the processes, last started first, and removes the directory.
func (w *world) close() error {
	var errs []error
	for _, p := range slices.Backward(w.running) {
		if err := p.stop(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (p *process) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill() // it may have ended just now
		<-p.ended
		return fmt.Errorf("%s did not stop within %s and was killed", p.name, stopTime)
	}
}

// printLogs writes the ends of the processes' logs.
func (w *world) printLogs(out io.Writer) {
	for _, p := range w.running {
		b, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		fmt.Fprintf(out, "\nThe end of the log of %s:\n%s\n", p.name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// call is one run of a command.
type call struct {
	name  string
	args  []string
	stdin string
	code  int // the exit code that is expected
}

// do runs a command and returns its standard output, and both outputs in the
// order in which they came.
func (w *world) do(ctx context.Context, c call) (stdout, all string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, c.name), c.args...)
	var out bytes.Buffer
	both := &shared{}
	cmd.Env, cmd.Stdin = w.env(), strings.NewReader(c.stdin)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, both), both
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return "", both.String(), err
	case cmd.ProcessState.ExitCode() != c.code:
		return "", both.String(), fmt.Errorf("%s ended with code %d, expected %d", c.name, cmd.ProcessState.ExitCode(), c.code)
	}
	return out.String(), both.String(), nil
}

// shared is a buffer that two copying goroutines may write to.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// freePorts finds loopback ports that nobody listens on just now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // only now, so that no port is found twice
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// eventually tries until it works or ctx ends, and then tells the last failure.
func eventually(ctx context.Context, try func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
