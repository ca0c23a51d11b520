// Package generation replaces a running process by a new one without closing
// its listeners. The old generation starts the new one (same arguments, the
// binary that now stands at the same path), hands over its listening sockets
// and a control socket, frees what only one process may hold (the store) when
// the new one asks, and drains once the new one is ready. A connection is
// accepted by exactly one of them.
//
// Control socket, one line each: the new process says "need store" and is
// answered "store free"; it says "ready" when it serves. End of file before
// "ready" means that it failed: the old generation goes on as before.
package generation

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"teleport/fault"
)

// Environment variables by which a generation finds what it inherited. They
// are removed from the environment as soon as they are read.
const (
	envControl   = "TELEPORT_GENERATION_CONTROL"
	envListeners = "TELEPORT_GENERATION_LISTENERS"
)

// Process is this process's place in the line of generations. Its methods may
// be called concurrently.
type Process struct {
	exe string

	mu        sync.Mutex
	inherited map[string]*os.File // "network addr" -> socket not yet claimed
	held      map[string]*net.TCPListener
	parent    net.Conn // nil in a first generation and after Ready
	lines     *bufio.Reader
}

// Open reads what a previous generation left in the environment, if there was
// one, and removes it from there. Call it once, before anything listens.
func Open() (*Process, error) {
	exe, err := executable()
	if err != nil {
		return nil, err
	}
	p := &Process{exe: exe, inherited: map[string]*os.File{}, held: map[string]*net.TCPListener{}}
	control, listeners := os.Getenv(envControl), os.Getenv(envListeners)
	os.Unsetenv(envControl)
	os.Unsetenv(envListeners)
	if control == "" {
		return p, nil
	}
	conn, err := inheritedConn(control)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "cannot take over from the previous process")
	}
	p.parent, p.lines = conn, bufio.NewReader(conn)
	for _, entry := range strings.Split(listeners, ";") {
		key, fd, ok := strings.Cut(entry, "=")
		n, err := strconv.Atoi(fd)
		if !ok || err != nil {
			continue
		}
		unix.CloseOnExec(n)
		p.inherited[key] = os.NewFile(uintptr(n), key)
	}
	return p, nil
}

// executable finds the path that this process was started by, so that a
// replaced binary is the one that a new generation runs.
func executable() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, err = os.Executable()
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "cannot find this program's own file")
	}
	return path, nil
}

func inheritedConn(fd string) (net.Conn, error) {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(n)
	f := os.NewFile(uintptr(n), "control")
	defer f.Close()
	return net.FileConn(f)
}

// First reports whether no generation came before this one.
func (p *Process) First() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.parent == nil
}

// Listen returns the inherited listener for the address, or a new one. An
// address in use gives one clear fault.Unavailable.
func (p *Process) Listen(ctx context.Context, addr string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := "tcp " + addr
	if f, ok := p.inherited[key]; ok {
		delete(p.inherited, key)
		ln, err := net.FileListener(f)
		f.Close()
		if err == nil {
			p.held[key] = ln.(*net.TCPListener)
			return ln, nil
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenFault(addr, err)
	}
	p.held[key] = ln.(*net.TCPListener)
	return ln, nil
}

func listenFault(addr string, err error) error {
	switch {
	case isErrno(err, unix.EADDRINUSE):
		return &fault.Error{Kind: fault.Unavailable, Message: fmt.Sprintf("cannot listen on %s: another process uses that port", addr),
			Hint: "Stop that process (ss -ltnp shows it) or choose another listen address."}
	case isErrno(err, unix.EACCES):
		return &fault.Error{Kind: fault.Denied, Message: fmt.Sprintf("cannot listen on %s: permission denied", addr),
			Hint: "Ports below 1024 need root or the capability CAP_NET_BIND_SERVICE."}
	}
	return fault.Wrap(err, fault.Unavailable, "cannot listen on %s", addr)
}

// AcquireStore blocks until the previous generation has freed the store. It
// returns at once in a first generation.
func (p *Process) AcquireStore(ctx context.Context) error {
	p.mu.Lock()
	conn, lines := p.parent, p.lines
	p.mu.Unlock()
	if conn == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "need store\n"); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the previous process went away during the hand-over")
	}
	line, err := lines.ReadString('\n')
	if err != nil || line != "store free\n" {
		return fault.Wrap(fmt.Errorf("control line %q: %w", line, err), fault.Unavailable, "the previous process did not free the store")
	}
	return nil
}

// Ready tells the previous generation, if there is one, to drain. Inherited
// listeners that nobody claimed are closed.
func (p *Process) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, f := range p.inherited {
		f.Close()
		delete(p.inherited, key)
	}
	if p.parent == nil {
		return nil
	}
	_, err := io.WriteString(p.parent, "ready\n")
	p.parent.Close()
	p.parent = nil
	return err
}

// Replace starts the next generation and returns its process id when it is
// ready; from then on the caller drains. freeStore is called when the new
// process asks for the store. On an error the caller keeps serving; if
// freeStore was called before, it is the caller's to take the store again.
func (p *Process) Replace(ctx context.Context, freeStore func() error) (pid int, err error) {
	proc, control, err := p.spawn()
	if err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "cannot start the new process")
	}
	defer control.Close()
	stop := context.AfterFunc(ctx, func() { control.Close() })
	defer stop()
	lines := bufio.NewReader(io.LimitReader(control, 4096))
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			end(proc)
			return 0, fault.Wrap(err, fault.Unavailable, "the new process ended before it was ready; this one goes on")
		case line == "need store\n":
			if err := freeStore(); err != nil {
				end(proc)
				return 0, err
			}
			if _, err := io.WriteString(control, "store free\n"); err != nil {
				continue // the read reports it
			}
		case line == "ready\n":
			pid := proc.Pid
			return pid, proc.Release()
		}
	}
}

// spawn starts the new process with raw descriptors: os/exec would put the
// listening sockets, whose mode is shared with ours, into blocking mode.
func (p *Process) spawn() (*os.Process, net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours := os.NewFile(uintptr(fds[0]), "control")
	defer ours.Close()
	files := []uintptr{0, 1, 2, uintptr(fds[1])}
	entries, err := p.duplicate(&files)
	defer func() {
		for _, fd := range files[3:] {
			unix.Close(int(fd))
		}
	}()
	if err != nil {
		return nil, nil, err
	}
	env := append(os.Environ(), envControl+"=3", envListeners+"="+strings.Join(entries, ";"))
	pid, err := syscall.ForkExec(p.exe, append([]string{p.exe}, os.Args[1:]...), &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, nil, err
	}
	proc, err := os.FindProcess(pid)
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		end(proc)
		return nil, nil, err
	}
	return proc, conn, nil
}

// duplicate appends a copy of each held listener's descriptor to files and
// returns their entries for the environment.
func (p *Process) duplicate(files *[]uintptr) (entries []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, ln := range p.held {
		raw, err := ln.SyscallConn()
		if err != nil {
			return nil, err
		}
		var dup int
		var dupErr error
		if raw.Control(func(fd uintptr) { dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }) != nil {
			continue // closed: nothing to hand over
		}
		if dupErr != nil {
			return nil, dupErr
		}
		entries = append(entries, fmt.Sprintf("%s=%d", key, len(*files)))
		*files = append(*files, uintptr(dup))
	}
	return entries, nil
}

// end kills a generation that failed and takes its exit status.
func end(proc *os.Process) {
	_ = proc.Kill()
	_, _ = proc.Wait()
}
