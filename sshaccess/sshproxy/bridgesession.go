package sshproxy

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/recorder"
	"teleport/sshserver"
)

// bridgeSession is one session channel: the client's, and the agent's behind it.
type bridgeSession struct {
	c      *bridge
	id     string
	client ssh.Channel
	remote ssh.Channel

	term    terminal // that was asked for
	started bool     // something runs, or is about to

	order    sync.Mutex    // held while a request is answered
	answered chan struct{} // closed when it is known whether something starts
	once     sync.Once

	mu    sync.Mutex
	rec   recorder.Recording
	files bool // sftp: events tell what passes

	unrecorded atomic.Bool
	exited     atomic.Bool
	words      sync.Mutex // x/crypto's CloseWrite must not meet a write
}

func (c *bridge) serveSession(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	s := &bridgeSession{c: c, id: uuid.NewString(), answered: make(chan struct{})}
	remote, fromRemote, err := sshserver.OpenChannel(ctx, c.remote.Conn(), "session", ssh.Marshal(sshserver.BridgedSession{ID: s.id, Recording: c.cfg.Recorder.Mode()}))
	if err != nil {
		refuse(nc, err)
		return
	}
	defer remote.Close()
	client, fromClient, err := nc.Accept()
	if err != nil {
		go ssh.DiscardRequests(fromRemote)
		return
	}
	s.client, s.remote = client, remote
	stop := context.AfterFunc(ctx, func() { client.Close(); remote.Close() })
	defer stop()
	var asked sync.WaitGroup
	asked.Go(func() { s.requests(ctx, fromClient) })
	s.answers(fromRemote) // until the agent has closed the channel
	s.finish()
	client.Close()
	asked.Wait()
}

// settle is how long an agent may take to close the session after its end.
const settle = 5 * time.Second

// requests asks the agent what the client asks, until the client closes the channel.
func (s *bridgeSession) requests(ctx context.Context, reqs <-chan *ssh.Request) {
	var flows sync.WaitGroup
	defer flows.Wait()
	for r := range reqs {
		s.order.Lock()
		ok := s.request(ctx, r)
		if r.WantReply {
			_ = r.Reply(ok, nil) // the channel is gone then
		}
		if starts(r.Type) {
			s.release()
		}
		s.order.Unlock()
		if ok && starts(r.Type) {
			flows.Go(func() {
				_, _ = io.Copy(s.remote, s.client) // either end left
				_ = s.remote.CloseWrite()
			})
		}
	}
	s.release()
	if !s.exited.Load() {
		s.remote.Close() // a hang-up
		return
	}
	// The agent has yet to say what belongs into the recording.
	t := time.AfterFunc(settle, func() { s.remote.Close() })
	defer t.Stop()
	flows.Wait()
}

func starts(request string) bool {
	return request == "shell" || request == "exec" || request == "subsystem"
}

// release lets the agent's words through.
func (s *bridgeSession) release() { s.once.Do(func() { close(s.answered) }) }

// request passes one request on, and begins the recording with what starts.
func (s *bridgeSession) request(ctx context.Context, r *ssh.Request) bool {
	job, ok := s.read(ctx, r)
	if !ok {
		return false
	}
	// A command may act as soon as it runs, so that its recording begins before
	// it. A transfer waits for the client's first word.
	if r.Type == "shell" || r.Type == "exec" {
		if err := s.begin(ctx, job, false); err != nil {
			s.say(fault.Message(err) + "\r\n")
			return false
		}
	}
	if granted, err := s.remote.SendRequest(r.Type, r.WantReply || starts(r.Type), r.Payload); err != nil || !granted && (r.WantReply || starts(r.Type)) {
		return false
	}
	switch r.Type {
	case "subsystem":
		if err := s.begin(ctx, "", true); err != nil {
			s.say(fault.Message(err) + "\r\n")
			s.remote.Close()
			return false
		}
	case "window-change":
		var size struct{ Columns, Rows, Width, Height uint32 }
		if rec, _ := s.recording(); rec != nil && ssh.Unmarshal(r.Payload, &size) == nil {
			return s.recorded(rec.Resize(int(min(size.Columns, maxSize)), int(min(size.Rows, maxSize))))
		}
	}
	s.started = s.started || starts(r.Type)
	return true
}

// read takes from a request what is needed here; job is the command of an exec or
// the name of a subsystem. What is malformed, or not on the list, goes no further.
func (s *bridgeSession) read(ctx context.Context, r *ssh.Request) (job string, ok bool) {
	kind, name := "request", r.Type
	var m struct{ Text string }
	switch r.Type {
	case "exec", "subsystem":
		if ssh.Unmarshal(r.Payload, &m) != nil {
			return "", false
		}
		if r.Type == "subsystem" {
			kind, name = r.Type, m.Text
		}
	case "pty-req":
		if ssh.Unmarshal(r.Payload, &s.term) != nil {
			return "", false
		}
	}
	if s.started && starts(r.Type) {
		return "", false // a session runs one thing
	}
	return m.Text, s.c.srv.Allowed(ctx, s.c.peer, kind, name) == nil
}

