// Package blobs lists the storages of recordings that this program knows.
package blobs

import (
	"context"

	"teleport/blob"
	"teleport/blob/diskblob"
	"teleport/blob/s3blob"
	"teleport/fault"
)

// Open opens the storage of a location.
func Open(ctx context.Context, l blob.Location) (blob.Store, error) {
	switch l.Scheme {
	case "file":
		return diskblob.Open(l.Path)
	case "s3":
		return s3blob.Open(ctx, l)
	}
	return nil, fault.New(fault.Invalid, "the storage %q is not in this version", l.Scheme)
}
