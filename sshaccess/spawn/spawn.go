// Package spawn is the one helper that starts a process as another user of the
// host: credentials set and read back before its first instruction, a session
// and terminal of its own, an environment that was built rather than inherited,
// no descriptor but the three it is given. It also answers who that user is.
//
// The read-back uses a trace stop at exec: looking at a process that already
// runs cannot tell a mistake of ours from a set-uid program that the user
// legitimately started, and a short command may be gone before it is seen.
package spawn

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"teleport/fault"
)

// Spec says what to start and as whom. Exactly one of Program and the account's
// shell runs: without Program it is the shell, as a login shell when Command is
// empty, else with -c Command.
type Spec struct {
	Account Account
	Command string
	// Program, when set, is run instead of the shell, with Args (argv[0] included).
	Program string
	Args    []string
	Env     []string // whole; nothing is added
	Dir     string   // "" is the account's home, with / when that cannot be entered
	Umask   int
	// Stdin, Stdout and Stderr become descriptors 0 to 2; all are required, and
	// they stay the caller's to close. With TTY, Stdin is the controlling terminal.
	Stdin, Stdout, Stderr *os.File
	TTY                   bool
}

// Process is a started process, its session's and process group's leader.
type Process struct {
	// HomeMissing is set when the home directory could not be entered.
	HomeMissing bool

	cmd    *exec.Cmd
	mu     sync.Mutex
	reaped bool
}

// Status is how a process ended: by Code, or by Signal (then Code is 128+n).
type Status struct {
	Code   int
	Signal syscall.Signal // 0 when it exited by itself
	Core   bool
}

// Start starts the process and returns once it runs with the right credentials.
// A process whose credentials differ is killed and reported as an Internal
// fault.
func Start(spec Spec) (*Process, error) { return start(spec, unix.Unshare) }

func start(spec Spec, unshare func(flags int) error) (*Process, error) {
	if err := permitted(spec.Account); err != nil {
		return nil, err
	}
	if spec.Stdin == nil || spec.Stdout == nil || spec.Stderr == nil {
		return nil, errors.New("spawn: a process needs descriptors 0 to 2")
	}
	// Whatever this process was handed by its own parent must not travel on.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("close-on-exec for inherited descriptors: %w", err)
	}
	type result struct {
		p   *Process
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The thread gets its own umask, is the tracer, and ends with this goroutine.
		runtime.LockOSThread()
		p, err := withUmask(spec, unshare)
		done <- result{p, err}
	}()
	r := <-done
	return r.p, r.err
}

// processUmask is held while the umask of this whole process, of which there is
// one, is another's.
var processUmask sync.Mutex

// withUmask starts the process with its umask. The thread has one of its own
// where the kernel lets it; a container's seccomp profile commonly does not, and
// then the process lends its own. What the agent itself makes meanwhile is not
// widened by more than its mode says, which never relies on the umask.
func withUmask(spec Spec, unshare func(flags int) error) (*Process, error) {
	err := unshare(unix.CLONE_FS)
	switch {
	case errors.Is(err, unix.EPERM):
		processUmask.Lock()
		defer processUmask.Unlock()
		defer unix.Umask(unix.Umask(spec.Umask))
	case err != nil:
		return nil, fmt.Errorf("give the spawning thread its own umask: %w", err)
	default:
		unix.Umask(spec.Umask)
	}
	return startHere(spec)
}

func startHere(spec Spec) (*Process, error) {
	dir := spec.Dir
	if dir == "" {
		dir = spec.Account.Home
	}
	p := &Process{cmd: command(spec, dir)}
	err := p.cmd.Start()
	if spec.Dir == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)) {
		p = &Process{cmd: command(spec, "/"), HomeMissing: true}
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cannot start %s as %s", p.cmd.Path, spec.Account.Name)
	}
	if err := p.verify(spec.Account); err != nil {
		p.cmd.Process.Kill() //nolint:errcheck // it is gone, which is what we want
		p.Wait()             //nolint:errcheck // reaps it
		return nil, err
	}
	return p, nil
}

func command(spec Spec, dir string) *exec.Cmd {
	path, args := spec.Program, spec.Args
	if path == "" {
		path = spec.Account.Shell
		args = []string{"-" + filepath.Base(path)}
		if spec.Command != "" {
			args = []string{filepath.Base(path), "-c", spec.Command}
		}
	}
	env := spec.Env
	if env == nil {
		env = []string{} // nil would mean our own environment
	}
	return &exec.Cmd{
		Path: path, Args: args, Env: env, Dir: dir,
		Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Setsid: true, Setctty: spec.TTY, Ctty: 0, Ptrace: true,
			Credential: credential(spec.Account),
		},
	}
}

// credential is nil for an agent that is not root, which can only be itself.
func credential(a Account) *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}
}

// permitted refuses another user's session where this process could not switch.
func permitted(a Account) error {
	if euid := os.Geteuid(); euid != 0 && uint32(euid) != a.UID {
		return fault.New(fault.Denied, "the agent does not run as root, so it can only serve its own user, not %s", a.Name).
			WithHint("run the SSH service as root, or log in as the user it runs as")
	}
	return nil
}

// verify waits for the stop at exec, reads the credentials back and lets the
// process go.
func (p *Process) verify(a Account) error {
	pid := p.cmd.Process.Pid
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for exec: %w", err)
		}
		break
	}
	if !ws.Stopped() {
		return fault.New(fault.Internal, "the new process ended before it could be checked")
	}
	got, err := readCredentials(pid)
	if err != nil {
		return err
	}
	if err := got.matches(a); err != nil {
		return fault.Wrap(err, fault.Internal, "the new process does not have the credentials of %s, so it was killed", a.Name)
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return fmt.Errorf("let the checked process run: %w", err)
	}
	return nil
}

// Pid returns the process id, which is also the id of its group and session.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait returns when the process has ended and reaps it. It is called once.
func (p *Process) Wait() (Status, error) {
	state, err := p.cmd.Process.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	if err != nil {
		return Status{Code: 255}, err
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signal: ws.Signal(), Core: ws.CoreDump()}, nil
	}
	return Status{Code: state.ExitCode()}, nil
}

// Signal sends to the whole process group, while its leader has not been
// reaped: afterwards the number may be somebody else's.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return unix.Kill(-p.cmd.Process.Pid, sig)
}
