package filecopy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/pkg/sftp"

	"teleport/fault"
)

// tempName returns a hidden name beside dest.
func tempName(base string) (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return "." + base[:min(len(base), 200)] + "." + hex.EncodeToString(b[:]) + ".part", nil
}

// uploadFile writes to a new name and renames, where that is the same to whoever
// uses the file afterwards.
func (c *Copier) uploadFile(ctx context.Context, src, dest string, info os.FileInfo) error {
	in, err := os.Open(src)
	if err != nil {
		return explain(err, src)
	}
	defer in.Close()
	old, err := c.remote.Lstat(dest)
	exists := err == nil
	if exists && !old.Mode().IsRegular() {
		return c.uploadInPlace(ctx, in, dest, info)
	}
	name, err := tempName(path.Base(dest))
	if err != nil {
		return err
	}
	temp := path.Join(path.Dir(dest), name)
	out, err := c.remote.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil && exists {
		return c.uploadInPlace(ctx, in, dest, info) // a directory where nothing new may be made
	}
	if err != nil {
		return explain(err, dest)
	}
	made, err := out.Stat()
	if err == nil && exists && !sameOwner(old, made) {
		out.Close()
		_ = c.remote.Remove(temp)
		return c.uploadInPlace(ctx, in, dest, info)
	}
	if err == nil {
		err = c.fill(ctx, out, in, dest, info)
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = c.finishUpload(temp, dest, info, made.Mode(), old)
	}
	if err != nil {
		_ = c.remote.Remove(temp)
		return explain(err, dest)
	}
	return nil
}

// finishUpload gives the complete file its mode, times and name.
func (c *Copier) finishUpload(temp, dest string, info os.FileInfo, made os.FileMode, old os.FileInfo) error {
	mode := umasked(info.Mode(), made)
	switch {
	case c.opts.Preserve:
		mode = info.Mode().Perm()
	case old != nil:
		mode = old.Mode().Perm()
	}
	if err := c.remote.Chmod(temp, mode); err != nil {
		return err
	}
	if c.opts.Preserve {
		if err := c.remote.Chtimes(temp, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	return c.remote.PosixRename(temp, dest)
}

// umasked applies the server's umask, as it shows in a file that was made
// without a mode of its own, to the source's mode.
func umasked(source, made os.FileMode) os.FileMode {
	allowed := made.Perm() | (made.Perm()&0o444)>>2
	return source.Perm() & allowed
}

// sameOwner tells whether replacing old by made changes neither the owner nor
// the group.
func sameOwner(old, made os.FileInfo) bool {
	a, okA := old.Sys().(*sftp.FileStat)
	b, okB := made.Sys().(*sftp.FileStat)
	return okA && okB && a.UID == b.UID && a.GID == b.GID
}

func (c *Copier) uploadInPlace(ctx context.Context, in *os.File, dest string, info os.FileInfo) error {
	out, err := c.remote.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return explain(err, dest)
	}
	err = errors.Join(c.fill(ctx, out, in, dest, info), out.Close())
	if err == nil && c.opts.Preserve {
		err = errors.Join(c.remote.Chmod(dest, info.Mode().Perm()), c.remote.Chtimes(dest, info.ModTime(), info.ModTime()))
	}
	return explain(err, dest)
}

func (c *Copier) fill(ctx context.Context, out *sftp.File, in io.Reader, name string, info os.FileInfo) error {
	n, err := out.ReadFrom(&meter{ctx: ctx, r: in, name: name, total: info.Size(), report: c.opts.Progress})
	if err == nil && info.Mode().IsRegular() && n < info.Size() {
		return fault.New(fault.Conflict, "%s became shorter while it was copied", name)
	}
	return err
}

// downloadFile writes to a new name and renames, unless the name is taken by
// something that is no ordinary file.
func (c *Copier) downloadFile(ctx context.Context, src, dest string, info os.FileInfo) error {
	in, err := c.remote.Open(src)
	if err != nil {
		return explain(err, src)
	}
	defer in.Close()
	if target, err := filepath.EvalSymlinks(dest); err == nil {
		dest = target // a link stays a link
	}
	old, err := os.Stat(dest)
	exists := err == nil
	if exists && !replaceable(old) {
		return c.downloadInPlace(ctx, in, src, dest, info)
	}
	name, err := tempName(filepath.Base(dest))
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if exists && !c.opts.Preserve {
		mode = old.Mode().Perm()
	}
	temp := filepath.Join(filepath.Dir(dest), name)
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o200)
	if err != nil && exists {
		return c.downloadInPlace(ctx, in, src, dest, info)
	}
	if err != nil {
		return explain(err, dest)
	}
	defer os.Remove(temp) // fails after the rename, as it should
	err = c.drain(ctx, out, in, src, info)
	if err == nil && (exists || c.opts.Preserve || mode&0o200 == 0) {
		err = c.localMode(out, mode, exists || c.opts.Preserve)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return explain(err, dest)
	}
	if c.opts.Preserve {
		if err := os.Chtimes(temp, info.ModTime(), info.ModTime()); err != nil {
			return explain(err, dest)
		}
	}
	return explain(os.Rename(temp, dest), dest)
}

// replaceable tells whether a new file under the same name is the same to
// everybody: an ordinary file, our own, without other names.
func replaceable(old os.FileInfo) bool {
	st, ok := old.Sys().(*syscall.Stat_t)
	return old.Mode().IsRegular() && ok && int(st.Uid) == os.Geteuid() && st.Nlink == 1
}

// localMode sets the final mode: exactly, or what the umask left of it without
// the write bit that the copying needed.
func (c *Copier) localMode(out *os.File, mode os.FileMode, exact bool) error {
	if exact {
		return out.Chmod(mode)
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	return out.Chmod(info.Mode().Perm() & mode)
}

func (c *Copier) downloadInPlace(ctx context.Context, in *sftp.File, src, dest string, info os.FileInfo) error {
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return explain(err, dest)
	}
	return explain(errors.Join(c.drain(ctx, out, in, src, info), out.Close()), dest)
}

func (c *Copier) drain(ctx context.Context, out io.Writer, in *sftp.File, name string, info os.FileInfo) error {
	n, err := in.WriteTo(&meter{ctx: ctx, w: out, name: name, total: info.Size(), report: c.opts.Progress})
	if err == nil && n < info.Size() {
		return fault.New(fault.Conflict, "%s became shorter while it was copied", name)
	}
	return err
}

// meter counts what passes and stops when ctx has ended.
type meter struct {
	ctx         context.Context
	r           io.Reader
	w           io.Writer
	name        string
	done, total int64
	report      func(string, int64, int64)
}

// Size lets the SFTP library keep several writes under way.
func (m *meter) Size() int64 { return m.total }

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, canceled(m.ctx)
	}
	n, err := m.r.Read(p)
	m.count(n)
	return n, err
}

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, canceled(m.ctx)
	}
	n, err := m.w.Write(p)
	m.count(n)
	return n, err
}

func (m *meter) count(n int) {
	m.done += int64(n)
	if m.report != nil {
		m.report(m.name, m.done, m.total)
	}
}
