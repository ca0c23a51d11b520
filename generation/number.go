package generation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"teleport/fault"
	"teleport/wholefile"
)

func isErrno(err error, no unix.Errno) bool { return errors.Is(err, no) }

// Next takes the next generation number of the data directory: it grows with
// every start, so that tunnels, audit writers and inventory entries of two
// processes of one host are told apart.
func Next(dataDir string) (uint64, error) {
	path := filepath.Join(dataDir, "generation")
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fault.Unwritable(err, path)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "cannot lock %s", lock.Name())
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fault.Wrap(err, fault.Unavailable, "cannot read %s", path)
	}
	var n uint64
	if s := strings.TrimSpace(string(b)); s != "" {
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			return 0, fault.New(fault.Invalid, "%s does not hold a number", path).WithHint("Write a number larger than any earlier generation into it.")
		}
	}
	n++
	if err := wholefile.Write(path, fmt.Appendf(nil, "%d\n", n), 0o600); err != nil {
		return 0, fault.Unwritable(err, path)
	}
	return n, nil
}
