// Package blob is the contract of the storage of large immutable objects, such as
// recordings: an object is there whole or not at all, is read by ranges, and is
// listed by the prefix of its key. Drivers are leaf packages (diskblob, s3blob)
// and pass the suite of blobtest. What an object holds, and who may read it, is
// decided above.
package blob

import (
	"context"
	"io"
	"strings"
	"time"

	"teleport/fault"
)

// Bounds of keys.
const (
	MaxKey  = 512
	MaxName = 200 // of one part between slashes, so that it fits every file system
)

// MaxPage is how many objects one List returns at most.
const MaxPage = 1000

// Info describes an object.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Store keeps objects. All methods may be called concurrently. Errors are
// faults: NotFound, Invalid (a key or a range out of bounds), Unavailable (the
// storage is away or full; try again), Denied (it refuses this process),
// Canceled, Timeout.
type Store interface {
	// Put stores the size bytes of r under the key, in the place of what was there.
	// It returns once the storage has confirmed them; until then readers see what
	// was there before. r that ends early or goes on is fault.Invalid.
	Put(ctx context.Context, key string, r io.ReadSeeker, size int64) error
	// Get reads length bytes from offset on, or to the end where length is
	// negative; fewer where the object ends before. The caller closes the reader,
	// which ends with ctx. An offset beyond the end is fault.Invalid.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Stat describes one object.
	Stat(ctx context.Context, key string) (Info, error)
	// List returns objects whose key begins with prefix and is greater than after,
	// in the order of keys: at most limit of them (0: MaxPage). To page, call
	// again with the last key.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// URL names the place of a key for people and events. It holds no credential.
	URL(key string) string
}

// CheckKey wants parts of letters, digits, '-', '_' and '.', joined by slashes;
// no part begins with a dot.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fault.New(fault.Invalid, "an object's key has at most %d bytes", MaxKey)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' || len(part) > MaxName || strings.ContainsFunc(part, strange) {
			return fault.New(fault.Invalid, "%.80q is no key of an object", key)
		}
	}
	return nil
}

// CheckPrefix is CheckKey for the beginning of a key, the empty one included.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckKey(strings.TrimSuffix(prefix, "/"))
}

func strange(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}
