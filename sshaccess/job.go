package sshaccess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/pty"
	"teleport/sshaccess/spawn"
	"teleport/types/event"
)

// job is what a channel runs.
type job struct {
	kind    string // shell, exec, subsystem
	name    string // of the subsystem
	command string
}

// begin does all that must be done before the first byte: the recorder takes
// its place and session.start is in the spool.
func (s *channel) begin(ctx context.Context, j job) error {
	if isSCP(j.command) {
		if err := s.cn.mayCopy(s.id, j.command); err != nil {
			return err
		}
	}
	s.start = time.Now()
	d := s.cn.decide(access.ActionLogin, s.start)
	info := recorder.Info{SessionID: s.id, Kind: "ssh", User: s.cn.peer.Identity.Name, Login: s.cn.peer.Login,
		HostID: s.cn.svc.cfg.HostID, Hostname: s.cn.svc.cfg.Hostname, Identity: s.cn.peer.Identity, Start: s.start,
		Command: j.command, Strict: d.decision.Limits.StrictRecording}
	size := ""
	if s.ask != nil {
		info.Term, info.Columns, info.Rows = s.ask.Term, int(s.ask.Columns), int(s.ask.Rows)
		size = sizeText(s.ask.Columns, s.ask.Rows)
	}
	rec, err := s.recorder().Start(ctx, info)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so it does not start")
	}
	err = s.cn.emit(&event.SessionStart{
		User: s.cn.who(), Session: s.cn.sessionOf(s.id), Server: s.cn.host(), Connection: s.cn.wire(),
		Size: size, Command: j.command, Recording: rec.Mode(), Decision: d.event(),
		Gateway: s.cn.gateway(),
	}, event.TypeSessionStart, event.CodeSessionStart)
	if err != nil {
		rec.Close() //nolint:errcheck // nothing was recorded
		return err
	}
	s.rec = rec
	if err := s.share(j, d); err != nil {
		s.finish(j, "error", err)
		return err
	}
	s.cn.mu.Lock()
	s.cn.sessions[s] = struct{}{}
	s.cn.mu.Unlock()
	return nil
}

// run is the job from start to end; it leaves the channel closed.
func (s *channel) run(ctx context.Context, j job) {
	var err error
	switch {
	case j.kind == "subsystem":
		err = s.serveSFTP(ctx)
	case s.ask != nil:
		err = s.runTerminal(ctx, j)
	default:
		err = s.runPipes(ctx, j)
	}
	reason := "exit"
	if err != nil {
		if s.cutFor() != "" {
			s.say("\r\n") // after what was said while it waited
		}
		s.say(fault.Message(err) + "\r\n")
		s.exit(spawn.Status{Code: exitNotFound})
		reason = "error"
	}
	if why := s.cutFor(); why != "" {
		reason = why
	}
	s.finish(j, reason, err)
	s.leave() // whoever sees the end may have the next session
	s.ch.Close()
}

func (s *channel) finish(j job, reason string, err error) {
	s.resized.close()
	s.unshare()
	s.tell(j, err)
	if cerr := s.rec.Close(); cerr != nil {
		s.cn.svc.cfg.Log.Error("recording did not end well", "session", s.id, "error", cerr)
	}
	s.cn.mu.Lock()
	delete(s.cn.sessions, s)
	s.cn.mu.Unlock()
	who, sid, host, wire := s.cn.who(), s.cn.sessionOf(s.id), s.cn.host(), s.cn.wire()
	s.cn.note(&event.SessionData{User: who, Session: sid, Server: host, Connection: wire,
		BytesTransmitted: s.sent.Load(), BytesReceived: s.received.Load()}, event.TypeSessionData, event.CodeSessionData)
	s.cn.note(&event.SessionEnd{User: who, Session: sid, Server: host, Connection: wire, Start: s.start, Stop: time.Now(),
		Participants: s.present(), Interactive: s.ask != nil,
		Recording: s.rec.Mode(),
		Reason:    s.endedBy(reason)}, event.TypeSessionEnd, event.CodeSessionEnd)
}

