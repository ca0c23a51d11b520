package userchild

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of the socket between agent and child: ours, and
// the one to give the child as descriptor 0.
func Pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "userchild"), os.NewFile(uintptr(fds[1]), "userchild")
	c, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		theirs.Close()
		return nil, nil, errors.New("userchild: not a unix socket")
	}
	return uc, theirs, nil
}

// Client is the agent's side of a ModeSockets child. Safe for concurrent use.
type Client struct {
	conn    *net.UnixConn
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan answer
	err     error // why no more answers come
}

type answer struct {
	file *os.File
	addr string
	err  error
}

// NewClient returns a client of the child at the other end of c. The caller
// runs Serve.
func NewClient(c *net.UnixConn) *Client {
	return &Client{conn: c, waiting: map[uint64]chan answer{}}
}

// Serve reads answers until the child or Close ends the connection.
func (c *Client) Serve() error {
	buf, oob := make([]byte, packetMost), make([]byte, unix.CmsgSpace(4))
	for {
		n, noob, flags, _, err := c.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			return c.fail(err)
		}
		f, err := descriptor(oob[:noob])
		var r reply
		if err != nil || flags&unix.MSG_TRUNC != 0 || json.Unmarshal(buf[:n], &r) != nil {
			if f != nil {
				f.Close()
			}
			return c.fail(errors.New("userchild: malformed answer"))
		}
		c.deliver(r, f)
	}
}

func (c *Client) deliver(r reply, f *os.File) {
	a := answer{file: f, addr: r.Addr}
	switch {
	case r.Err != "":
		a.err = errors.New(r.Err)
	case f == nil:
		a.err = errors.New("userchild: no socket came with the answer")
	}
	// Under the lock, so that whoever gives up finds its answer or prevents it.
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.waiting[r.ID]
	delete(c.waiting, r.ID)
	if ch == nil || a.err != nil {
		a.close()
	}
	if ch != nil {
		ch <- a // has room for one, and one comes
	}
}

// close gives back the descriptor that nobody will use.
func (a *answer) close() {
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
}

func (c *Client) fail(err error) error {
	if err == nil {
		err = errors.New("userchild: the helper has ended")
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, ch := range c.waiting {
		ch <- answer{err: err}
		delete(c.waiting, id)
	}
	return err
}

// Close ends the connection, and with it the child.
func (c *Client) Close() error { return c.conn.Close() }

// descriptor takes the one descriptor out of a control message.
func descriptor(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("userchild: malformed control message")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("userchild: malformed control message")
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "from-userchild"), nil
}

func (c *Client) ask(ctx context.Context, op, addr string) (answer, error) {
	ch := make(chan answer, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return answer{}, c.err
	}
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	b, err := json.Marshal(request{ID: id, Op: op, Addr: addr})
	if err == nil && len(b) > packetMost {
		err = errors.New("userchild: address too long")
	}
	if err == nil {
		_, err = c.conn.Write(b)
	}
	if err != nil {
		c.forget(id, ch)
		return answer{}, err
	}
	select {
	case a := <-ch:
		return a, a.err
	case <-ctx.Done():
		c.forget(id, ch)
		return answer{}, ctx.Err()
	}
}

// forget gives up on an answer, also on one that has come in this moment.
func (c *Client) forget(id uint64, ch <-chan answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
	select {
	case a := <-ch:
		a.close()
	default:
	}
}

// Dial connects to host:port as the user.
func (c *Client) Dial(ctx context.Context, addr string) (net.Conn, error) {
	a, err := c.ask(ctx, "dial", addr)
	if err != nil {
		return nil, err
	}
	defer a.file.Close()
	return net.FileConn(a.file)
}

// Listen listens on host:port as the user.
func (c *Client) Listen(ctx context.Context, addr string) (net.Listener, error) {
	a, err := c.ask(ctx, "listen", addr)
	if err != nil {
		return nil, err
	}
	defer a.file.Close()
	return net.FileListener(a.file)
}

// Agent makes the socket of a key agent, in a directory that only the user may
// enter. The child removes both when it ends.
func (c *Client) Agent(ctx context.Context) (l net.Listener, path string, err error) {
	a, err := c.ask(ctx, "agent", "")
	if err != nil {
		return nil, "", err
	}
	defer a.file.Close()
	l, err = net.FileListener(a.file)
	return l, a.addr, err
}
