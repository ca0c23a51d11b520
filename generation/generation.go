// Package generation replaces a running process by a new one without closing
// its listeners. The old generation starts the new one (same arguments, the
// binary that now stands at the same path), hands over its listening sockets
// and a control socket, frees what only one process may hold (the store) when
// the new one asks, and drains once the new one is ready. A connection is
// accepted by exactly one of them.
//
// Control socket, one line each: the new process says "need store" and is
// answered "store free"; it says "ready" when it serves. End of file before
// "ready" means that one of them failed: the old generation goes on as before,
// the new one ends, as until it is ready it belongs to the old one. After
// "ready" the socket stays: "stop" on it passes a fast stop back to the
// generations that still drain, and its end tells nothing.
//
// The new process is a sibling of the old one, not its child: whoever started
// the first (systemd, a supervisor, a shell) is the parent of all, may wait for
// each, and sees no zombie while an old one drains for hours.
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
	parent    net.Conn // nil in a first generation
	lines     *bufio.Reader
	next      net.Conn // to the generation that replaced this one
}

// Open reads what a previous generation left in the environment, if there was
// one, and removes it from there. Call it once, before anything listens.
func Open() (*Process, error) {
	exe, err := Executable()
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

// Executable finds the path that this process was started by, so that a
// replaced binary is the one that a new generation runs.
func Executable() (string, error) {
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
	if isErrno(err, unix.EADDRNOTAVAIL) {
		return &fault.Error{Kind: fault.Invalid, Message: fmt.Sprintf("cannot listen on %s: this host does not have that address", addr),
			Hint: "ip addr lists the addresses of this host; 0.0.0.0 means all of them."}
	}
	return fault.Wrap(err, fault.Unavailable, "cannot listen on %s: %v", addr, err)
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

// Ready tells the previous generation, if there is one, to drain; an error says
// that it died meanwhile. Inherited listeners that nobody claimed are closed.
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
	return fault.Wrap(err, fault.Unavailable, "the previous process ended during the hand-over")
}

// StopPrevious passes a fast stop on to the previous generation, which may
// still drain. One that has ended needs none.
func (p *Process) StopPrevious() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parent != nil {
		_, _ = io.WriteString(p.parent, "stop\n") // it may have ended long ago
		p.parent.Close()
		p.parent = nil
	}
}

// Replaced reports whether another generation has taken over.
func (p *Process) Replaced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next != nil
}

// Replace starts the next generation and returns its process id when it is
// ready; from then on the caller drains. freeStore is called when the new
// process asks for the store. On an error, the end of ctx included, the new
// process is gone and the caller keeps serving; if freeStore was called before,
// it is the caller's to take the store again. A process is replaced once.
func (p *Process) Replace(ctx context.Context, freeStore func() error) (pid int, err error) {
	if p.Replaced() {
		return 0, fault.New(fault.Conflict, "this process was replaced already and drains")
	}
	child, control, err := p.spawn()
	if err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "cannot start the new process")
	}
	defer child.release()
	stop := context.AfterFunc(ctx, func() { control.Close() })
	err = negotiate(control, freeStore)
	if !stop() {
		err = fault.Wrap(context.Cause(ctx), fault.Timeout, "the new process was not ready in time; this one goes on")
	}
	if err != nil {
		control.Close()
		child.end()
		return 0, err
	}
	p.mu.Lock()
	p.next = control
	p.mu.Unlock()
	return child.pid, nil
}

// negotiate answers the new process until it is ready.
func negotiate(control net.Conn, freeStore func() error) error {
	buf := make([]byte, 0, 64)
	for {
		line, err := readLine(control, buf)
		switch {
		case err != nil:
			return fault.Wrap(err, fault.Unavailable, "the new process ended before it was ready; this one goes on")
		case line == "need store":
			if err := freeStore(); err != nil {
				return err
			}
			if _, err := io.WriteString(control, "store free\n"); err != nil {
				continue // the read reports it
			}
		case line == "ready":
			return nil
		}
	}
}

// readLine reads one short line and not a byte more.
func readLine(r io.Reader, buf []byte) (string, error) {
	var b [1]byte
	for buf = buf[:0]; len(buf) < cap(buf); buf = append(buf, b[0]) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(buf), nil
		}
	}
	return "", fault.New(fault.Invalid, "a control line without an end")
}

// AwaitStop waits, after Replace, until the next generation passes a fast stop
// on (true), or has ended or ctx does (false).
func (p *Process) AwaitStop(ctx context.Context) bool {
	p.mu.Lock()
	next := p.next
	p.mu.Unlock()
	if next == nil {
		return false
	}
	stop := context.AfterFunc(ctx, func() { next.Close() })
	defer stop()
	defer next.Close()
	line, err := readLine(next, make([]byte, 0, 64))
	return err == nil && line == "stop"
}

// spawn starts the new process with raw descriptors: os/exec would put the
// listening sockets, whose mode is shared with ours, into blocking mode.
func (p *Process) spawn() (*sibling, net.Conn, error) {
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
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, err
	}
	pid, err := syscall.ForkExec(p.exe, append([]string{p.exe}, os.Args[1:]...), &syscall.ProcAttr{Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return newSibling(pid), conn, nil
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
