package pty_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"teleport/sshaccess/pty"
)

func request(term string, modes ...byte) []byte {
	return ssh.Marshal(struct {
		Term       string
		C, R, W, H uint32
		Modes      string
	}{term, 80, 1 << 31, 7, 9, string(modes)})
}

func TestOpen(t *testing.T) {
	// ECHO off, CS7 (which pseudo-terminals ignore), VINTR 5, an unknown opcode, the end.
	r, err := pty.ParseRequest(request("xterm-256color", 53, 0, 0, 0, 0, 90, 0, 0, 0, 1, 1, 0, 0, 0, 5, 159, 1, 1, 1, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	term, err := pty.Open(r, 65534, 65534, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	m, err := unix.IoctlGetTermios(int(term.Slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if m.Lflag&unix.ECHO != 0 || m.Cc[unix.VINTR] != 5 {
		t.Errorf("modes %+v", m)
	}
	if err := term.Resize(pty.Size{Columns: 132, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	z, err := unix.IoctlGetWinsize(int(term.Slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || z.Col != 132 || z.Row != 50 {
		t.Errorf("%+v %v", z, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(term.Name, &st); err != nil || st.Uid != 65534 || st.Gid != 5 || st.Mode&0o777 != 0o620 {
		t.Errorf("%+v %v", st, err)
	}
}

func TestParseRequestRefuses(t *testing.T) {
	for _, term := range []string{"x\nLD_PRELOAD=y", "a b", "../../x", string(make([]byte, 100))} {
		if _, err := pty.ParseRequest(request(term)); err == nil {
			t.Errorf("%q was taken", term)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(request("xterm", 53, 0, 0, 0, 1, 0))
	f.Add(ssh.Marshal(pty.Size{Columns: 1, Rows: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := pty.ParseRequest(b); err == nil && (r.Columns > 4096 || r.Rows > 4096) {
			t.Errorf("%+v", r)
		}
		if s, err := pty.ParseSize(b); err == nil && s.Columns > 4096 {
			t.Errorf("%+v", s)
		}
	})
}

// A master that blocks would hold a thread for each session, and a deadline says
// which it is.
func TestMasterIsPolled(t *testing.T) {
	r, err := pty.ParseRequest(request("xterm"))
	if err != nil {
		t.Fatal(err)
	}
	term, err := pty.Open(r, 65534, 65534, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	if err := term.Resize(pty.Size{Columns: 80, Rows: 25}); err != nil {
		t.Fatal(err)
	}
	if err := term.Master.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := term.Master.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
