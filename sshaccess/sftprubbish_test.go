package sshaccess_test

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

func sftpPacket(kind byte, body ...[]byte) []byte {
	b := []byte{0, 0, 0, 0, kind}
	for _, x := range body {
		b = append(b, x...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func sftpString(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// What the log cannot read must not reach the disk: rubbish on the subsystem
// ends the session, and nothing behind it is done.
func TestRubbishOnSFTPEndsTheSession(t *testing.T) {
	w := newWorld(t)
	_, key := w.user("alice", "root")
	dir := t.TempDir()
	id := binary.BigEndian.AppendUint32(nil, 7)
	mkdir := sftpPacket(14, id, sftpString(filepath.Join(dir, "made")), binary.BigEndian.AppendUint32(nil, 0))
	for name, rubbish := range map[string][]byte{
		"a string longer than its packet": sftpPacket(13, id, binary.BigEndian.AppendUint32(nil, 1<<20)),
		"a packet of no type":             {0, 0, 0, 0},
		"a packet too large":              {0xff, 0xff, 0xff, 0xff, 13},
		"an id that is in use":            sftpPacket(11, id, sftpString(dir)),
		"a request of no known type":      sftpPacket(99, id),
	} {
		t.Run(name, func(t *testing.T) {
			c := w.mustClient("root", key)
			defer c.Close()
			ch, reqs, err := c.Conn().OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			go ssh.DiscardRequests(reqs)
			if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); err != nil || !ok {
				t.Fatalf("sftp: %v, %v", ok, err)
			}
			if _, err := ch.Write(sftpPacket(1, []byte{0, 0, 0, 3})); err != nil {
				t.Fatal(err)
			}
			if _, err := ch.Write(append(rubbish, mkdir...)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, ch); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
				t.Error("a request behind the rubbish was done")
			}
		})
	}
}