// begin makes the recorder take its place.
func (s *bridgeSession) begin(ctx context.Context, command string, files bool) error {
	if rec, _ := s.recording(); rec != nil {
		return nil // the agent refused what was asked before
	}
	c, now := s.c, s.c.cfg.Now()
	d := c.decide(access.ActionLogin, now, false) // says how strict the recording is
	if err := denied(d.decision); err != nil {
		c.refused(access.ActionLogin, d, err)
		return err
	}
	n, id := c.in.Node, c.peer.Identity
	rec, err := c.cfg.Recorder.Start(ctx, recorder.Info{SessionID: s.id, Kind: "ssh", User: id.Name, Login: c.peer.Login, HostID: n.Name(),
		Hostname: n.Spec.Hostname, Identity: id, Start: now, Command: command,
		Term: s.term.Term, Columns: int(min(s.term.Columns, maxSize)), Rows: int(min(s.term.Rows, maxSize)), Strict: d.decision.Limits.StrictRecording})
	if err != nil {
		err = fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so it does not start")
		c.refused(access.ActionLogin, d, err)
		return err
	}
	s.mu.Lock()
	s.rec, s.files = rec, files
	s.mu.Unlock()
	return nil
}

func (s *bridgeSession) recording() (rec recorder.Recording, files bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec, s.files
}

// recorded ends a session that cannot be recorded, and says why.
func (s *bridgeSession) recorded(err error) bool {
	if err == nil {
		return true
	}
	if s.unrecorded.CompareAndSwap(false, true) {
		s.c.cfg.Log.Error("session ended, as it could not be recorded", "session", s.id, "error", err)
		s.say("\r\nThe session ends: " + fault.Message(err) + "\r\n")
	}
	s.remote.Close() // which hangs up at the agent
	return false
}

// answers shows what the agent shows and passes on how it ended, until the agent
// closes the channel.
func (s *bridgeSession) answers(reqs <-chan *ssh.Request) {
	var shown sync.WaitGroup
	shown.Go(func() { s.show(recorder.Output, s.client, s.remote) })
	shown.Go(func() { s.show(recorder.Errors, s.client.Stderr(), s.remote.Stderr()) })
	var all sync.WaitGroup
	all.Go(func() {
		shown.Wait()
		s.words.Lock()
		defer s.words.Unlock()
		_ = s.client.CloseWrite() // the client is gone then
	})
	for r := range reqs {
		ok := false
		switch r.Type {
		case "exit-status", "exit-signal":
			s.exited.Store(true)
			_, err := s.client.SendRequest(r.Type, false, r.Payload)
			ok = err == nil
		case sshserver.RecordedEvent:
			ok = s.event(r.Payload)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // the agent is gone then
		}
	}
	s.order.Lock() // what ended at once is not over before the client has its answer
	s.release()
	s.order.Unlock()
	all.Wait()
}

// event puts what the agent has told the log into the recording.
func (s *bridgeSession) event(text []byte) bool {
	rec, _ := s.recording()
	if rec == nil || len(text) > sshserver.MaxRecordedEvent {
		return false
	}
	return s.recorded(rec.Event(text))
}

// refusalMost bounds what an agent says of a session that does not start.
const refusalMost = 4 << 10

// show copies one stream past the recorder. Nothing comes before it is known what
// starts; where nothing does, the agent may say why.
func (s *bridgeSession) show(stream recorder.Stream, to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	said := 0
	for {
		n, err := from.Read(buf)
		if n > 0 {
			<-s.answered
			rec, files := s.recording()
			switch {
			case rec == nil:
				if said += n; stream != recorder.Errors || said > refusalMost {
					s.remote.Close()
					return
				}
			case !files:
				if !s.recorded(rec.Show(stream, buf[:n])) {
					return
				}
			}
			if _, err := to.Write(buf[:n]); err != nil {
				_, _ = io.Copy(io.Discard, from) // until the agent hears of it
				return
			}
		}
		if err != nil && n == 0 { // an agent that has left is read to the end
			return
		}
	}
}

func (s *bridgeSession) say(line string) {
	s.words.Lock()
	defer s.words.Unlock()
	_, _ = io.WriteString(s.client.Stderr(), line) // the client is gone then
}

// finish ends the recording; what was taken is safe then.
func (s *bridgeSession) finish() {
	rec, _ := s.recording()
	if rec == nil {
		return
	}
	if err := rec.Close(); err != nil {
		s.c.cfg.Log.Error("recording did not end well", "session", s.id, "error", err)
	}
}

// serveJoin passes a party's seat on: the session is recorded where its owner
// comes through, and what the party sees is that.
func (c *bridge) serveJoin(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	remote, fromRemote, err := sshserver.OpenChannel(ctx, c.remote.Conn(), nc.ChannelType(), nc.ExtraData())
	if err != nil {
		refuse(nc, err)
		return
	}
	defer remote.Close()
	client, fromClient, err := nc.Accept()
	if err != nil {
		go ssh.DiscardRequests(fromRemote)
		return
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); remote.Close() })
	defer stop()
	var all sync.WaitGroup
	all.Go(func() {
		_, _ = io.Copy(remote, client) // either end left
		_ = remote.CloseWrite()
	})
	all.Go(func() {
		ssh.DiscardRequests(fromClient)
		remote.Close() // the party has left
	})
	var shown sync.WaitGroup
	shown.Go(func() { _, _ = io.Copy(client, remote) })                   // either end left
	shown.Go(func() { _, _ = io.Copy(client.Stderr(), remote.Stderr()) }) // either end left
	for r := range fromRemote {
		ok := r.Type == "exit-status" || r.Type == "window-change"
		if ok {
			_, _ = client.SendRequest(r.Type, false, r.Payload) // the party is gone then
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // the agent is gone then
		}
	}
	shown.Wait()
	client.Close()
	all.Wait()
}
