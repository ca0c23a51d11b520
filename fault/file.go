package fault

import (
	"errors"
	"io/fs"
	"syscall"
)

// Unwritable says why a file cannot be written, with the operating system's
// error as the cause. Nil stays nil, and a fault stays itself.
func Unwritable(err error, path string) error {
	return file(err, "write", path)
}

// Unreadable says why a file cannot be read, as Unwritable does. Without the
// file it is Invalid: it was named by a person or a configuration.
func Unreadable(err error, path string) error {
	return file(err, "read", path)
}

func file(err error, verb, path string) error {
	if known := new(Error); err == nil || errors.As(err, &known) {
		return err
	}
	kind, why, hint := Unavailable, "", ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		why, hint = "the disk is full", "free some space; nothing was changed"
	case errors.Is(err, syscall.EROFS):
		why, hint = "the file system is read-only", "choose another place, or mount it writable"
	case errors.Is(err, fs.ErrPermission):
		why = "permission denied"
	case errors.Is(err, fs.ErrNotExist) && verb == "write", errors.Is(err, syscall.ENOTDIR):
		kind, why = Invalid, "its directory does not exist"
	case errors.Is(err, fs.ErrNotExist):
		kind, why = Invalid, "it does not exist"
	case errors.Is(err, fs.ErrExist):
		kind, why = AlreadyExists, "it exists"
	case errors.Is(err, syscall.EISDIR):
		kind, why = Invalid, "it is a directory"
	default:
		why = root(err).Error()
	}
	return &Error{Kind: kind, Message: "cannot " + verb + " " + path + ": " + why, Hint: hint, cause: err}
}

// root is the operating system's own word, without the path that it came with.
func root(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
