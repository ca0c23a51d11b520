// Package filecopy copies files to and from a server over SFTP, the way scp
// does, with one difference: a file appears under its name only when it is
// complete. Data goes to a new name in the same directory and is renamed; only
// what cannot be replaced so (devices, files of another owner, hard links) is
// written in place.
package filecopy

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"

	"teleport/fault"
)

// maxDepth bounds a tree that is copied: a server's directories may be endless.
const maxDepth = 128

// Options say how to copy.
type Options struct {
	Recursive bool
	Preserve  bool // times and modes
	// Progress, when not nil, is told of each file: bytes done so far and in all.
	// It is called often and by one goroutine at a time.
	Progress func(name string, done, total int64)
}

// Copier copies over one SFTP connection. It is for one goroutine at a time.
type Copier struct {
	remote *sftp.Client
	opts   Options
}

// New makes a Copier.
func New(remote *sftp.Client, opts Options) *Copier { return &Copier{remote: remote, opts: opts} }

// Upload copies local files to a remote path. Several sources need a directory.
// Files that failed do not stop the others; their errors are joined.
func (c *Copier) Upload(ctx context.Context, sources []string, dest string) error {
	dest = remotePath(dest)
	info, err := c.remote.Stat(dest)
	dir := err == nil && info.IsDir()
	if err := needDir(dest, dir, len(sources)); err != nil {
		return err
	}
	var failed error
	for _, src := range sources {
		to := dest
		if dir {
			to = path.Join(dest, filepath.Base(filepath.Clean(src)))
		}
		failed = errors.Join(failed, c.uploadTree(ctx, src, to, 0))
	}
	return failed
}

// Download copies remote files, patterns in their paths expanded, to a local path.
func (c *Copier) Download(ctx context.Context, sources []string, dest string) error {
	if dest == "" {
		dest = "."
	}
	var found []string
	for _, src := range sources {
		list, err := c.expand(remotePath(src))
		if err != nil {
			return err
		}
		found = append(found, list...)
	}
	info, err := os.Stat(dest)
	dir := err == nil && info.IsDir()
	if err := needDir(dest, dir, len(found)); err != nil {
		return err
	}
	var failed error
	for _, src := range found {
		to := dest
		if dir {
			name := path.Base(path.Clean(src))
			if err := safeName(name); err != nil {
				return err
			}
			to = filepath.Join(dest, name)
		}
		failed = errors.Join(failed, c.downloadTree(ctx, src, to, 0))
	}
	return failed
}

func needDir(dest string, dir bool, sources int) error {
	if !dir && (sources > 1 || strings.HasSuffix(dest, "/")) {
		return fault.New(fault.NotFound, "%s is not a directory", dest)
	}
	return nil
}

// remotePath makes "~", "~/x" and "" relative to the login's home, where SFTP
// starts anyway.
func remotePath(p string) string {
	p = strings.TrimPrefix(p, "~/")
	if p == "" || p == "~" {
		return "."
	}
	return p
}

// expand lists what a remote pattern matches. A path that exists is itself,
// whatever characters it has.
func (c *Copier) expand(pattern string) ([]string, error) {
	if _, err := c.remote.Lstat(pattern); err == nil || !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	list, err := c.remote.Glob(pattern)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the pattern %s is not understood", pattern)
	}
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "nothing on the server matches %s", pattern)
	}
	return list, nil
}

// safeName refuses names by which a server could write elsewhere.
func safeName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return fault.New(fault.Untrusted, "the server sent the file name %q, which is none", name)
	}
	return nil
}

func (c *Copier) uploadTree(ctx context.Context, src, dest string, depth int) error {
	info, err := os.Stat(src)
	if err != nil {
		return explain(err, src)
	}
	if !info.IsDir() {
		return c.uploadFile(ctx, src, dest, info)
	}
	if err := c.mayDescend(src, depth); err != nil {
		return err
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return explain(err, src)
	}
	if err := c.remote.Mkdir(dest); err != nil {
		if old, statErr := c.remote.Stat(dest); statErr != nil || !old.IsDir() {
			return explain(err, dest)
		}
	}
	var failed error
	for _, e := range entries {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		failed = errors.Join(failed, c.uploadTree(ctx, filepath.Join(src, e.Name()), path.Join(dest, e.Name()), depth+1))
	}
	if c.opts.Preserve {
		failed = errors.Join(failed, c.remote.Chmod(dest, info.Mode().Perm()), c.remote.Chtimes(dest, info.ModTime(), info.ModTime()))
	}
	return failed
}

func (c *Copier) downloadTree(ctx context.Context, src, dest string, depth int) error {
	info, err := c.remote.Stat(src)
	if err != nil {
		return explain(err, src)
	}
	if !info.IsDir() {
		return c.downloadFile(ctx, src, dest, info)
	}
	if err := c.mayDescend(src, depth); err != nil {
		return err
	}
	entries, err := c.remote.ReadDirContext(ctx, src)
	if err != nil {
		return explain(err, src)
	}
	if err := os.Mkdir(dest, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return explain(err, dest)
	}
	var failed error
	for _, e := range entries {
		if ctx.Err() != nil {
			return canceled(ctx)
		}
		if err := safeName(e.Name()); err != nil {
			return err
		}
		failed = errors.Join(failed, c.downloadTree(ctx, path.Join(src, e.Name()), filepath.Join(dest, e.Name()), depth+1))
	}
	if c.opts.Preserve {
		failed = errors.Join(failed, os.Chmod(dest, info.Mode().Perm()), os.Chtimes(dest, info.ModTime(), info.ModTime()))
	}
	return failed
}

func (c *Copier) mayDescend(dir string, depth int) error {
	if !c.opts.Recursive {
		return fault.New(fault.Invalid, "%s is a directory", dir).WithHint("add -r to copy directories")
	}
	if depth >= maxDepth {
		return fault.New(fault.Limit, "%s is nested deeper than %d directories", dir, maxDepth)
	}
	return nil
}

func canceled(ctx context.Context) error {
	return fault.Wrap(context.Cause(ctx), fault.Canceled, "canceled")
}

// explain says in one line what was wrong with a path.
func explain(err error, name string) error {
	var f *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, "%s does not exist", name)
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Denied, "%s: permission denied", name)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, sftp.ErrSSHFxConnectionLost), errors.Is(err, io.EOF):
		return fault.Wrap(err, fault.Unavailable, "%s: the connection was lost", name)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: %v", name, err)
}
