package recproof

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"teleport/fault"
)

// sessionID finds the session in the path of a file: SID.rec, or SID/HASH.rec as
// the storage itself has it.
var sessionID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// Directory opens recordings from the files below a directory: an export, or the
// storage of an auth service that keeps them on disk. A session's id stands in
// the path of its file; where several files have it, the one that was stored
// last is read.
func Directory(dir string) (func(ctx context.Context, sessionID string) (io.ReadCloser, error), error) {
	files, newest := map[string]string{}, map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		id := sessionID.FindString(rel)
		if err != nil || id == "" || !e.Type().IsRegular() || filepath.Ext(path) != ".rec" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if at := info.ModTime().UnixNano(); files[id] == "" || at > newest[id] {
			files[id], newest[id] = path, at
		}
		return nil
	})
	if err != nil {
		return nil, fault.Unreadable(err, dir)
	}
	return func(_ context.Context, id string) (io.ReadCloser, error) {
		path := files[id]
		if path == "" {
			return nil, fault.New(fault.NotFound, "no file below %s is of the session %s", dir, id)
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Wrap(err, fault.NotFound, "the file of the session %s is gone", id)
		}
		if err != nil {
			return nil, fault.Unreadable(err, path)
		}
		return f, nil
	}, nil
}

// worthReading reports whether an event may be one that a ledger keeps, without
// parsing the many others.
func worthReading(public []byte) bool { return bytes.Contains(public, []byte(`"session.`)) }
