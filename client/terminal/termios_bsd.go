//go:build darwin || freebsd || openbsd || netbsd

package terminal

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TIOCGETA
)
