package sshproxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/files"
	"teleport/sshserver"
	"teleport/types/event"
)

// endSession is one session channel: the client's, and the server's behind it.
type endSession struct {
	c       *end
	id      string
	client  ssh.Channel
	remote  ssh.Channel
	term    terminal           // that was asked for
	rec     recorder.Recording // set before begun is closed
	begun   chan struct{}
	started time.Time
	job     job
	watch   *files.Watch // of SFTP, which is told as what was done to files
	live    *session.Live
	status  status // set by answers alone
	cut     string // guarded by c.mu: why this session alone was ended

	order sync.Mutex // held while a request is answered

	sent, received atomic.Uint64
}

// job is what a channel runs: a shell, a command or a subsystem.
type job struct{ kind, command string }

// maxSize bounds the sizes of a window.
const maxSize = 1 << 12

// terminal is the beginning of a pty-req.
type terminal struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

func (c *end) serveSession(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	most := c.live.Limits().MaxSessions
	c.mu.Lock()
	c.count++
	over := most > 0 && c.count > most
	c.mu.Unlock()
	leave := sync.OnceFunc(func() { c.mu.Lock(); c.count--; c.mu.Unlock() })
	defer leave()
	if over {
		msg := "too many sessions on this connection"
		c.rejected(msg, most, c.first)
		reject(nc, msg)
		return
	}
	remote, fromRemote, err := sshserver.OpenChannel(ctx, c.remote.Conn(), "session", nil)
	if err != nil {
		reject(nc, "the server opens no session")
		return
	}
	defer remote.Close()
	ch, fromClient, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	s := &endSession{c: c, id: uuid.NewString(), client: ch, remote: remote, begun: make(chan struct{})}
	c.mu.Lock()
	c.sessions[s] = struct{}{}
	c.mu.Unlock()
	defer func() { c.mu.Lock(); delete(c.sessions, s); c.mu.Unlock() }()
	stop := context.AfterFunc(ctx, func() { ch.Close(); remote.Close() })
	defer stop()
	var asked sync.WaitGroup
	asked.Go(func() {
		s.requests(ctx, fromClient)
		remote.Close() // the client has closed the channel
	})
	s.answers(fromRemote) // until the server closes the channel
	s.runs()
	leave() // whoever sees the end may have the next session
	ch.Close()
	asked.Wait()
	s.finish()
}

// requests passes on what the client asks of its session and may.
func (s *endSession) requests(ctx context.Context, reqs <-chan *ssh.Request) {
	var flows sync.WaitGroup
	defer flows.Wait()
	for r := range reqs {
		began := s.rec != nil
		s.order.Lock()
		err := s.request(ctx, r)
		if err == nil && r.Type == "auth-agent-req@openssh.com" {
			err = s.c.passAgent(s.c.ctx, s.id)
		}
		ok := err == nil
		if ok {
			if ok, err = s.remote.SendRequest(r.Type, r.WantReply, r.Payload); err != nil {
				ok = false
			}
		}
		if err != nil {
			_, _ = io.WriteString(s.client.Stderr(), fault.Message(err)+"\r\n") // the channel is gone then
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // the channel is gone then
		}
		s.order.Unlock()
		if !began && s.rec != nil {
			s.flow(&flows)
		}
	}
}

