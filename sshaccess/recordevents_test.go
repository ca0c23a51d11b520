package sshaccess_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"teleport/recfmt"
	"teleport/sshclient"
)

// recordedEvents is the text of all events in a recording.
func recordedEvents(rs []recfmt.Record) (text string) {
	for _, r := range rs {
		if r.Type == recfmt.RecordEvent {
			text += string(r.Data) + "\n"
		}
	}
	return text
}

// An SFTP session is recorded as what was done to files, not as their contents.
func TestSFTPIsRecorded(t *testing.T) {
	w, auth, key := recorded(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	ch, reqs, err := c.Conn().OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); err != nil || !ok {
		t.Fatalf("sftp: %v, %v", ok, err)
	}
	made := filepath.Join(t.TempDir(), "made")
	request := append(sftpPacket(1, []byte{0, 0, 0, 3}), sftpPacket(14, []byte{0, 0, 0, 7}, sftpString(made), make([]byte, 4))...)
	if _, err := ch.Write(request); err != nil {
		t.Fatal(err)
	}
	w.log.wait(t, "sftp", "")
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, ch); err != nil {
		t.Fatal(err)
	}
	rs := recordsOf(t, w, auth, key)
	if text := recordedEvents(rs); !strings.Contains(text, made) || !strings.Contains(text, `"sftp"`) || !strings.Contains(text, `"subsystem"`) {
		t.Errorf("events: %s", text)
	}
	for _, r := range rs {
		if r.Type == recfmt.RecordOutput {
			t.Error("the protocol's bytes are recorded as output")
		}
	}
}

// What a connection forwards beside its sessions is in their recordings.
func TestForwardIsRecorded(t *testing.T) {
	w, auth, key := recorded(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in, hold := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(context.Background(), sshclient.Command{Line: "cat", Stdin: in, Stdout: io.Discard, Stderr: io.Discard})
	}()
	w.log.wait(t, "session.start", "")
	if _, err := io.WriteString(hold, "x"); err != nil { // it runs
		t.Fatal(err)
	}
	far, err := c.Dial(context.Background(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.log.wait(t, "port", "T3003I")
	defer far.Close()
	hold.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if text := recordedEvents(recordsOf(t, w, auth, key)); !strings.Contains(text, "T3003I") || !strings.Contains(text, l.Addr().String()) {
		t.Errorf("events: %s", text)
	}
}
