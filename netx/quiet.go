package netx

import (
	"errors"
	"net"
	"syscall"
)

// Quiet reports whether c, on which nobody waits for anything, has neither ended nor
// something to say, as far as the system knows: what is kept for another request must
// be so. Connections that neither are over TCP nor tell, by a method Quiet, are thought
// to be.
func Quiet(c net.Conn) bool {
	for {
		switch t := c.(type) {
		case *net.TCPConn:
			return quietTCP(t)
		case interface{ Quiet() bool }:
			return t.Quiet()
		case *Records:
			if t.in != nil {
				return false
			}
			c = t.Conn
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return true
		}
	}
}

func quietTCP(c *net.TCPConn) (quiet bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var one [1]byte
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return quiet && err == nil
}
