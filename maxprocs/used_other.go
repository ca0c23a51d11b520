//go:build !unix

package maxprocs

import "time"

func used() time.Duration { return -1 }
