package generation

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"teleport/fault"
	"teleport/lifecycle"
)

// Supervisor is the parent that systemd is elsewhere: it starts the program,
// starts it again when it dies, passes signals to the newest generation, reaps
// what is orphaned to it (it may be process 1 of a container), and ends with the
// exit code of a generation that ended as told. It holds no listener on purpose:
// while the program is away its ports refuse, so that a balancer turns to another.
type Supervisor struct {
	Path  string   // of the program
	Args  []string // its arguments, without the program's name
	Log   *slog.Logger
	Final func(code int) bool // codes after which a start would fail again; nil: none
	Pause lifecycle.Backoff   // between starts; zero: 1 s doubling to 15 s
}

// longRun is how long a generation must have lived for its death to count as
// the first in a row.
const longRun = time.Minute

// Run supervises until the program has ended by a signal that was passed on to
// it, has failed before it ever was ready, or has ended for good, and returns its
// exit code.
func (s *Supervisor) Run() (code int, err error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGCHLD)
	defer signal.Stop(signals)
	r := &supervision{Supervisor: s, alive: map[int]bool{}}
	if r.Pause == (lifecycle.Backoff{}) {
		r.Pause = lifecycle.Backoff{Min: time.Second, Max: 15 * time.Second}
	}
	if err := r.listen(); err != nil {
		return 0, err
	}
	defer unix.Close(r.notes)
	if err := r.start(); err != nil {
		return 0, err
	}
	for {
		select {
		case sig := <-signals:
			r.handle(sig.(syscall.Signal))
		case <-r.again:
			r.again = nil
			if err := r.start(); err != nil {
				r.Log.Error("cannot start", "err", err)
				r.later()
			}
		}
		if r.over() {
			return r.code, nil
		}
	}
}

// supervision is the state of one Run.
type supervision struct {
	*Supervisor
	notes  int    // socket on which generations say that they are ready
	socket string // its name

	main     int          // the newest generation that is ready, or the first; 0: none runs
	alive    map[int]bool // all generations
	begun    time.Time
	failures int
	once     bool // a generation was ready once
	stopping bool
	failed   bool // it ended by itself and would do so again
	code     int
	again    <-chan time.Time
}

// listen makes the socket of sd_notify. Its sender is known from the kernel:
// only processes of our own user count, and each speaks for itself alone.
func (r *supervision) listen() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		r.notes, r.socket = fd, "@teleport-"+rand.Text()
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.Bind(fd, &unix.SockaddrUnix{Name: r.socket}))
	}
	return fault.Wrap(err, fault.Internal, "cannot make the socket of the supervisor")
}

func (r *supervision) start() error {
	env := make([]string, 0, len(os.Environ())+1)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			env = append(env, e)
		}
	}
	pid, err := syscall.ForkExec(r.Path, append([]string{r.Path}, r.Args...),
		&syscall.ProcAttr{Env: append(env, "NOTIFY_SOCKET="+r.socket), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot start %s: %v", r.Path, err)
	}
	r.main, r.begun, r.alive[pid] = pid, time.Now(), true
	return nil
}

func (r *supervision) later() {
	r.failures++
	r.again = time.After(r.Pause.Delay(r.failures))
}

func (r *supervision) handle(sig syscall.Signal) {
	r.read()
	switch sig {
	case syscall.SIGCHLD:
		r.reap()
		return
	case syscall.SIGHUP:
	default:
		r.stopping = true
		r.again = nil
	}
	// Not reaped yet, so these numbers are still those processes.
	if r.main != 0 {
		_ = syscall.Kill(r.main, sig)
		return
	}
	for pid := range r.alive {
		_ = syscall.Kill(pid, sig)
	}
}

// read takes in what generations have said. A generation says that it is ready
// before the one it replaces ends, so reading before reaping misses none.
func (r *supervision) read() {
	buf, oob := make([]byte, 512), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, on, _, _, err := unix.Recvmsg(r.notes, buf, oob, 0)
		if err != nil {
			return
		}
		cred := sender(oob[:on])
		if cred == nil || int(cred.Uid) != os.Geteuid() {
			continue
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				r.main, r.once = int(cred.Pid), true
				r.alive[r.main] = true
			}
		}
	}
}

func sender(oob []byte) *unix.Ucred {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return cred
		}
	}
	return nil
}

// reap takes the exit status of all children that have ended, orphans of
// sessions included.
func (r *supervision) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		delete(r.alive, pid)
		if pid == r.main {
			r.main = 0
			r.died(status)
		}
	}
}

// died decides what follows the end of the newest generation.
func (r *supervision) died(status unix.WaitStatus) {
	r.code = status.ExitStatus()
	how := fmt.Sprintf("exit code %d", r.code)
	if status.Signaled() {
		r.code, how = 128+int(status.Signal()), status.Signal().String()
	}
	switch {
	case r.stopping:
		return
	case status.Exited() && (!r.once || r.Final != nil && r.Final(r.code)):
		r.failed = true // it has said why: a wrong configuration, a port in use
		return
	}
	if time.Since(r.begun) > longRun {
		r.failures = 0
	}
	r.Log.Error("the process ended and is started again", "reason", how)
	r.later()
}

// over reports whether nothing is left to do: older generations may still drain.
func (r *supervision) over() bool {
	return r.main == 0 && (r.failed || r.stopping && len(r.alive) == 0)
}

// Supervised reports whether this process's parent restarts it: systemd or a
// Supervisor, either of which listens for its readiness.
func Supervised() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Notify tells systemd or a Supervisor a state (sd_notify), if one listens. The
// process id goes along, as a new generation is another main process.
func Notify(state string) {
	if !Supervised() {
		return
	}
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return // the manager went away; nothing depends on it
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "%s\nMAINPID=%d", state, os.Getpid()) // as above
}
