package filecopy_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"

	"teleport/client/filecopy"
	"teleport/fault"
)

// hostile is a file server that lists whatever names it was told to.
type hostile struct{ names []string }

func (h hostile) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method == "List" {
		var list infos
		for _, n := range h.names {
			list = append(list, info{n, false})
		}
		return list, nil
	}
	return infos{info{filepath.Base(r.Filepath), r.Filepath == "/dir"}}, nil
}

func (h hostile) Fileread(*sftp.Request) (io.ReaderAt, error)  { return strings.NewReader("evil"), nil }
func (h hostile) Filewrite(*sftp.Request) (io.WriterAt, error) { return nil, fs.ErrPermission }
func (h hostile) Filecmd(*sftp.Request) error                  { return fs.ErrPermission }

type infos []fs.FileInfo

func (l infos) ListAt(to []fs.FileInfo, off int64) (int, error) {
	if off >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(to, l[off:])
	if int(off)+n == len(l) {
		return n, io.EOF
	}
	return n, nil
}

type info struct {
	name string
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return 4 }
func (i info) ModTime() time.Time { return time.Unix(0, 0) }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o4777
}

func connect(t *testing.T, serve func(io.ReadWriteCloser)) *sftp.Client {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); serve(b) }()
	c, err := sftp.NewClientPipe(a, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); a.Close(); b.Close(); <-done })
	return c
}

// A server must not be able to choose where its files go.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{"../evil", "..", "a/b", "/etc/evil", "."} {
		h := hostile{[]string{"good", name}}
		c := connect(t, func(rw io.ReadWriteCloser) {
			_ = sftp.NewRequestServer(rw, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}).Serve()
		})
		root := t.TempDir()
		err := filecopy.New(c, filecopy.Options{Recursive: true}).Download(t.Context(), []string{"/dir"}, filepath.Join(root, "in"))
		// The SFTP library may drop such a name or shorten it to its last part.
		if err != nil && fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s: %v", name, err)
		}
		if list, _ := filepath.Glob(filepath.Join(root, "*")); len(list) != 1 {
			t.Errorf("%s: written %v", name, list)
		}
		if fi, err := os.Stat(filepath.Join(root, "in", "good")); err == nil && fi.Mode()&fs.ModeSetuid != 0 {
			t.Errorf("%s: a setuid bit was copied", name)
		}
	}
}

func realServer(t *testing.T) *sftp.Client {
	t.Helper()
	return connect(t, func(rw io.ReadWriteCloser) {
		if s, err := sftp.NewServer(rw); err == nil {
			_ = s.Serve()
		}
	})
}

func TestInterruptedCopyLeavesTheOldFile(t *testing.T) {
	c := realServer(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "src"), strings.Repeat("x", 1<<20))
	put(t, filepath.Join(dir, "dst"), "old")
	ctx, cancel := context.WithCancelCause(t.Context())
	cp := filecopy.New(c, filecopy.Options{Progress: func(string, int64, int64) { cancel(errors.New("enough")) }})
	if err := cp.Upload(ctx, []string{filepath.Join(dir, "src")}, filepath.Join(dir, "dst")); fault.KindOf(err) != fault.Canceled {
		t.Errorf("upload: %v", err)
	}
	if err := cp.Download(ctx, []string{filepath.Join(dir, "src")}, filepath.Join(dir, "dst")); fault.KindOf(err) != fault.Canceled {
		t.Errorf("download: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "dst")); err != nil || string(data) != "old" {
		t.Errorf("the old file became %d bytes, %v", len(data), err)
	}
	if list, _ := filepath.Glob(filepath.Join(dir, ".*")); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
}

func TestPreserveAndLinks(t *testing.T) {
	c := realServer(t)
	dir := t.TempDir()
	src, link := filepath.Join(dir, "src"), filepath.Join(dir, "link")
	put(t, src, "new")
	put(t, filepath.Join(dir, "target"), "old")
	if err := errors.Join(os.Symlink("target", link), os.Chmod(src, 0o640), os.Chtimes(src, time.Unix(1e9, 0), time.Unix(1e9, 0))); err != nil {
		t.Fatal(err)
	}
	cp := filecopy.New(c, filecopy.Options{Preserve: true})
	for _, copy := range []func(context.Context, []string, string) error{cp.Upload, cp.Download} {
		if err := copy(t.Context(), []string{src}, filepath.Join(dir, "kept")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "kept"))
		if err != nil || info.Mode().Perm() != 0o640 || !info.ModTime().Equal(time.Unix(1e9, 0)) {
			t.Errorf("%v %v %v", info.Mode(), info.ModTime(), err)
		}
		if err := copy(t.Context(), []string{src}, link); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Lstat(link); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v", err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "target")); err != nil || string(data) != "new" {
			t.Errorf("the link's target holds %q, %v", data, err)
		}
		os.Remove(filepath.Join(dir, "kept"))
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
