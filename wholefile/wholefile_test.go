package wholefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"teleport/wholefile"
)

// check compares the file, and finds nothing else beside it.
func check(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != content {
		t.Errorf("the file holds %.20q, %v", b, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != mode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("in the directory: %v, %v", all, err)
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for i, mode := range []os.FileMode{0o600, 0o666, 0o644} {
		content := fmt.Sprint("content ", i)
		if err := wholefile.Write(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		check(t, path, content, mode)
	}
	t.Chdir(filepath.Dir(path))
	if err := wholefile.Write("file", []byte("here"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, path, "here", 0o600)
}

// A link's target is somebody's file, perhaps root's: it is left alone.
func TestLinksAreReplaced(t *testing.T) {
	target, path := filepath.Join(t.TempDir(), "target"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o600), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, path, "new", 0o600)
	check(t, target, "old", 0o600)
}

func TestWhatIsNoFileStays(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(pipe, []byte("x"), 0o600); err == nil {
		t.Error("a pipe was replaced")
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("%v %v", info, err)
	}
	full := filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(full, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if all, err := os.ReadDir(filepath.Dir(full)); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v %v", all, err)
	}
	if err := wholefile.Write(filepath.Join(dir, "none", "x"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

// A disk that fails leaves the old content, and nothing beside it.
func TestFullAndReadOnlyDisks(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size=64k"); err != nil {
		t.Fatalf("this test mounts a small disk, as root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "file")
	if err := wholefile.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(path, bytes.Repeat([]byte("x"), 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	check(t, path, "old", 0o600)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(path, []byte("new"), 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a read-only disk: %v", err)
	}
	check(t, path, "old", 0o600)
}

func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := wholefile.Write(path, bytes.Repeat([]byte("0"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := wholefile.Write(path, bytes.Repeat([]byte{byte('1' + i)}, 4096), 0o600); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if b, err := os.ReadFile(path); err != nil || len(b) != 4096 || !bytes.Equal(b, bytes.Repeat(b[:1], 4096)) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	wg.Wait()
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v %v", all, err)
	}
}
