// Package userchild is the tiny process that does, as the login user, what must
// not be done as root: it serves SFTP from the user's files, and makes the
// sockets that belong to the user: the agent's, those that -R listens on, and
// those that -L dials. Sockets are handed to the agent as descriptors.
//
// The process is a program of its own, as starting teleport anew costs tens of
// milliseconds and megabytes per session; DESIGN.md beside this file has the
// numbers. It holds no secret, and nothing it says is believed beyond what its
// user could have said: audit is done by the agent, from the bytes that pass.
package userchild

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// Modes of the program, given as its only argument.
const (
	ModeFiles   = "sftp"
	ModeSockets = "sockets"
)

// request is one message to a ModeSockets child: JSON in one packet of a
// SOCK_SEQPACKET socket.
type request struct {
	ID   uint64 `json:"id"`
	Op   string `json:"op"` // dial, listen, agent
	Addr string `json:"addr,omitempty"`
}

// reply answers a request; a descriptor rides along when Err is empty.
type reply struct {
	ID   uint64 `json:"id"`
	Err  string `json:"err,omitempty"`
	Addr string `json:"addr,omitempty"` // where a listener listens
}

const (
	packetMost = 8 << 10
	dialWithin = 20 * time.Second
	dialsMost  = 64
)

// Main is the whole program. It returns the exit code.
func Main(args []string) int {
	if len(args) != 2 {
		return 2
	}
	// Another process of the same user must not read what passes here.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 3
	}
	switch args[1] {
	case ModeFiles:
		return serveFiles()
	case ModeSockets:
		return serveSockets()
	}
	return 2
}

func serveFiles() int {
	srv, err := sftp.NewServer(stdio{os.Stdin, os.Stdout})
	if err != nil {
		return 1
	}
	defer srv.Close()
	if err := srv.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

type stdio struct {
	io.Reader
	io.WriteCloser
}

// socketServer answers on descriptor 0 until the agent closes its end, then
// removes what it made.
type socketServer struct {
	conn  *net.UnixConn
	mu    sync.Mutex // one packet at a time, and dirs
	dirs  []string
	slots chan struct{}
}

func serveSockets() int {
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return 1
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 1
	}
	s := &socketServer{conn: uc, slots: make(chan struct{}, dialsMost)}
	defer s.clean()
	buf := make([]byte, packetMost)
	for {
		n, err := uc.Read(buf)
		if err != nil || n == 0 {
			return 0
		}
		var r request
		if json.Unmarshal(buf[:n], &r) != nil {
			return 1
		}
		s.slots <- struct{}{}
		go func() {
			defer func() { <-s.slots }()
			s.answer(r)
		}()
	}
}

func (s *socketServer) answer(r request) {
	f, addr, err := s.do(r)
	rep := reply{ID: r.ID, Addr: addr}
	if err != nil {
		rep.Err = err.Error()
	}
	b, merr := json.Marshal(rep)
	if merr != nil {
		return
	}
	var oob []byte
	if f != nil {
		defer f.Close()
		oob = unix.UnixRights(int(f.Fd()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.WriteMsgUnix(b, oob, nil) //nolint:errcheck // an agent that is gone needs no answer
}

func (s *socketServer) do(r request) (*os.File, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWithin)
	defer cancel()
	switch r.Op {
	case "dial":
		c, err := new(net.Dialer).DialContext(ctx, "tcp", r.Addr)
		return fileOf(c, err)
	case "listen":
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.Addr)
		return fileOf(l, err)
	case "agent":
		return s.agentSocket()
	}
	return nil, "", errors.New("unknown operation")
}

// agentSocket makes a directory that only the user may enter, and the socket in it.
func (s *socketServer) agentSocket() (*os.File, string, error) {
	dir, err := os.MkdirTemp("", "ssh-")
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	s.dirs = append(s.dirs, dir)
	s.mu.Unlock()
	path := filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, "", err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f, _, err := fileOf(l, nil)
	return f, path, err
}

func (s *socketServer) clean() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.dirs {
		os.Remove(filepath.Join(d, "agent.sock"))
		os.Remove(d)
	}
}

// fileOf duplicates a socket's descriptor and closes the socket here.
func fileOf(c io.Closer, err error) (*os.File, string, error) {
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	var addr net.Addr
	switch v := c.(type) {
	case net.Conn:
		addr = v.RemoteAddr()
	case net.Listener:
		addr = v.Addr()
	}
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, "", err
	}
	return f, addr.String(), nil
}
