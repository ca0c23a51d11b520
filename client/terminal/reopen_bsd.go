//go:build darwin || freebsd || netbsd || openbsd

package terminal

import "os"

// reopened is nil where /dev/fd gives the same description again.
func reopened(*os.File) *os.File { return nil }
