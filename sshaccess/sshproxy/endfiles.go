package sshproxy

import (
	"io"
	"strconv"

	"teleport/fault"
	"teleport/sshaccess/files"
	"teleport/types/event"
)

// sendFiles passes the client's half of SFTP on; the watch reads each chunk first,
// and what it cannot read or record ends the session.
func (s *endSession) sendFiles(from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if s.watch.FromClient(buf[:n]) != nil {
				s.remote.Close()
				return
			}
			if _, err := s.remote.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *endSession) tellSFTP(op files.Op) error {
	c := s.c
	return c.emit(&event.SFTP{User: c.who(), Session: event.Session{SessionID: s.id}, Server: c.host(), Connection: c.wire(),
		Action: op.Action, Path: op.Path, TargetPath: op.Target, Flags: op.Flags, Error: op.Err}, event.TypeSFTP, event.SFTPCode(op.Action, op.Err == ""))
}

// tellFiles tells what a session of SFTP has moved.
func (s *endSession) tellFiles() {
	c := s.c
	if err := s.watch.End(); err != nil {
		c.cfg.Log.Error("the last file operations could not be recorded", "session", s.id, "error", err)
	}
	e := &event.SFTPSummary{User: c.who(), Session: event.Session{SessionID: s.id}, Server: c.host(), Connection: c.wire()}
	for _, f := range s.watch.Summary().Files {
		e.Files = append(e.Files, event.SFTPFile{Path: f.Path, BytesRead: uint64(f.Read), BytesWritten: uint64(f.Written)})
	}
	c.note(e, event.TypeSFTPSummary, event.CodeSFTPSummary)
}

// mayCopy decides on the old copy protocol like on the new.
func (s *endSession) mayCopy(cp files.SCP, err error) error {
	if err != nil {
		s.c.note(s.scp(cp, event.Command{Command: s.job.command, ExitError: fault.Message(err)}), event.TypeSCP, event.CodeSCPForbidden)
	}
	return err
}

func (s *endSession) tellSCP(cp files.SCP, cmd event.Command) {
	ok := s.status.code == 0 && s.status.known
	e := s.scp(cp, cmd)
	e.Length = int64(s.sent.Load())
	code := map[bool]string{true: event.CodeSCPDownload, false: event.CodeSCPDownloadFail}[ok]
	if cp.Upload {
		e.Length = int64(s.received.Load())
		code = map[bool]string{true: event.CodeSCPUpload, false: event.CodeSCPUploadFail}[ok]
	}
	s.c.note(e, event.TypeSCP, code)
}

func (s *endSession) scp(cp files.SCP, cmd event.Command) *event.SCP {
	c := s.c
	action := "download"
	if cp.Upload {
		action = "upload"
	}
	return &event.SCP{User: c.who(), Session: event.Session{SessionID: s.id}, Server: c.host(), Connection: c.wire(), Command: cmd, Path: cp.Path, Action: action}
}

// status is how the server said that the job ended.
type status struct {
	known  bool
	code   int
	signal string
}

func (t status) command(text string) event.Command {
	cmd := event.Command{Command: text}
	switch {
	case t.signal != "":
		cmd.ExitError = "killed by " + t.signal
	case t.known:
		cmd.ExitCode = strconv.Itoa(t.code)
	}
	return cmd
}
