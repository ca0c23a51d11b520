package sshaccess_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// leak takes close-on-exec off a descriptor.
func leak(t *testing.T, f *os.File) {
	t.Helper()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
}
