package generation

import (
	"time"

	"golang.org/x/sys/unix"
)

// sibling is a process that we started and that our parent will wait for. The
// descriptor names it beyond the life of its number.
type sibling struct {
	pid int
	fd  int // -1 when the kernel gives none: it has ended already
}

func newSibling(pid int) *sibling {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return &sibling{pid, fd}
}

// endTimeout is how long a killed process may take to let go of its files.
const endTimeout = 10 * time.Second

// end kills a process that failed and returns when it has let go of its files,
// the store's lock among them.
func (s *sibling) end() {
	if s.fd < 0 {
		return
	}
	_ = unix.PidfdSendSignal(s.fd, unix.SIGKILL, nil, 0) // it may have ended by itself
	deadline := time.Now().Add(endTimeout)
	for left := endTimeout; left > 0; left = time.Until(deadline) {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if err != unix.EINTR {
			return
		}
	}
}

func (s *sibling) release() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}
