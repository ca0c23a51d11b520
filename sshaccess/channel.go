package sshaccess

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/pty"
	"teleport/sshaccess/spawn"
	"teleport/sshserver"
	"teleport/types/event"
)

// channel is one session channel (RFC 4254 §6): a shell, a command or a
// subsystem, once.
type channel struct {
	cn  *conn
	ch  ssh.Channel
	id  string
	env []string // what the client set, filtered

	ask   *pty.Request
	start time.Time
	rec   recorder.Recording

	mu    sync.Mutex
	term  *pty.Terminal
	proc  *spawn.Process
	ended bool // proc has
	left  bool // the client has closed the channel

	resized resizes
	leave   func() // gives back its place among the sessions of the connection

	unrecorded atomic.Bool        // what it showed could not be recorded
	live       *session.Live      // of the session alone
	shared     *session.Shared    // nil for a subsystem
	notices    chan string        // lines for the owner, until over
	told       chan chan struct{} // asks to be told when those that wait are written
	over       chan struct{}
	askedWho   bool           // the owner wants to know who must be present
	reason     string         // that the owner gave
	invited    []string       // by the owner
	joined     sync.WaitGroup // those who are in it; added to under svc.mu, while it is in svc.live
	attended   []string       // guarded by mu: users who were ever present
	cut        error          // guarded by mu: why the session was ended

	words sync.Mutex // held by who writes a line of ours, or the end

	sent, received atomic.Uint64
	status         spawn.Status
	elsewhere      string             // the mode of a recording at the proxy; "": this host records
	cancel         context.CancelFunc // of everything that serves the channel
	done           chan struct{}      // closed when what was started has ended
}

// Limits of what a client may say before it starts something.
const (
	commandMost  = 128 << 10
	hangupAfter  = 2 * time.Second
	chunk        = 32 << 10
	exitNotFound = 255
)

// serveSession serves one session channel until it is closed and its process is gone.
func (cn *conn) serveSession(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	if most, ok := cn.enter(); !ok {
		msg := "too many sessions on this connection"
		cn.rejected(msg, int64(most), nil)
		nc.Reject(ssh.ResourceShortage, msg) //nolint:errcheck // the connection is gone then
		return
	}
	s := &channel{cn: cn, id: uuid.NewString(), leave: sync.OnceFunc(cn.leave)}
	defer s.leave()
	if cn.bridged() && !s.name(nc.ExtraData()) {
		nc.Reject(ssh.ConnectionFailed, "the proxy does not say which session it records") //nolint:errcheck // the connection is gone then
		return
	}
	defer s.forget()
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	ctx, s.cancel = context.WithCancel(ctx)
	s.ch = ch
	s.resized.tell = s.tellResize
	defer s.hangup()
	for r := range reqs {
		ok := s.request(ctx, r)
		if r.WantReply && !startsSomething(r.Type) {
			r.Reply(ok, nil) //nolint:errcheck // seen when the requests end
		}
	}
}

// startsSomething names the requests that answer for themselves, as their
// answer must come before the first byte.
func startsSomething(name string) bool {
	return name == "shell" || name == "exec" || name == "subsystem"
}

// enter counts a session channel against max_sessions.
func (cn *conn) enter() (most int, ok bool) {
	most = cn.live.Limits().MaxSessions
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if most > 0 && cn.open >= most {
		return most, false
	}
	cn.open++
	return most, true
}

func (cn *conn) leave() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.open--
}

// request serves one request of the channel and says whether it was granted.
func (s *channel) request(ctx context.Context, r *ssh.Request) bool {
	kind, name := "request", r.Type
	if r.Type == "subsystem" {
		var m struct{ Name string }
		if ssh.Unmarshal(r.Payload, &m) != nil {
			m.Name = ""
		}
		kind, name = "subsystem", m.Name
	}
	if err := s.cn.srv.Allowed(ctx, s.cn.peer, kind, name); err != nil {
		s.refuse(r, err)
		return false
	}
	switch r.Type {
	case "pty-req":
		return s.wantTerminal(r.Payload)
	case "window-change":
		return s.resize(r.Payload)
	case "env":
		return s.setEnv(r.Payload)
	case "signal":
		return s.signal(r.Payload)
	case "auth-agent-req@openssh.com":
		return s.cn.forwardAgent(ctx, s.id) == nil
	}
	return s.launch(ctx, r, name)
}

// refuse answers a request that must not be served, with a line for the person
// where the request would have started something.
func (s *channel) refuse(r *ssh.Request, err error) {
	if !startsSomething(r.Type) {
		return
	}
	if r.Type == "subsystem" {
		s.cn.note(&event.Subsystem{User: s.cn.who(), Session: s.cn.sessionOf(s.id), Server: s.cn.host(), Connection: s.cn.wire(),
			Name: clean(string(r.Payload[min(4, len(r.Payload)):])), ExitError: fault.Message(err)}, event.TypeSubsystem, event.CodeSubsystemFail)
	}
	s.say(fault.Message(err) + "\r\n")
	r.Reply(false, nil) //nolint:errcheck // seen when the requests end
}

