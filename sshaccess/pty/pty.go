// Package pty opens terminals for sessions: the request's size and modes
// (RFC 4254 §6.2 and §8) applied, the user's end owned by the user.
package pty

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"teleport/fault"
)

// Request is a parsed pty-req.
type Request struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32 // pixels
	Modes         []byte // encoded, RFC 4254 §8
}

// Size is a parsed window-change.
type Size struct {
	Columns, Rows, Width, Height uint32
}

const (
	termMost  = 64
	sideMost  = 4096
	modesMost = 1024
)

// ParseRequest reads the payload of pty-req. The terminal's name is limited to
// what terminfo names consist of, as it goes into the environment.
func ParseRequest(payload []byte) (Request, error) {
	var m struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return Request{}, fault.Wrap(err, fault.Invalid, "malformed pty-req")
	}
	if len(m.Term) > termMost || len(m.Modes) > modesMost || !termName(m.Term) {
		return Request{}, fault.New(fault.Invalid, "malformed pty-req")
	}
	r := Request{Term: m.Term, Columns: clamp(m.Columns), Rows: clamp(m.Rows), Width: m.Width & 0xffff, Height: m.Height & 0xffff, Modes: []byte(m.Modes)}
	return r, nil
}

// ParseSize reads the payload of window-change.
func ParseSize(payload []byte) (Size, error) {
	var s Size
	if err := ssh.Unmarshal(payload, &s); err != nil {
		return Size{}, fault.Wrap(err, fault.Invalid, "malformed window-change")
	}
	return Size{clamp(s.Columns), clamp(s.Rows), s.Width & 0xffff, s.Height & 0xffff}, nil
}

func clamp(n uint32) uint32 { return min(n, sideMost) }

func termName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '+') {
			return false
		}
	}
	return true
}

// Terminal is an open pair. Master stays here; the process gets Slave, which is
// closed here once it has started.
type Terminal struct {
	Master, Slave *os.File
	Name          string // of the slave, /dev/pts/N
}

// Open makes a terminal that belongs to uid, with the group that may write to
// terminals where the host has one (ttyGID), else gid.
func Open(r Request, uid, gid uint32, ttyGID int) (*Terminal, error) {
	t, err := openPair()
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the host has no terminal to give")
	}
	if err := t.prepare(r, uid, gid, ttyGID); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// openPair opens a pair of pty(7). The master does not block, so that a session in
// which nothing happens holds no thread, and one in which a key is pressed is woken
// by the poller. The slave is as a program expects it.
func openPair() (*Terminal, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	m := os.NewFile(uintptr(fd), "/dev/ptmx")
	name, err := slaveOf(fd)
	if err != nil {
		m.Close()
		return nil, err
	}
	s, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &Terminal{Master: m, Slave: os.NewFile(uintptr(s), name), Name: name}, nil
}

// slaveOf unlocks a master's other end and returns its path.
func slaveOf(master int) (string, error) {
	n, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return "", os.NewSyscallError("TIOCGPTN", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return "", os.NewSyscallError("TIOCSPTLCK", err)
	}
	return "/dev/pts/" + strconv.FormatUint(uint64(n), 10), nil
}

func (t *Terminal) prepare(r Request, uid, gid uint32, ttyGID int) error {
	group, mode := int(gid), os.FileMode(0o600)
	if ttyGID >= 0 {
		group, mode = ttyGID, 0o620
	}
	if os.Geteuid() == 0 {
		// On the descriptor, so that no path is walked.
		if err := t.Slave.Chown(int(uid), group); err != nil {
			return fmt.Errorf("give the terminal to the user: %w", err)
		}
		if err := t.Slave.Chmod(mode); err != nil {
			return fmt.Errorf("set the terminal's mode: %w", err)
		}
	}
	if err := applyModes(t.Slave, r.Modes); err != nil {
		return err
	}
	return t.Resize(Size{r.Columns, r.Rows, r.Width, r.Height})
}

// Resize sets the window's size, and with it SIGWINCH.
func (t *Terminal) Resize(s Size) error {
	return control(t.Master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(s.Rows), Col: uint16(s.Columns), Xpixel: uint16(s.Width), Ypixel: uint16(s.Height)})
	})
}

// control runs f with the descriptor of a file as it is; File.Fd would have it
// block.
func control(file *os.File, f func(fd int) error) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Close closes both ends.
func (t *Terminal) Close() {
	t.Slave.Close()
	t.Master.Close()
}

// applyModes sets what the client's own terminal has. Unknown opcodes are
// skipped, as RFC 4254 says.
func applyModes(f *os.File, modes []byte) error {
	if len(modes) == 0 {
		return nil
	}
	err := control(f, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		setModes(t, modes)
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
	if err != nil {
		return fmt.Errorf("set terminal modes: %w", err)
	}
	return nil
}

func setModes(t *unix.Termios, modes []byte) {
	for len(modes) >= 5 {
		op, v := modes[0], binary.BigEndian.Uint32(modes[1:])
		if op == 0 || op >= 160 {
			return
		}
		modes = modes[5:]
		if i, ok := controlChars[op]; ok {
			t.Cc[i] = byte(v)
			continue
		}
		if m, ok := flags[op]; ok {
			p := m.field(t)
			*p &^= m.bit
			if v != 0 {
				*p |= m.bit
			}
			continue
		}
		switch {
		case op == 90 && v != 0:
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS7
		case op == 91 && v != 0:
			t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
		}
	}
}
