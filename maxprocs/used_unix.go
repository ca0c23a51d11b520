//go:build unix

package maxprocs

import (
	"syscall"
	"time"
)

// used is the processor time of this process, its kernel's part included, and
// negative where nobody knows.
func used() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return -1
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