// launch starts a shell, a command or a subsystem, of which a channel has one.
func (s *channel) launch(ctx context.Context, r *ssh.Request, name string) bool {
	if s.done != nil {
		r.Reply(false, nil) //nolint:errcheck // seen when the requests end
		return false
	}
	job := job{kind: r.Type, name: name}
	if r.Type == "exec" {
		var m struct{ Command string }
		if ssh.Unmarshal(r.Payload, &m) != nil || len(m.Command) > commandMost || strings.ContainsRune(m.Command, 0) {
			r.Reply(false, nil) //nolint:errcheck // seen when the requests end
			return false
		}
		job.command = m.Command
	}
	if err := s.begin(ctx, job); err != nil {
		s.say(fault.Message(err) + "\r\n")
		r.Reply(false, nil) //nolint:errcheck // seen when the requests end
		return false
	}
	r.Reply(true, nil) //nolint:errcheck // seen when the requests end
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		s.run(ctx, job)
	}()
	return true
}

func (s *channel) wantTerminal(payload []byte) bool {
	req, err := pty.ParseRequest(payload)
	if err != nil || s.ask != nil || s.done != nil || !s.cn.live.Limits().PTY {
		return false
	}
	s.ask = &req
	return true
}

func (s *channel) resize(payload []byte) bool {
	size, err := pty.ParseSize(payload)
	if err != nil {
		return false
	}
	s.mu.Lock()
	t := s.term
	s.mu.Unlock()
	if t == nil || t.Resize(size) != nil {
		return false
	}
	s.resized.note(size)
	s.shared.Resize(session.Size{Columns: int(size.Columns), Rows: int(size.Rows)})
	return s.rec.Resize(int(size.Columns), int(size.Rows)) == nil
}

func (s *channel) tellResize(size pty.Size) {
	s.cn.note(&event.Resize{User: s.cn.who(), Session: s.cn.sessionOf(s.id), Server: s.cn.host(), Size: sizeText(size.Columns, size.Rows)},
		event.TypeResize, event.CodeResize)
}

// signals are the names of RFC 4254 §6.10.
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP, "ILL": syscall.SIGILL,
	"INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV,
	"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

func (s *channel) signal(payload []byte) bool {
	var m struct{ Name string }
	if ssh.Unmarshal(payload, &m) != nil {
		return false
	}
	sig, ok := signals[m.Name]
	s.mu.Lock()
	p := s.proc
	s.mu.Unlock()
	return ok && p != nil && p.Signal(sig) == nil
}

// hangup ends what still runs when the client has closed the channel: its group
// gets a hang-up, then, after a while, no choice.
func (s *channel) hangup() {
	defer s.cancel()
	if s.done == nil {
		return
	}
	s.mu.Lock()
	s.left = true // what starts only now is told by startProcess
	p, term := s.proc, s.term
	s.mu.Unlock()
	hangUp(p, term)
	s.cancel() // nobody reads the output any more
	t := time.NewTimer(hangupAfter)
	defer t.Stop()
	select {
	case <-s.done:
		return
	case <-t.C:
	}
	if p != nil {
		p.Signal(syscall.SIGKILL) //nolint:errcheck // gone already is fine
	}
	<-s.done
}

// putDown ends a process: a hang-up, and after a while no choice.
func putDown(p *spawn.Process, term *pty.Terminal) {
	hangUp(p, term)
	if p != nil {
		time.AfterFunc(hangupAfter, func() { p.Signal(syscall.SIGKILL) }) //nolint:errcheck // gone already is fine
	}
}

// hangUp tells a process and everything on its terminal that nobody is there.
func hangUp(p *spawn.Process, term *pty.Terminal) {
	if p != nil {
		p.Signal(syscall.SIGHUP)  //nolint:errcheck // gone already is fine
		p.Signal(syscall.SIGCONT) //nolint:errcheck // a stopped one must see it
	}
	if term != nil {
		term.Master.Close() // the hang-up that the kernel gives, to all that use it
	}
}

// say writes a line of ours to the person, beside the program's own output.
func (s *channel) say(line string) {
	s.words.Lock()
	defer s.words.Unlock()
	io.WriteString(s.ch.Stderr(), line) //nolint:errcheck // best effort, the event is in the log
}

// sayNoMore ends what is shown. x/crypto's CloseWrite must not meet a write.
func (s *channel) sayNoMore() {
	s.words.Lock()
	defer s.words.Unlock()
	s.ch.CloseWrite() //nolint:errcheck // the exit status says it all, and the channel is closed soon
}
