package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Kept fills a directory that takes long to make and is the same each time, as that
// of a new database server is: by fill, the first time on this machine, and later by a
// copy of what that made. What it is made from is in the key.
func Kept(t testing.TB, key, dir string, fill func()) {
	t.Helper()
	made := false
	at := kept(t, key, func(into string) error {
		made = true
		fill()
		return replica(dir, into)
	})
	if made {
		return
	}
	if err := replica(at, dir); err != nil {
		t.Fatal(err)
	}
}

// KeptKey names what a program makes, as this account.
func KeptKey(t testing.TB, program string) string {
	t.Helper()
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s-%d-%d-%d", filepath.Base(program), info.Size(), info.ModTime().Unix(), os.Geteuid())
}

// NPM returns a folder of the test's own with what a folder of the source has, and
// the packages of its lock file, which others of that lock share. The flags are npm's.
func NPM(t testing.TB, source string, flags ...string) (dir string) {
	t.Helper()
	npm := Need(t, "npm", "npm")
	dir = t.TempDir()
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err = errors.Join(err, os.CopyFS(dir, os.DirFS(source))); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	at := kept(t, "npm-"+hex.EncodeToString(sum[:8]), func(into string) error {
		if err := os.CopyFS(into, os.DirFS(source)); err != nil {
			return err
		}
		install := exec.Command(npm, append([]string{"ci", "--no-audit", "--no-fund"}, flags...)...) // which may take long on a busy machine
		install.Dir = into
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w\n%s", err, out)
		}
		return nil
	})
	if err := os.Symlink(filepath.Join(at, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kept is the directory of a key. The first who asks makes it; all others on this
// machine wait for that.
func kept(t testing.TB, key string, fill func(into string) error) string {
	t.Helper()
	dir := filepath.Join(sourceRoot(), ".cache", "kept", key)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir+".lock", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }() // and with it goes the lock
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	err = os.RemoveAll(dir + ".new") // of one that was killed
	if err = errors.Join(err, fill(dir+".new")); err == nil {
		err = os.Rename(dir+".new", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// replica copies a directory with its owners and modes to where nothing is.
func replica(from, to string) error {
	if out, err := exec.Command("cp", "-a", "-T", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}
