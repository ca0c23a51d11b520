// Package relay copies one direction of a database connection message by
// message: a dialect sees each message before it goes on, may wait for the audit
// log, and may hold a message back. Bytes are copied once into a buffer and
// written from there, as many messages at a time as one read brought.
package relay

import (
	"errors"
	"io"
	"sync"

	"teleport/fault"
	"teleport/netx"
)

// Direction is one direction of a dialect. Its methods are called from one
// goroutine, in the order of the bytes.
type Direction interface {
	// Split looks at b, which begins with a message. It returns the message's whole
	// length in bytes, and how many of them See wants to have at once. A length of
	// zero asks for more bytes. b may end anywhere in the message or hold more.
	Split(b []byte) (size int64, see int, err error)
	// See takes the beginning of a message, as long as Split asked for, and says
	// whether the message goes on. It does not keep b; what it changes there goes on so.
	See(b []byte) (pass bool, err error)
	// Commit is called before anything that See let pass is written, and before what
	// it did not let pass is dropped.
	Commit() error
}

// Bounds of the buffer: messages are seen in what one read brings, and a
// dialect may ask for no more than Most of one at once.
const (
	// first is the buffer while little flows, so that a connection at rest holds
	// little, and more the one after a read that filled it.
	first = 2 << 10
	more  = 16 << 10
	// calm is after how many reads in a row that would have fitted it the first buffer
	// does again.
	calm = 16
	// Most is how much of one message a dialect may ask to see, in bytes: a whole
	// packet of MySQL, which is its longest.
	Most = 16<<20 + 3
	// stream is how much one read of a stream brings at least: servers send records of 8 KiB.
	stream = 4 << 10
	// enough is what is read at once of a stream, and the largest buffer that is kept.
	enough = 64 << 10
)

// Buffers that are held for a while only, shared by all copies of the process.
var (
	pooledMore   = sync.Pool{New: func() any { return new([more]byte) }}
	pooledEnough = sync.Pool{New: func() any { return new([enough]byte) }}
)

func buffer(size int) []byte {
	switch size {
	case more:
		return pooledMore.Get().(*[more]byte)[:]
	case enough:
		return pooledEnough.Get().(*[enough]byte)[:]
	}
	return make([]byte, size)
}

func release(b []byte) {
	switch len(b) {
	case more:
		pooledMore.Put((*[more]byte)(b))
	case enough:
		pooledEnough.Put((*[enough]byte)(b))
	}
}

// ErrCut is among the errors of a copy that may have left its reader in the middle
// of a message.
var ErrCut = errors.New("relay: a message was cut")

// ErrDeaf is among the errors of a copy whose reader takes nothing more.
var ErrDeaf = errors.New("relay: nothing more is taken")

// Copy copies src to dst until src ends between two messages, which is nil, or
// until something fails. What See refuses, and what comes after it, is not
// written; what came before it is. A src that ends within a message is
// io.ErrUnexpectedEOF.
func Copy(dst io.Writer, src io.Reader, d Direction) error {
	c := &copier{dst: dst, src: src, d: d, buf: buffer(first), ready: func() bool { return netx.Ready(src) }}
	defer func() { release(c.buf) }()
	for {
		if err := c.messages(); err != nil {
			return errors.Join(err, c.flush())
		}
		if err := c.flush(); err != nil {
			return err
		}
		if err := c.read(); err != nil {
			if errors.Is(err, io.EOF) && c.end > c.at {
				err = io.ErrUnexpectedEOF
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// copier holds the bytes of src between at and end; those between from and at
// were seen and wait to be written.
type copier struct {
	dst           io.Writer
	src           io.Reader
	d             Direction
	buf           []byte
	from, at, end int
	streaming     bool // the last read brought much
	full          bool // it brought as much as there was room for
	calm          int  // reads in a row that brought little
	ready         func() bool
}

// messages sees every message that the buffer holds as far as it must.
func (c *copier) messages() error {
	for c.at < c.end {
		size, see, err := c.d.Split(c.buf[c.at:c.end])
		switch {
		case err != nil:
			return err
		case size == 0:
			return nil
		case see > Most:
			return fault.New(fault.Limit, "a message of %d bytes is too long: at most %d are taken", size, Most)
		case c.end-c.at < see:
			return nil
		}
		pass, err := c.d.See(c.buf[c.at : c.at+see])
		if err != nil {
			return err
		}
		if err := c.pass(size, pass); err != nil {
			return err
		}
	}
	return nil
}

// pass moves past a message. One that does not end in the buffer is streamed.
func (c *copier) pass(size int64, pass bool) error {
	here := int(min(size, int64(c.end-c.at)))
	if !pass {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.at += here
	if !pass {
		c.from = c.at
	}
	rest := size - int64(here)
	if rest == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	out := c.dst
	if !pass {
		out = io.Discard
	}
	from := &tracked{Reader: c.src}
	n, err := io.CopyN(out, from, rest)
	if errors.Is(err, io.EOF) && n < rest {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !from.failed {
		err = errors.Join(err, ErrDeaf)
	}
	if err != nil && pass {
		err = errors.Join(err, ErrCut)
	}
	return err
}

// tracked tells whether it was the reading that failed.
type tracked struct {
	io.Reader
	failed bool
}

func (t *tracked) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.failed = t.failed || err != nil
	return n, err
}

func (c *copier) flush() error {
	if err := c.d.Commit(); err != nil {
		c.from = c.at // never written
		return err
	}
	if c.from == c.at {
		return nil
	}
	_, err := c.dst.Write(c.buf[c.from:c.at])
	c.from = c.at
	if err != nil {
		return errors.Join(err, ErrCut, ErrDeaf)
	}
	return nil
}

// read gets more bytes. The buffer grows only when it is full: a length that a
// peer merely claims costs nothing.
func (c *copier) read() error {
	have := c.end - c.at
	into := c.buf
	size := c.wanted(have)
	if size != len(c.buf) {
		into = buffer(size)
	}
	if size != len(c.buf) || c.at > 0 { // else a long message would be moved onto itself at every read
		copy(into, c.buf[c.at:c.end])
	}
	if size != len(c.buf) {
		release(c.buf)
	}
	c.buf, c.from, c.at, c.end = into, 0, 0, have
	n, err := c.src.Read(c.buf[c.end:])
	c.end += n
	for err == nil && c.streaming && c.end < len(c.buf) && c.ready() {
		var next int
		next, err = c.src.Read(c.buf[c.end:])
		c.end += next
		n += next
	}
	c.streaming, c.full = n >= stream, c.end == len(c.buf)
	if c.calm++; n > first/2 {
		c.calm = 0
	}
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// wanted is the size of the buffer for the next read, behind so many bytes that wait.
func (c *copier) wanted(have int) int {
	size := len(c.buf)
	switch {
	case have == size:
		return size * 2
	case size < enough && c.streaming:
		return enough
	case size < more && c.full:
		return more
	case size > more && !c.streaming && have <= more/2:
		return more
	case size == more && c.calm >= calm && have <= first/2:
		return first
	}
	return size
}
