package terminal

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// reopened opens a terminal once more, so that waiting for a key holds no thread:
// a thread in poll(2) costs the runtime's monitor more than all that a key costs
// besides. The new description does not block, while the one that is shared with
// the shell stays as it is. It is nil for what is no terminal, or may not be
// opened, as after su.
func reopened(file *os.File) *os.File {
	fd := int(file.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	if own.SetReadDeadline(time.Time{}) != nil {
		own.Close()
		return nil
	}
	return own
}
