package native

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"teleport/dbaccess/postgres/pgwire"
	"teleport/fault"
	"teleport/netx"
)

// ServePostgres serves one client of PostgreSQL: it has not said anything yet, and
// is closed by the caller.
func (s *Server) ServePostgres(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	key, err := askedForTLS(c)
	if err != nil {
		lastWords(c)
		return err
	}
	if key != nil {
		return s.cancel(ctx, *key, c)
	}
	conn, x, err := s.known(ctx, c)
	if conn == nil {
		return err
	}
	code, body, rerr := pgwire.ReadPacket(conn)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	if err != nil {
		return errors.Join(err, refuse(conn, err))
	}
	if code == pgwire.CodeCancel && len(body) == len(cancelKey{}) {
		return s.cancel(ctx, cancelKey(body), c)
	}
	agent, uuid, err := s.open(ctx, x, "postgres", "cockroachdb")
	if err != nil {
		return errors.Join(err, refuse(conn, err))
	}
	if _, err := agent.Write(pgwire.AppendPacket(nil, code, body)); err != nil {
		agent.Close()
		return errors.Join(err, refuse(conn, s.untaken(x, err)))
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		agent.Close()
		return err
	}
	x.target.Agent = uuid
	f := &keyFinder{found: func(k cancelKey) { s.cancels.note(k, x) }}
	defer func() { s.cancels.forget(f.key) }()
	w := &spoken{Conn: agent, look: f.look, bounds: bounds{size: sizeOfPostgres}, refusal: pgwire.Refusal,
		untaken: func(why error) error { return s.untaken(x, why) }}
	return netx.Splice(ctx, conn, w, netx.SpliceOptions{})
}

// lastWords lets a client read what it was told: a connection that is closed with
// bytes unread is reset, and with it go the words.
func lastWords(c net.Conn) {
	if cw, ok := c.(netx.CloseWriter); ok && cw.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.CopyN(io.Discard, c, mostSeen) // whatever it is
	}
}

// askedForTLS reads the packets before TLS: a wish for it, once, a wish for
// encryption by GSSAPI, which is declined once, or the key of a statement to be
// cancelled, which clients before PostgreSQL 17 send in plain text. Nobody says
// who they are in plain text.
func askedForTLS(c io.ReadWriter) (*cancelKey, error) {
	declined := false
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return nil, err
		}
		size, code := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		switch {
		case code == pgwire.CodeSSL && size == 8:
			_, err := c.Write([]byte{'S'})
			return nil, err
		case code == pgwire.CodeGSS && size == 8 && !declined:
			declined = true
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == pgwire.CodeCancel && size == 16:
			k := new(cancelKey)
			_, err := io.ReadFull(c, k[:])
			return k, err
		default:
			why := fault.New(fault.Unauthenticated, "this port is for TLS with a certificate").WithHint("sslmode=require, and sslcert from tsh db login")
			_, err := c.Write(pgwire.Refusal(why))
			return nil, errors.Join(why, err)
		}
	}
}

// refuse answers a client within its TLS.
func refuse(c net.Conn, why error) error {
	_, err := c.Write(pgwire.Refusal(why))
	return errors.Join(err, c.Close())
}

// cancelKey names a session to whoever wants its statement stopped.
type cancelKey [8]byte

// cancels are the sessions of this proxy, by what their clients were told.
type cancels struct {
	mu  sync.Mutex
	all map[cancelKey]visit
}

func (c *cancels) note(k cancelKey, x visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[k] = x
}

func (c *cancels) forget(k cancelKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, k)
}

// cancel passes a wish on to the agent of the session, as its own user. Who knows
// the key may do so, as with the server itself, from where the session came. The
// client gets no answer, whatever becomes of it.
func (s *Server) cancel(ctx context.Context, k cancelKey, c net.Conn) error {
	s.cancels.mu.Lock()
	x, ok := s.cancels.all[k]
	s.cancels.mu.Unlock()
	if !ok || netx.AddrPort(c.RemoteAddr()).Addr() != x.caller.Addr.Addr() {
		return fault.New(fault.NotFound, "there is no session to cancel")
	}
	agent, _, err := s.open(ctx, x, "postgres", "cockroachdb")
	if err != nil {
		return err
	}
	defer agent.Close()
	if err := agent.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	if _, err := agent.Write(pgwire.AppendPacket(nil, pgwire.CodeCancel, k[:])); err != nil {
		return err
	}
	if _, err = agent.Read(make([]byte, 1)); errors.Is(err, io.EOF) { // the agent closes once it has asked the server
		err = nil
	}
	return err
}

// keyFinder looks for the key in what the server says before it is ready.
type keyFinder struct {
	found func(cancelKey)
	key   cancelKey
	seen  []byte
	done  bool
}

// mostSeen bounds what a server may say before it is ready.
const mostSeen = 64 << 10

func (f *keyFinder) look(p []byte) {
	if f.done {
		return
	}
	f.seen = append(f.seen, p...)
	for len(f.seen) >= 5 && !f.done {
		size := int64(binary.BigEndian.Uint32(f.seen[1:])) + 1
		if size < 5 || size > mostSeen {
			f.done = true
			break
		}
		if int64(len(f.seen)) < size {
			break
		}
		switch f.seen[0] {
		case 'K':
			if size == 13 {
				f.key = cancelKey(f.seen[5:13])
				f.found(f.key)
			}
			f.done = true
		case 'Z', 'E':
			f.done = true
		}
		f.seen = f.seen[size:]
	}
	if f.done || len(f.seen) > mostSeen {
		f.seen, f.done = nil, true
	}
}

// sizeOfPostgres is that of a server's message.
func sizeOfPostgres(b []byte) int64 {
	if len(b) < 5 {
		return 0
	}
	if size := int64(binary.BigEndian.Uint32(b[1:])); size >= 4 {
		return size + 1
	}
	return -1
}