// request decides on one request, and begins the session with its first job.
func (s *endSession) request(ctx context.Context, r *ssh.Request) error {
	var job struct{ Text string }
	kind, name := "request", r.Type
	switch r.Type {
	case "subsystem", "exec":
		if err := ssh.Unmarshal(r.Payload, &job); err != nil {
			return fault.New(fault.Invalid, "malformed request")
		}
		if r.Type == "subsystem" {
			kind, name = "subsystem", job.Text
		}
	case "pty-req":
		if err := ssh.Unmarshal(r.Payload, &s.term); err != nil {
			return fault.New(fault.Invalid, "malformed request")
		}
		if !s.c.live.Limits().PTY {
			return fault.New(fault.Denied, "your roles do not permit a terminal")
		}
	}
	if err := s.c.srv.Allowed(ctx, s.c.peer, kind, name); err != nil {
		return err
	}
	switch r.Type {
	case "exec", "shell", "subsystem":
		if s.rec != nil {
			return fault.New(fault.Invalid, "a session runs one thing")
		}
		return s.start(ctx, r.Type, job.Text)
	case "window-change":
		var size struct{ Columns, Rows, Width, Height uint32 }
		if err := ssh.Unmarshal(r.Payload, &size); err != nil {
			return fault.New(fault.Invalid, "malformed request")
		}
		if s.rec != nil {
			return s.rec.Resize(int(min(size.Columns, maxSize)), int(min(size.Rows, maxSize)))
		}
	}
	return nil
}

// start begins the one thing that a session runs.
func (s *endSession) start(ctx context.Context, kind, text string) error {
	s.job.kind = kind
	if kind == "subsystem" {
		s.watch = files.NewWatch(s.tellSFTP)
	}
	if kind == "exec" {
		s.job.command = text
	}
	if cp, ok := files.ParseSCP(s.job.command); ok {
		if err := s.mayCopy(cp, s.c.mayCopy()); err != nil {
			return err
		}
	}
	return s.begin(ctx, s.job.command)
}

// begin does what must be done before the first byte: the recorder takes its
// place, and session.start is in the spool.
func (s *endSession) begin(ctx context.Context, command string) error {
	c := s.c
	s.started = time.Now()
	d := c.decide(access.ActionLogin, c.cfg.Now(), false)
	if err := c.may(d); err != nil {
		return err
	}
	n, id := c.in.Node, c.peer.Identity
	rec, err := c.cfg.Recorder.Start(ctx, recorder.Info{SessionID: s.id, Kind: "ssh", User: id.Name, Login: c.peer.Login, HostID: n.Name(),
		Hostname: n.Spec.Hostname, Identity: id, Start: s.started, Command: command,
		Term: s.term.Term, Columns: int(min(s.term.Columns, maxSize)), Rows: int(min(s.term.Rows, maxSize)), Strict: d.decision.Limits.StrictRecording})
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so it does not start")
	}
	err = c.emit(&event.SessionStart{User: c.who(), Session: event.Session{SessionID: s.id}, Server: c.host(), Connection: c.wire(),
		Command: command, Recording: rec.Mode(), Decision: access.Record(d.request, d.decision)}, event.TypeSessionStart, event.CodeSessionStart)
	if err != nil {
		return errors.Join(err, rec.Close())
	}
	s.rec = rec
	if err := s.share(); err != nil {
		s.finish()
		s.rec = nil
		return err
	}
	close(s.begun)
	return nil
}

// flow starts the copying of bytes, once the session runs.
func (s *endSession) flow(all *sync.WaitGroup) {
	from := touching{s.client, func(n int) { s.c.live.Touch(); s.received.Add(uint64(n)) }}
	all.Go(func() {
		if s.watch != nil {
			s.sendFiles(from)
		} else {
			_, _ = io.Copy(s.remote, from) // either end left
		}
		_ = s.remote.CloseWrite()
	})
}

// answers copies what the server shows, past the recorder, and passes on how its
// command ended. It returns when the server has closed the channel.
func (s *endSession) answers(reqs <-chan *ssh.Request) {
	var shown sync.WaitGroup
	shown.Go(func() { s.show(s.client, s.remote, recorder.Output) })
	shown.Go(func() { s.show(s.client.Stderr(), s.remote.Stderr(), recorder.Errors) })
	for r := range reqs {
		ok := r.Type == "exit-status" || r.Type == "exit-signal"
		if ok {
			shown.Wait() // the last word comes last
			s.runs()
			s.ended(r)
			_, _ = s.client.SendRequest(r.Type, false, r.Payload) // the client is gone then
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // the server is gone then
		}
	}
	shown.Wait()
}

