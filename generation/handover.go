package generation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"teleport/fault"
)

// Handover is where the generations of one host find each other, so that the
// newest can pass on what an older one still holds: a directory that only the
// owner may enter, with a Unix socket for each generation, named by its number.
// Both ends of a connection have made sure that the other runs as the same user.
type Handover struct {
	dir    string
	number uint64
}

// NewHandover names the directory, which lies in the data directory, and this
// process's own number. It touches nothing.
func NewHandover(dataDir string, number uint64) *Handover {
	return &Handover{filepath.Join(dataDir, "handover"), number}
}

// maxGenerations bounds how many other generations are asked.
const maxGenerations = 16

const socketSuffix = ".sock"

// Listen opens this generation's socket. The listener refuses connections of
// other users, and its Close removes the socket.
func (h *Handover) Listen(ctx context.Context) (net.Listener, error) {
	if err := os.Mkdir(h.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fault.Unwritable(err, h.dir)
	}
	dir, err := h.open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := strconv.FormatUint(h.number, 10) + socketSuffix
	if err := os.Remove(filepath.Join(h.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Unwritable(err, h.dir)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", short(dir, name))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot listen in %s", h.dir)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // the short name is good for a moment only
	return &ownListener{ln, filepath.Join(h.dir, name)}, nil
}

// open opens the directory and refuses one that others may enter.
func (h *Handover) open() (*os.File, error) {
	fd, err := unix.Open(h.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fault.Unreadable(&os.PathError{Op: "open", Path: h.dir, Err: err}, h.dir)
	}
	dir := os.NewFile(uintptr(fd), h.dir)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		dir.Close()
		return nil, fault.New(fault.Denied, "the directory %s must belong to this user, and no other may enter it", h.dir).
			WithHint("Remove it and start again.")
	}
	return dir, nil
}

// short names a socket of the directory within the 107 bytes that a socket's
// address has room for, however long the path of the data directory is.
func short(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

type ownListener struct {
	net.Listener
	path string
}

// Accept returns the next connection of this very user.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if sameUser(c) {
			return c, nil
		}
		c.Close()
	}
}

// Close ends the listening and removes the socket.
func (l *ownListener) Close() error {
	err := l.Listener.Close()
	if rerr := os.Remove(l.path); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// sameUser asks the kernel who is at the other end.
func sameUser(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && credErr == nil && int(cred.Uid) == os.Geteuid()
}

// dialTimeout bounds the connecting to another generation.
const dialTimeout = 2 * time.Second

// Others calls try with a connection to each other generation, the newest first,
// until try takes one. The connection is try's. A socket that nobody listens on
// is left by a generation that was killed, and removed.
func (h *Handover) Others(ctx context.Context, try func(net.Conn) (taken bool)) error {
	dir, err := h.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, n := range h.numbers(dir) {
		name := strconv.FormatUint(n, 10) + socketSuffix
		d := net.Dialer{Timeout: dialTimeout}
		c, err := d.DialContext(ctx, "unix", short(dir, name))
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			_ = os.Remove(filepath.Join(h.dir, name)) // it will be tried again
			continue
		case err != nil:
			continue
		case !sameUser(c):
			c.Close()
			continue
		}
		if try(c) {
			return nil
		}
	}
	return fault.New(fault.NotFound, "no other process of this agent has it")
}

// numbers lists the other generations, the newest first.
func (h *Handover) numbers(dir *os.File) []uint64 {
	names, err := dir.Readdirnames(0)
	if err != nil {
		return nil
	}
	var list []uint64
	for _, name := range names {
		text, ok := strings.CutSuffix(name, socketSuffix)
		n, err := strconv.ParseUint(text, 10, 64)
		if ok && err == nil && n != h.number {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	slices.Reverse(list)
	return list[:min(len(list), maxGenerations)]
}
