package diskblob_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"teleport/blob"
	"teleport/blob/blobtest"
	"teleport/blob/diskblob"
	"teleport/fault"
)

func TestConformance(t *testing.T) {
	blobtest.Test(t, func(t *testing.T) blob.Store {
		d, err := diskblob.Open(filepath.Join(t.TempDir(), "records"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

// TestModes: only the owner reads recordings.
func TestModes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "records")
	d, err := diskblob.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "a/b.rec", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFoldersThatVanish: a folder that somebody removed is made again.
func TestFoldersThatVanish(t *testing.T) {
	root := filepath.Join(t.TempDir(), "records")
	d, err := diskblob.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string) {
		t.Helper()
		if err := d.Put(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
		if info, err := d.Stat(t.Context(), key); err != nil || info.Size != 1 {
			t.Errorf("%s: %v %v", key, info, err)
		}
	}
	for _, gone := range []func(string) string{filepath.Dir, func(p string) string { return filepath.Dir(filepath.Dir(p)) }} {
		put("a/b.rec")
		put("a/b.index")
		if err := os.RemoveAll(gone(strings.TrimPrefix(d.URL("a/b.rec"), "file://"))); err != nil {
			t.Fatal(err)
		}
		put("a/c.rec")
		if _, err := d.Stat(t.Context(), "a/b.rec"); !errors.Is(err, fault.NotFound) {
			t.Errorf("what was removed: %v", err)
		}
	}
}

// TestManyFolders: those that are remembered are bounded.
func TestManyFolders(t *testing.T) {
	d, err := diskblob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*diskblob.MostFolders + 1 {
		d.Remember(strconv.Itoa(i))
	}
	if n := d.Remembered(); n != diskblob.MostFolders {
		t.Errorf("%d folders are remembered", n)
	}
}

// TestUnfinished: what a crash left goes, what is under way stays, neither is an object.
func TestUnfinished(t *testing.T) {
	root := t.TempDir()
	d, err := diskblob.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	old, fresh := filepath.Join(root, ".incoming", "put-1"), filepath.Join(root, ".incoming", "put-2")
	for _, p := range []string{old, fresh} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if found, err := d.List(t.Context(), "", "", 0); err != nil || len(found) != 0 {
		t.Errorf("listed: %v, %v", found, err)
	}
	if _, err := diskblob.Open(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("the fresh one: %v", err)
	}
}

// TestAway: a directory that is gone is a storage that is away.
func TestAway(t *testing.T) {
	root := filepath.Join(t.TempDir(), "records")
	d, err := diskblob.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "a", strings.NewReader("x"), 1); !errors.Is(err, fault.Unavailable) {
		t.Errorf("put: %v", err)
	}
}