// tell emits the event of the command, copy or subsystem that has ended.
func (s *channel) tell(j job, err error) {
	who, sid, host, wire := s.cn.who(), s.cn.sessionOf(s.id), s.cn.host(), s.cn.wire()
	cmd := event.Command{Command: j.command, ExitCode: strconv.Itoa(s.status.Code)}
	code := event.CodeExec
	if err != nil {
		cmd.ExitCode, cmd.ExitError, code = "", fault.Message(err), event.CodeExecFail
	} else if s.status.Signal != 0 {
		cmd.ExitError = "killed by " + signalName(s.status.Signal)
	}
	switch {
	case j.kind == "subsystem":
		e := &event.Subsystem{User: who, Session: sid, Server: host, Connection: wire, Name: j.name, ExitError: cmd.ExitError}
		typed := event.CodeSubsystem
		if err != nil {
			typed = event.CodeSubsystemFail
		}
		s.cn.note(e, event.TypeSubsystem, typed)
	case j.kind == "exec":
		s.cn.note(&event.Exec{User: who, Session: sid, Server: host, Connection: wire, Command: cmd}, event.TypeExec, code)
		if isSCP(j.command) {
			s.tellSCP(j.command, cmd, err == nil && s.status.Code == 0)
		}
	}
}

// spec is the process of a shell or command, without its descriptors.
func (s *channel) spec(ctx context.Context, j job) spawn.Spec {
	d := s.cn.svc.cfg.Accounts.Defaults()
	return spawn.Spec{Account: s.cn.acct, Command: j.command, Umask: d.Umask, Env: s.environment(ctx, d)}
}

func (s *channel) runTerminal(ctx context.Context, j job) error {
	term, err := pty.Open(*s.ask, s.cn.acct.UID, s.cn.acct.GID, s.cn.svc.cfg.Accounts.TTYGroup())
	if err != nil {
		return err
	}
	defer term.Master.Close()
	s.mu.Lock()
	s.term = term
	s.mu.Unlock()
	waits := !s.shared.Running()
	typed := func() { s.input(keyboard{s, term.Master}, func() {}) } // a terminal has no end of file of its own
	if waits {
		go typed() // who waits can give up
	}
	if err := s.shared.Await(ctx); err != nil {
		term.Slave.Close()
		return err
	}
	spec := s.spec(ctx, j)
	spec.Stdin, spec.Stdout, spec.Stderr, spec.TTY = term.Slave, term.Slave, term.Slave, true
	err = s.startProcess(spec)
	term.Slave.Close()
	if err != nil {
		return err
	}
	if !waits {
		go typed()
	}
	var out sync.WaitGroup
	out.Add(1)
	go func() {
		defer out.Done()
		s.show(ctx, recorder.Output, term.Master, s.ch)
	}()
	s.reap()
	s.outlive()
	out.Wait() // the terminal hangs up with its session's leader
	s.tellAll()
	s.sayNoMore()
	s.exit(s.status)
	return nil
}

func (s *channel) runPipes(ctx context.Context, j job) error {
	if err := s.shared.Await(ctx); err != nil {
		return err
	}
	p, err := newPipes()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the host has no descriptors to give")
	}
	defer p.closeOurs()
	spec := s.spec(ctx, j)
	spec.Stdin, spec.Stdout, spec.Stderr = p.theirs[0], p.theirs[1], p.theirs[2]
	err = s.startProcess(spec)
	p.closeTheirs()
	if err != nil {
		return err
	}
	go s.input(gate{ctx, s, p.ours[0]}, func() { p.ours[0].Close() })
	var out sync.WaitGroup
	out.Add(2)
	go func() { defer out.Done(); s.show(ctx, recorder.Output, p.ours[1], s.ch) }()
	go func() { defer out.Done(); s.show(ctx, recorder.Errors, p.ours[2], s.ch.Stderr()) }()
	s.reap()
	s.outlive()
	// What the command left running may still write; like any SSH server, the
	// channel stays for it until the client or the connection ends.
	s.exit(s.status)
	flushed := make(chan struct{})
	go func() { out.Wait(); close(flushed) }()
	select {
	case <-flushed:
	case <-ctx.Done():
		p.closeOurs()
		<-flushed
	}
	s.tellAll()
	s.sayNoMore()
	return nil
}

