package netx

import (
	"net"
	"sync"
)

// Joint is a connection under a TLS connection of which several records can be
// made to leave in one piece. Safe for concurrent use.
type Joint struct {
	net.Conn

	mu      sync.Mutex
	joining bool
	out     *[recordsBuffer]byte
	n       int
}

// Join returns c as the connection to run TLS on.
func Join(c net.Conn) *Joint { return &Joint{Conn: c} }

// Write implements io.Writer.
func (j *Joint) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.joining {
		return j.Conn.Write(p)
	}
	if j.n+len(p) > recordsBuffer {
		if err := j.send(); err != nil {
			return 0, err
		}
	}
	if len(p) > recordsBuffer {
		return j.Conn.Write(p)
	}
	if j.out == nil {
		j.out = recordBuffers.Get().(*[recordsBuffer]byte)
	}
	j.n += copy(j.out[j.n:], p)
	return len(p), nil
}

// Together has the records that write makes leave together, once the handshake is
// over: its messages wait for answers. It is for one writer.
func (j *Joint) Together(write func() (int, error)) (int, error) {
	j.mu.Lock()
	j.joining = true
	j.mu.Unlock()
	n, err := write()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.joining = false
	if serr := j.send(); err == nil {
		err = serr
	}
	return n, err
}

// Over returns c, TLS that runs on j, as a connection of which a write of several
// records leaves in one piece. It is for one writer at a time.
func (j *Joint) Over(c net.Conn) net.Conn { return &together{c, j} }

type together struct {
	net.Conn
	j *Joint
}

// Write implements io.Writer.
func (t *together) Write(p []byte) (int, error) {
	if len(p) <= oneRecord {
		return t.Conn.Write(p)
	}
	return t.j.Together(func() (int, error) { return t.Conn.Write(p) })
}

// NetConn returns the TLS.
func (t *together) NetConn() net.Conn { return t.Conn }

// CloseWrite ends the writing direction, where the connection has one.
func (t *together) CloseWrite() error {
	if w, ok := t.Conn.(CloseWriter); ok {
		return w.CloseWrite()
	}
	return nil
}

func (j *Joint) send() error {
	if j.out == nil {
		return nil
	}
	_, err := WriteTogether(j.Conn, j.out[:j.n]) // j.Conn may be TLS itself
	recordBuffers.Put(j.out)
	j.out, j.n = nil, 0
	return err
}

// CloseWrite ends the writing direction, where the connection has one.
func (j *Joint) CloseWrite() error {
	if w, ok := j.Conn.(CloseWriter); ok {
		return w.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below.
func (j *Joint) NetConn() net.Conn { return j.Conn }
