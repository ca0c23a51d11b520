package sqlitekv

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"teleport/backend"
	"teleport/fault"
)

// explain turns an error of SQLite into one line that says what is wrong with
// the store and what to do. Nil stays nil and a fault stays itself.
func (k *KV) explain(err error) error {
	var known *fault.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.KindOf(err), "the store did not answer in time")
	case k.closed.Load():
		return backend.Closed()
	}
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return fault.Wrap(err, fault.Unavailable, "the store %s failed", k.o.Path)
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return hint(err, "free space on that disk; nothing that was stored is lost", "the disk of the store %s is full", k.o.Path)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return k.damaged(err)
	case sqlite3.SQLITE_IOERR:
		return hint(err, "see the system log for errors of that disk, and whether it is full", "the disk of the store %s failed", k.o.Path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return hint(err, "give this user the right to write there, and check that the file system is not mounted read-only",
			"the store %s cannot be written", k.o.Path)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return hint(err, "end whatever else has that file open", "the store %s is in use by another program", k.o.Path)
	case sqlite3.SQLITE_INTERRUPT:
		return fault.Wrap(err, fault.Canceled, "the store was interrupted: the caller went away")
	}
	return fault.Wrap(err, fault.Unavailable, "the store %s failed", k.o.Path)
}

func (k *KV) damaged(cause error) error {
	return hint(cause, "restore the file from a backup, or move it away to start with an empty store",
		"the store %s is damaged", k.o.Path)
}

// explainPath does the same for errors of the file system.
func explainPath(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return hint(err, "give this user the right to write there, or choose another data directory", "%s cannot be written", path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return hint(err, "free space on that disk", "the disk of %s is full", path)
	case errors.Is(err, syscall.ELOOP):
		return hint(err, "name the file itself", "%s is a symbolic link", path)
	case errors.Is(err, syscall.ENOTDIR):
		return hint(err, "choose another data directory", "part of the path %s is not a directory", path)
	}
	return hint(err, "check the data directory", "%s cannot be opened", path)
}

// hint wraps a cause as fault.Unavailable with advice.
func hint(cause error, advice, format string, args ...any) error {
	var e *fault.Error
	if errors.As(fault.Wrap(cause, fault.Unavailable, format, args...), &e) {
		return e.WithHint("%s", advice)
	}
	return nil
}