func (s *channel) startProcess(spec spawn.Spec) error {
	p, err := spawn.Start(spec)
	s.mu.Lock()
	s.proc = p
	term, cut, left := s.term, s.cut, s.left
	s.mu.Unlock()
	if err != nil {
		return cmp.Or(cut, err) // a terminal that was hung up starts nothing
	}
	if p.HomeMissing {
		s.say(fmt.Sprintf("Could not enter home directory %s, so this is /\r\n", clean(spec.Account.Home)))
	}
	if cut != nil { // while it started
		s.tellCut(cut)
	}
	if cut != nil || left {
		putDown(p, term)
	}
	return nil
}

func (s *channel) reap() {
	st, err := s.proc.Wait()
	if err != nil {
		s.cn.svc.cfg.Log.Error("process could not be waited for", "session", s.id, "error", err)
	}
	s.status = st
}

// Each read from a channel may answer with a window message, so much input is
// taken in large pieces; who types needs only a small buffer.
const (
	inputChunk = 4 << 10
	inputMost  = 256 << 10
)

// input copies what the client types or sends; eof ends it on the other side.
func (s *channel) input(w io.Writer, eof func()) {
	buf := make([]byte, inputChunk)
	for {
		n, err := s.ch.Read(buf)
		if n > 0 {
			s.cn.live.Touch()
			s.received.Add(uint64(n))
			if _, werr := w.Write(buf[:n]); werr != nil {
				io.Copy(io.Discard, s.ch) //nolint:errcheck // a program that stopped reading must not stop the window
				return
			}
			if n == len(buf) && n < inputMost {
				buf = make([]byte, 2*n)
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				eof()
			}
			return
		}
	}
}

// show copies output, through the recorder first. What could not be recorded is
// not shown, and ends the session. What comes while the session pauses is
// recorded at once, and shown when it goes on.
func (s *channel) show(ctx context.Context, stream recorder.Stream, r io.Reader, w io.Writer) {
	next, stop := s.pieces(r)
	defer stop()
	out := &stage{ctx: ctx, s: s, w: w}
	defer out.drain()
	for {
		p, err := next()
		if len(p) > 0 {
			s.cn.live.Touch()
			if !s.recorded(stream, p) {
				return
			}
			if _, werr := out.Write(p); werr != nil {
				for err == nil && s.shared.State() != session.StateTerminated { // until the hang-up reaches the program
					_, err = next()
				}
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// exit sends how the process ended (RFC 4254 §6.10).
func (s *channel) exit(st spawn.Status) {
	if st.Signal != 0 {
		s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct { //nolint:errcheck // the client is gone then
			Signal string
			Core   bool
			Text   string
			Lang   string
		}{signalName(st.Signal), st.Core, "", ""}))
		return
	}
	s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(st.Code)})) //nolint:errcheck // the client is gone then
}

func signalName(sig syscall.Signal) string {
	for name, x := range signals {
		if x == sig {
			return name
		}
	}
	return fmt.Sprintf("%d@teleport", int(sig))
}

func sizeText(columns, rows uint32) string { return fmt.Sprintf("%d:%d", columns, rows) }

// pipes are the descriptors of a process without a terminal.
type pipes struct {
	ours, theirs [3]*os.File
	once         sync.Once
}

func newPipes() (*pipes, error) {
	p := &pipes{}
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			p.closeTheirs()
			p.closeOurs()
			return nil, err
		}
		p.ours[i], p.theirs[i] = r, w
		if i == 0 {
			p.ours[i], p.theirs[i] = w, r
		}
	}
	return p, nil
}

func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		f.Close()
	}
}

func (p *pipes) closeOurs() {
	p.once.Do(func() {
		for _, f := range p.ours {
			f.Close()
		}
	})
}

// clean makes a string of the client's safe to show in one line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s[:min(len(s), 256)])
}
