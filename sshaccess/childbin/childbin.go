// Package childbin carries the teleport-userchild program inside the teleport
// binary and makes it executable without a file on disk. The build compiles the
// program for the target first (make userchild) and this package embeds it; a
// build without it works but serves neither files nor forwarding, and says so.
package childbin

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"

	"golang.org/x/sys/unix"

	"teleport/fault"
)

//go:embed all:bin
var embedded embed.FS

// Binary is the program, held open.
type Binary struct{ f *os.File }

// Open returns the embedded program of this architecture.
func Open() (*Binary, error) {
	b, err := fs.ReadFile(embedded, path.Join("bin", "userchild_"+runtime.GOARCH))
	if err != nil {
		return nil, fault.New(fault.Unimplemented, "this build carries no helper for file transfer and forwarding").
			WithHint("build with make, which compiles cmd/teleport-userchild first")
	}
	return fromBytes(b)
}

// Load takes the program from a file, for tests and development.
func Load(name string) (*Binary, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return nil, err
	}
	return fromBytes(b)
}

// fromBytes puts the program into sealed memory that users may execute but not
// read: a process that runs an unreadable file cannot be traced by its own user.
func fromBytes(b []byte) (*Binary, error) {
	fd, err := unix.MemfdCreate("teleport-userchild", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory for the user's helper: %w", err)
	}
	w := os.NewFile(uintptr(fd), "teleport-userchild")
	defer w.Close()
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("memory for the user's helper: %w", err)
	}
	if err := w.Chmod(0o711); err != nil {
		return nil, fmt.Errorf("mode of the user's helper: %w", err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(w.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal the user's helper: %w", err)
	}
	// A file that is open for writing cannot be executed.
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		return nil, fmt.Errorf("reopen the user's helper: %w", err)
	}
	return &Binary{f: r}, nil
}

// Path names the program for a child of this process, until Close.
func (b *Binary) Path() string { return fmt.Sprintf("/proc/self/fd/%d", b.f.Fd()) }

// Close lets the program go. Children that run keep running.
func (b *Binary) Close() error { return b.f.Close() }
