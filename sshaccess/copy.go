package sshaccess

import (
	"context"
	"io"
	"sync"
	"syscall"

	"teleport/access"
	"teleport/fault"
	"teleport/sshaccess/files"
	"teleport/sshaccess/userchild"
	"teleport/types/event"
)

// serveSFTP runs the user's file helper and watches what passes.
func (s *channel) serveSFTP(ctx context.Context) error {
	spec, err := s.cn.childSpec(userchild.ModeFiles)
	if err != nil {
		return err
	}
	p, err := newPipes()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the host has no descriptors to give")
	}
	defer p.closeOurs()
	spec.Stdin, spec.Stdout, spec.Stderr = p.theirs[0], p.theirs[1], p.theirs[2]
	err = s.startProcess(spec)
	p.closeTheirs()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.proc.Signal(syscall.SIGKILL) }) //nolint:errcheck // gone already is fine
	defer stop()
	w := files.NewWatch(s.tellSFTP)
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); io.Copy(io.Discard, p.ours[2]) }() //nolint:errcheck // it says nothing that we show
	go func() {
		defer wg.Done()
		defer s.sayNoMore()
		s.pump(s.ch, p.ours[1], w.FromServer, s.sent.Add)
	}()
	go func() {
		s.pump(p.ours[0], s.ch, w.FromClient, s.received.Add)
		p.ours[0].Close() // the helper ends with its input
	}()
	s.reap()
	wg.Wait()
	if err := w.End(); err != nil {
		s.cn.svc.cfg.Log.Error("the last file operations could not be recorded", "session", s.id, "error", err)
	}
	s.summarize(w.Summary())
	s.exit(s.status)
	return nil
}

// pump copies one direction; each chunk passes the watch before it passes on.
func (s *channel) pump(to io.Writer, from io.Reader, watch func([]byte) error, count func(uint64) uint64) {
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			s.cn.live.Touch()
			count(uint64(n))
			if werr := watch(buf[:n]); werr != nil {
				s.cn.svc.cfg.Log.Warn("sftp session ended: what passed could not be read or recorded", "session", s.id, "error", werr)
				s.proc.Signal(syscall.SIGKILL) //nolint:errcheck // gone already is fine
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *channel) tellSFTP(op files.Op) error {
	code := event.SFTPCode(op.Action, op.Err == "")
	return s.cn.emit(&event.SFTP{User: s.cn.who(), Session: s.cn.sessionOf(s.id), Server: s.cn.host(), Connection: s.cn.wire(),
		Action: op.Action, Path: op.Path, TargetPath: op.Target, WorkingDir: s.cn.acct.Home, Flags: op.Flags, Error: op.Err},
		event.TypeSFTP, code)
}

func (s *channel) summarize(sum files.Summary) {
	e := &event.SFTPSummary{User: s.cn.who(), Session: s.cn.sessionOf(s.id), Server: s.cn.host(), Connection: s.cn.wire()}
	for _, f := range sum.Files {
		e.Files = append(e.Files, event.SFTPFile{Path: f.Path, BytesRead: uint64(f.Read), BytesWritten: uint64(f.Written)})
	}
	s.cn.note(e, event.TypeSFTPSummary, event.CodeSFTPSummary)
}

func isSCP(command string) bool {
	_, ok := files.ParseSCP(command)
	return ok
}

// mayCopy decides on the old copy protocol like on the new.
func (cn *conn) mayCopy(sid, command string) error {
	err := denied(cn.decide(access.ActionFileCopy, cn.svc.cfg.Now()).decision)
	if err == nil {
		err = cn.switches(access.ActionFileCopy)
	}
	if err != nil {
		c, _ := files.ParseSCP(command)
		cn.note(cn.scpEvent(sid, c, event.Command{Command: command, ExitError: fault.Message(err)}), event.TypeSCP, event.CodeSCPForbidden)
	}
	return err
}

func (s *channel) tellSCP(command string, cmd event.Command, ok bool) {
	c, _ := files.ParseSCP(command)
	e := s.cn.scpEvent(s.id, c, cmd)
	e.Length = int64(s.sent.Load())
	code := map[bool]string{true: event.CodeSCPDownload, false: event.CodeSCPDownloadFail}[ok]
	if c.Upload {
		e.Length = int64(s.received.Load())
		code = map[bool]string{true: event.CodeSCPUpload, false: event.CodeSCPUploadFail}[ok]
	}
	s.cn.note(e, event.TypeSCP, code)
}

func (cn *conn) scpEvent(sid string, c files.SCP, cmd event.Command) *event.SCP {
	action := "download"
	if c.Upload {
		action = "upload"
	}
	return &event.SCP{User: cn.who(), Session: cn.sessionOf(sid), Server: cn.host(), Connection: cn.wire(), Command: cmd, Path: c.Path, Action: action}
}
