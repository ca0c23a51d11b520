package terminal

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Input reads a stream whose reading can be ended from outside: a file is
// polled together with a pipe, so that no byte is taken that belongs to whoever
// reads the terminal next. It has one reader.
type Input struct {
	src  io.Reader
	own  *os.File // src opened anew, where that is a terminal and the runtime can wait for it
	file *os.File // src, when it can be polled
	r, w *os.File // the pipe that wakes the reader
	fds  [2]int32 // of file and r: to ask for them each time costs a call of the system

	mu      sync.Mutex // held by a Read under way
	stopped bool       // after stop; guarded by mu
}

// NewInput wraps src. Without a source it is at its end. Stop must be called.
func NewInput(src io.Reader) *Input {
	in := &Input{src: src}
	file, ok := src.(*os.File)
	if !ok {
		return in
	}
	if in.own = reopened(file); in.own != nil {
		return in
	}
	if r, w, err := os.Pipe(); err == nil { // it works without; its end may then come late
		in.file, in.r, in.w = file, r, w
		in.fds = [2]int32{int32(file.Fd()), int32(r.Fd())}
	}
	return in
}

// Read implements io.Reader. After Stop it returns io.EOF.
func (in *Input) Read(p []byte) (int, error) {
	if in.src == nil {
		return 0, io.EOF
	}
	if in.file == nil && in.own == nil {
		return in.src.Read(p)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.own != nil && !in.stopped {
		n, err := in.own.Read(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = io.EOF
		}
		return n, err
	}
	for !in.stopped {
		fds := []unix.PollFd{{Fd: in.fds[0], Events: unix.POLLIN}, {Fd: in.fds[1], Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			return 0, io.EOF
		case fds[0].Revents != 0:
			return in.file.Read(p)
		}
	}
	return 0, io.EOF
}

// Stop ends a Read under way and all later ones. A Read of a stream that is no
// file ends only with the stream.
func (in *Input) Stop() {
	switch {
	case in.own != nil:
		_ = in.own.SetReadDeadline(time.Now()) // wakes the reader; it fails when it was stopped before
	case in.file != nil:
		in.w.Close() // wakes the reader
	default:
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.stopped = true
	if in.own != nil {
		in.own.Close()
		return
	}
	in.r.Close()
}