func (s *endSession) ended(r *ssh.Request) {
	var exit struct{ Code uint32 }
	var signal struct {
		Name string
		Rest []byte `ssh:"rest"`
	}
	switch {
	case r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &exit) == nil:
		s.status = status{known: true, code: int(exit.Code)}
	case r.Type == "exit-signal" && ssh.Unmarshal(r.Payload, &signal) == nil:
		s.status = status{known: true, code: -1, signal: signal.Name}
	}
}

// runs reports whether the session has begun, once the client has its answer to
// what it asked: that comes before the first byte, and before the end.
func (s *endSession) runs() bool {
	s.order.Lock()
	defer s.order.Unlock()
	return s.hasBegun()
}

func (s *endSession) hasBegun() bool {
	select {
	case <-s.begun:
		return true
	default:
		return false
	}
}

func (s *endSession) show(to io.Writer, from io.Reader, stream recorder.Stream) {
	buf, runs := make([]byte, showFirst), false
	for {
		n, err := from.Read(buf)
		if n > 0 {
			runs = runs || s.runs()
			// Nothing comes before a session has begun, and a server that speaks all
			// the same is not heard.
			if !runs || s.record(stream, buf[:n]) != nil {
				s.remote.Close()
				return
			}
			s.sent.Add(uint64(n))
			s.c.live.Touch()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if n == len(buf) && n < showMost {
				buf = make([]byte, 2*n)
			}
		}
		if err != nil && n == 0 { // a server that has left is read to the end
			return
		}
	}
}

// Each read from a channel may answer with a window message, and each showing may
// wait for the auth service: what has come is taken together.
const (
	showFirst = 4 << 10
	showMost  = 256 << 10
)

// record takes what the server shows: the protocol of files as what was done to
// them, and all else as it is.
func (s *endSession) record(stream recorder.Stream, p []byte) error {
	if s.watch != nil && stream == recorder.Output {
		return s.watch.FromServer(p)
	}
	return s.rec.Show(stream, p)
}

// finish tells the end of a session that had begun.
func (s *endSession) finish() {
	if s.rec == nil {
		return
	}
	c := s.c
	s.tellJob()
	s.unshare()
	if err := s.rec.Close(); err != nil {
		c.cfg.Log.Error("recording did not end well", "session", s.id, "error", err)
	}
	who, sid, server, wire := c.who(), event.Session{SessionID: s.id}, c.host(), c.wire()
	c.note(&event.SessionData{User: who, Session: sid, Server: server, Connection: wire,
		BytesTransmitted: s.sent.Load(), BytesReceived: s.received.Load()}, event.TypeSessionData, event.CodeSessionData)
	c.note(&event.SessionEnd{User: who, Session: sid, Server: server, Connection: wire, Start: s.started, Stop: time.Now(),
		Participants: []string{who.User}, Interactive: s.term.Term != "", Recording: s.rec.Mode(), Reason: s.endReason()}, event.TypeSessionEnd, event.CodeSessionEnd)
}

// tellJob tells of what has ended, while its recording still takes events.
func (s *endSession) tellJob() {
	c := s.c
	who, sid, server, wire := c.who(), event.Session{SessionID: s.id}, c.host(), c.wire()
	cmd := s.status.command(s.job.command)
	switch s.job.kind {
	case "subsystem":
		s.tellFiles()
		c.note(&event.Subsystem{User: who, Session: sid, Server: server, Connection: wire, Name: "sftp", ExitError: cmd.ExitError}, event.TypeSubsystem, event.CodeSubsystem)
	case "exec":
		c.note(&event.Exec{User: who, Session: sid, Server: server, Connection: wire, Command: cmd}, event.TypeExec, event.CodeExec)
		if cp, ok := files.ParseSCP(s.job.command); ok {
			s.tellSCP(cp, cmd)
		}
	}
}

// touching counts what the client sends as activity.
type touching struct {
	io.Reader
	touch func(n int)
}

func (t touching) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n > 0 {
		t.touch(n)
	}
	return n, err
}
