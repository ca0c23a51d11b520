package netx

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Records is the TCP connection under a TLS connection, for streams of many
// bytes. crypto/tls reads each record with two calls of the system and writes
// each with one; this reads as much as has come, and lets a writer of several
// records send them together. While nothing comes it holds no buffer: one is
// taken when bytes are there, and given back when they are read.
//
// Reads end at the borders of TLS records, so that nobody above holds the
// beginning of the next one, and Ready can tell whether a whole one is here.
// Lengths are all that is looked at; to believe them is TLS's business.
type Records struct {
	net.Conn
	raw syscall.RawConn

	// Of the reader.
	in     *[recordsBuffer]byte
	r, w   int // what in holds
	header [recordHeader]byte
	begun  int // bytes of the header that were read
	left   int // bytes of the record's body that were not

	mu        sync.Mutex
	gathering bool
	out       *[recordsBuffer]byte
	n         int // what out holds
	late      *time.Timer
	armed     bool  // late runs
	failed    error // of a flush that nobody waited for
}

const (
	recordHeader  = 5
	recordsBuffer = 68 << 10 // four records with their overhead, or a large buffer's worth of them
)

// recordBuffers is shared by all connections: it holds no state, only memory.
var recordBuffers = sync.Pool{New: func() any { return new([recordsBuffer]byte) }}

// UnderTLS returns c as the connection to run TLS on: a *Records where c is TCP,
// else c as it is. c must not be used beside what is returned.
func UnderTLS(c net.Conn) net.Conn {
	inner, prefix := c, []byte(nil)
	for {
		p, ok := inner.(*halfClosePrefixConn)
		if !ok {
			break
		}
		inner, prefix = p.Conn, append(prefix, p.prefix...)
	}
	tcp, ok := beneath(inner).(*net.TCPConn)
	if !ok || len(prefix) > recordsBuffer {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	t := &Records{Conn: inner, raw: raw}
	if len(prefix) > 0 {
		t.in = recordBuffers.Get().(*[recordsBuffer]byte)
		t.w = copy(t.in[:], prefix)
	}
	return t
}

// beneath is the connection under those of this package that change no byte.
func beneath(c net.Conn) net.Conn {
	for {
		switch t := c.(type) {
		case *halfCloseAddrConn:
			c = t.Conn
		case *counted:
			c = t.Conn
		default:
			return c
		}
	}
}

// recordsOf finds the Records under a TLS connection, nil where there is none.
func recordsOf(c any) *Records {
	outer, ok := c.(net.Conn)
	if !ok {
		return nil
	}
	for layer := range Layers(outer) {
		if r, ok := layer.(*Records); ok {
			return r
		}
	}
	return nil
}

// Read hands out what belongs to one header or one body.
func (t *Records) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if t.in == nil {
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	var n int
	if t.left == 0 {
		n = copy(p, t.in[t.r:min(t.w, t.r+recordHeader-t.begun)])
		t.begun += copy(t.header[t.begun:], p[:n])
		if t.begun == recordHeader {
			t.begun, t.left = 0, bodyLength(t.header[:])
		}
	} else {
		n = copy(p, t.in[t.r:min(t.w, t.r+t.left)])
		t.left -= n
	}
	if t.r += n; t.r == t.w {
		recordBuffers.Put(t.in)
		t.in, t.r, t.w = nil, 0, 0
	}
	return n, nil
}

func bodyLength(header []byte) int { return int(header[3])<<8 | int(header[4]) }

// fill waits without a buffer and reads what has come into one.
func (t *Records) fill() error {
	var n int
	var failed error
	err := t.raw.Read(func(fd uintptr) bool {
		b := recordBuffers.Get().(*[recordsBuffer]byte)
		for {
			n, failed = syscall.Read(int(fd), b[:])
			if failed != syscall.EINTR {
				break
			}
		}
		if failed == nil && n > 0 {
			t.in, t.r, t.w = b, 0, n
			return true
		}
		recordBuffers.Put(b)
		return failed != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return err
	case failed != nil:
		return &net.OpError{Op: "read", Net: "tcp", Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: os.NewSyscallError("read", failed)}
	case n == 0:
		return io.EOF
	}
	return nil
}

// ready reports whether a whole record is here, so that the next read of TLS
// will not wait. Only the reader may ask.
func (t *Records) ready() bool {
	if t.in == nil || t.left > 0 || t.begun > 0 || t.w-t.r < recordHeader {
		return false
	}
	return t.w-t.r >= recordHeader+bodyLength(t.in[t.r:])
}

// Ready reports whether the next read of c, a TLS connection over Records, will not
// wait. Only its reader may ask.
func Ready(c any) bool {
	t := recordsOf(c)
	return t != nil && t.ready()
}

// Write sends p, or keeps it until flush while the writer gathers.
func (t *Records) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return 0, t.failed
	}
	if !t.gathering {
		return t.Conn.Write(p)
	}
	if t.n+len(p) > recordsBuffer {
		if err := t.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > recordsBuffer {
		return t.Conn.Write(p)
	}
	if t.out == nil {
		t.out = recordBuffers.Get().(*[recordsBuffer]byte)
	}
	t.n += copy(t.out[t.n:], p)
	return len(p), nil
}

// gather keeps what is written from now on.
func (t *Records) gather() {
	t.mu.Lock()
	t.gathering = true
	t.mu.Unlock()
}

// flush sends what was kept, and ends the gathering.
func (t *Records) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gathering = false
	return t.send()
}

// flushIn flushes within d, unless that happens before. A timer that runs already
// is left to run: to move it with each packet would wake up the poller with each.
func (t *Records) flushIn(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.armed:
		return
	case t.late == nil:
		t.late = time.AfterFunc(d, t.flushLate)
	default:
		t.late.Reset(d)
	}
	t.armed = true
}

func (t *Records) flushLate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed, t.gathering = false, false
	if err := t.send(); err != nil {
		t.failed = err
	}
}

func (t *Records) send() error {
	if t.out == nil {
		return nil
	}
	_, err := t.Conn.Write(t.out[:t.n])
	recordBuffers.Put(t.out)
	t.out, t.n = nil, 0
	return err
}

// CloseWrite ends the writing direction of the TCP connection.
func (t *Records) CloseWrite() error {
	if w, ok := t.Conn.(CloseWriter); ok {
		return w.CloseWrite()
	}
	return nil
}

// ForSSH returns c for an SSH connection to run on, where TLS lies under it.
// x/crypto/ssh writes a packet in two pieces, the first of just the size of its
// buffer: that one is kept for the other, so that they leave together, and not
// for longer than a moment, should it have been all.
func ForSSH(c net.Conn) net.Conn {
	if t := recordsOf(c); t != nil {
		return &packets{c, t}
	}
	return c
}

type packets struct {
	net.Conn
	under *Records
}

const (
	firstPiece = 4096 // bufio's default size
	moment     = time.Millisecond
)

// Write implements io.Writer.
func (c *packets) Write(p []byte) (int, error) {
	c.under.gather()
	n, err := c.Conn.Write(p)
	if err == nil && len(p) == firstPiece {
		c.under.flushIn(moment)
		return n, nil
	}
	if ferr := c.under.flush(); err == nil {
		err = ferr
	}
	return n, err
}

// NetConn returns the connection below.
func (c *packets) NetConn() net.Conn { return c.Conn }
