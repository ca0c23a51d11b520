// Package diskblob keeps objects as files of one directory: the storage of a
// cluster with one auth service. Objects are spread over 256 folders by a hash of
// the first part of their key, so that no folder grows without end; only the
// owner of the process may read them.
package diskblob

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"teleport/blob"
	"teleport/fault"
)

// incoming is where objects lie until they are whole.
const incoming = ".incoming"

// staleAfter is the age of an unfinished object whose writer is surely gone.
const staleAfter = 24 * time.Hour

// Disk is a Store over a directory. Safe for concurrent use, of several
// processes too.
type Disk struct {
	root    string
	folders folders
}

var _ blob.Store = (*Disk)(nil)

// Open makes the directory where it is missing, and removes what a crash left
// unfinished in it.
func Open(dir string) (*Disk, error) {
	d := &Disk{root: filepath.Clean(dir)}
	in := filepath.Join(dir, incoming)
	if err := os.MkdirAll(in, 0o700); err != nil {
		return nil, fault.Unwritable(err, in)
	}
	entries, err := os.ReadDir(in)
	if err != nil {
		return nil, fault.Unreadable(err, in)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			if err := os.Remove(filepath.Join(in, e.Name())); err != nil {
				return nil, fault.Unwritable(err, in)
			}
		}
	}
	return d, nil
}

// path is the file of a key.
func (d *Disk) path(key string) string {
	first, _, _ := strings.Cut(key, "/")
	return filepath.Join(d.root, fan(first), filepath.FromSlash(key))
}

func fan(first string) string {
	h := sha256.Sum256([]byte(first))
	return hex.EncodeToString(h[:1])
}

// URL implements blob.Store.
func (d *Disk) URL(key string) string { return "file://" + filepath.ToSlash(d.path(key)) }

// Put implements blob.Store.
func (d *Disk) Put(ctx context.Context, key string, r io.ReadSeeker, size int64) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(d.root, incoming), "put-*") // of mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, fault.Unavailable, "the directory of recordings is gone")
	}
	if err != nil {
		return failed(err)
	}
	n, err := io.Copy(f, io.LimitReader(&reader{ctx, r}, size+1))
	if err == nil && n != size {
		err = fault.New(fault.Invalid, "an object of %d bytes was announced with %d", n, size)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = d.place(f.Name(), d.path(key))
	}
	if err != nil {
		return failed(errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// place moves a whole file to its name, durably.
func (d *Disk) place(from, to string) error {
	dir := filepath.Dir(to)
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.folder(dir); err == nil {
			err = os.Rename(from, to)
		}
	}
	if err != nil {
		return err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if err := syncDir(at); err != nil {
			return err
		}
		if at == d.root || d.folders.has(at) {
			break
		}
	}
	for ; dir != d.root; dir = filepath.Dir(dir) {
		d.folders.add(dir)
	}
	return nil
}

// folder makes a folder that is not, or no longer, there.
func (d *Disk) folder(dir string) error {
	if dir == d.root {
		return nil // it would be another directory: the next object says so
	}
	d.folders.forget(dir)
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err = d.folder(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
	}
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements blob.Store.
func (d *Disk) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(key))
	if err != nil {
		return nil, failed(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fs.ErrNotExist
	case offset < 0 || offset > info.Size():
		err = fault.New(fault.Invalid, "the object has %d bytes; byte %d was asked for", info.Size(), offset)
	}
	if err != nil {
		return nil, failed(errors.Join(err, f.Close()))
	}
	if length < 0 || length > info.Size()-offset {
		length = info.Size() - offset
	}
	return struct {
		io.Reader
		io.Closer
	}{&reader{ctx, io.NewSectionReader(f, offset, length)}, f}, nil
}

// Stat implements blob.Store.
func (d *Disk) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := check(ctx, key); err != nil {
		return blob.Info{}, err
	}
	info, err := os.Stat(d.path(key))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return blob.Info{}, failed(err)
	}
	return blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List implements blob.Store. A prefix with a slash reads one folder, a shorter
// one all of them.
func (d *Disk) List(ctx context.Context, prefix, after string, limit int) ([]blob.Info, error) {
	if err := blob.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, failed(err)
	}
	if limit <= 0 || limit > blob.MaxPage {
		limit = blob.MaxPage
	}
	p := page{prefix: prefix, after: after, limit: limit}
	folders, err := os.ReadDir(d.root)
	if err != nil {
		return nil, failed(err)
	}
	first, _, whole := strings.Cut(prefix, "/")
	for _, f := range folders {
		if !f.IsDir() || f.Name() == incoming || whole && f.Name() != fan(first) {
			continue
		}
		if err := p.walk(ctx, filepath.Join(d.root, f.Name())); err != nil {
			return nil, failed(err)
		}
	}
	p.sort()
	return p.found, nil
}

// page gathers the first objects after a key, and never many more than those.
type page struct {
	prefix, after string
	limit         int
	found         []blob.Info
}

func (p *page) walk(ctx context.Context, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if e.IsDir() {
			if rel != "." && !strings.HasPrefix(key+"/", p.prefix) && !strings.HasPrefix(p.prefix, key+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() || !strings.HasPrefix(key, p.prefix) || key <= p.after || blob.CheckKey(key) != nil {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		p.found = append(p.found, blob.Info{Key: key, Size: info.Size(), Modified: info.ModTime()})
		if len(p.found) >= 4*p.limit {
			p.sort()
		}
		return nil
	})
}

func (p *page) sort() {
	slices.SortFunc(p.found, func(a, b blob.Info) int { return cmp.Compare(a.Key, b.Key) })
	p.found = p.found[:min(len(p.found), p.limit)]
}

// Delete implements blob.Store. Folders stay.
func (d *Disk) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	err := os.Remove(d.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return failed(err)
	}
	return failed(syncDir(filepath.Dir(d.path(key))))
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return failed(err)
	}
	return blob.CheckKey(key)
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, failed(err)
	}
	return r.r.Read(p)
}

// failed gives an error of the system its kind.
func failed(err error) error {
	var f *fault.Error
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Canceled, "canceled")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Timeout, "the disk did not answer in time")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fault.Wrap(err, fault.NotFound, "there is no such object")
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Denied, "the directory of recordings may not be used: %v", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Advise(fault.Wrap(err, fault.Unavailable, "the disk of recordings is full"), "Free space on it; what waits is stored then.")
	}
	return fault.Wrap(err, fault.Unavailable, "the disk of recordings fails: %v", err)
}
