package sshproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/netx"
	"teleport/recorder"
	"teleport/sshserver"
	"teleport/types/event"
)

// endSession is one session channel: the client's, and the server's behind it.
type endSession struct {
	c      *end
	id     string
	client ssh.Channel
	remote ssh.Channel
	term   terminal           // that was asked for
	rec    recorder.Recording // set before begun is closed
	begun  chan struct{}
	start  time.Time

	command string // of exec
	code    string // exit status, set by answers alone
}

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
	defer func() { c.mu.Lock(); c.count--; c.mu.Unlock() }()
	if over {
		msg := "too many sessions on this connection"
		c.rejected(msg, most, c.first)
		reject(nc, msg)
		return
	}
	remote, fromRemote, err := c.remote.Conn().OpenChannel("session", nil)
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
		err := s.request(ctx, r)
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
		if first, _, _ := strings.Cut(strings.TrimSpace(job.Text), " "); r.Type == "exec" && path.Base(first) == "scp" {
			if err := s.c.srv.Allowed(ctx, s.c.peer, "subsystem", "sftp"); err != nil {
				return err
			}
		}
		if r.Type == "exec" {
			s.command = job.Text
		}
		return s.begin(ctx, s.command)
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

// begin does what must be done before the first byte: the recorder takes its
// place, and session.start is in the spool.
func (s *endSession) begin(ctx context.Context, command string) error {
	c := s.c
	s.start = time.Now()
	d := c.decide(access.ActionLogin, c.cfg.Now(), false)
	if err := c.may(d); err != nil {
		return err
	}
	n, id := c.in.Node, c.peer.Identity
	rec, err := c.cfg.Recorder.Start(ctx, recorder.Info{SessionID: s.id, Kind: "ssh", User: id.Name, Login: c.peer.Login, HostID: n.Name(),
		Hostname: n.Spec.Hostname, Identity: id, Start: s.start, Command: command,
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
	close(s.begun)
	return nil
}

// flow starts the copying of bytes, once the session runs.
func (s *endSession) flow(all *sync.WaitGroup) {
	all.Go(func() {
		_, _ = io.Copy(s.remote, touching{s.client, s.c.live.Touch}) // either end left
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
	var status struct{ Code uint32 }
	if r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &status) == nil {
		s.code = strconv.Itoa(int(status.Code))
	}
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
	buf := make([]byte, showFirst)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			// Nothing comes before a session has begun, and a server that speaks all
			// the same is not heard.
			if !s.hasBegun() || s.rec.Show(stream, buf[:n]) != nil {
				s.remote.Close()
				return
			}
			s.c.live.Touch()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if n == len(buf) && n < showMost {
				buf = make([]byte, 2*n)
			}
		}
		if err != nil {
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

// finish tells the end of a session that had begun.
func (s *endSession) finish() {
	if s.rec == nil {
		return
	}
	c := s.c
	if err := s.rec.Close(); err != nil {
		c.cfg.Log.Error("recording did not end well", "session", s.id, "error", err)
	}
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	if reason == "" {
		reason = "exit"
	}
	who, server, wire := c.who(), c.host(), c.wire()
	if s.command != "" {
		c.note(&event.Exec{User: who, Session: event.Session{SessionID: s.id}, Server: server, Connection: wire,
			Command: event.Command{Command: s.command, ExitCode: s.code}}, event.TypeExec, event.CodeExec)
	}
	c.note(&event.SessionEnd{User: who, Session: event.Session{SessionID: s.id}, Server: server, Connection: wire, Start: s.start, Stop: time.Now(),
		Participants: []string{who.User}, Interactive: s.term.Term != "", Recording: s.rec.Mode(), Reason: reason}, event.TypeSessionEnd, event.CodeSessionEnd)
}

// serveDirect forwards a port: the server itself opens the connection, as its own
// configuration allows.
func (c *end) serveDirect(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil || m.Port > 65535 {
		reject(nc, "malformed target")
		return
	}
	addr := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	remote, reqs, err := c.remote.Conn().OpenChannel("direct-tcpip", nc.ExtraData())
	if err != nil {
		reject(nc, "the server does not reach "+addr)
		return
	}
	defer remote.Close()
	go ssh.DiscardRequests(reqs)
	if err := c.emit(&event.Port{User: c.who(), Session: event.Session{SessionID: c.id}, Server: c.host(), Connection: c.wire(),
		Direction: "local", Addr: addr, Status: event.Status{Success: true}},
		event.TypePort, event.CodePortStart); err != nil {
		reject(nc, fault.Message(err))
		return
	}
	ch, own, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(own)
	_ = netx.Splice(ctx, ch, remote, netx.SpliceOptions{Touch: c.live.Touch}) // either end left
	c.note(&event.Port{User: c.who(), Session: event.Session{SessionID: c.id}, Server: c.host(), Connection: c.wire(),
		Direction: "local", Addr: addr, Status: event.Status{Success: true}}, event.TypePort, event.CodePortStop)
}

// touching counts what the client sends as activity.
type touching struct {
	io.Reader
	touch func()
}

func (t touching) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n > 0 {
		t.touch()
	}
	return n, err
}
