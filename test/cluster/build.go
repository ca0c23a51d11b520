package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// binaries returns the directory of the commands: TELEPORT_BIN, or a directory
// into which they are built once for each test program, as the Makefile does.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("TELEPORT_BIN"); dir != "" {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(sourceRoot(), dir)
		}
		_, err := os.Stat(filepath.Join(dir, "teleport"))
		return dir, err
	}
	dir := filepath.Join(sourceRoot(), ".cache", "test-bin")
	if err := gobuild(child(), "./cmd/teleport-userchild"); err != nil {
		return "", err
	}
	for _, name := range []string{"teleport", "tsh", "tctl"} {
		if err := gobuild(filepath.Join(dir, name), "./cmd/"+name); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// Ledger returns the command of test/ledger/ledgertalk, a copy for this test,
// where every account of this machine can run it.
func Ledger(t testing.TB) string {
	t.Helper()
	built, err := ledgertalk()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(os.TempDir(), "ledgertalk-"+unique())
	t.Cleanup(func() { os.Remove(out) })
	Install(t, built, out)
	return out
}

var ledgertalk = sync.OnceValues(func() (string, error) {
	out := filepath.Join(sourceRoot(), ".cache", "ledger-bin", "ledgertalk")
	return out, gobuild(out, "./test/ledger/ledgertalk")
})

// Install puts a copy of a program in the place of another, as a package manager
// does: by a new file of the same name, that all may run.
func Install(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", b, 0o755) //nolint:gosec // a program is for everybody
	}
	if err == nil {
		err = os.Chmod(to+".new", 0o755) // whatever the umask is
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// child is the helper that teleport embeds.
func child() string {
	return filepath.Join("sshaccess", "childbin", "bin", "userchild_"+runtime.GOARCH)
}

// NextRelease is the version that NextTeleport says it is.
const NextRelease = "0.1.99"

// NextTeleport returns the command teleport as a later release, built once for
// each test program. Whoever asks for it copies it.
var NextTeleport = sync.OnceValues(func() (string, error) {
	if _, err := os.Stat(filepath.Join(sourceRoot(), child())); err != nil {
		if err := gobuild(child(), "./cmd/teleport-userchild"); err != nil {
			return "", err
		}
	}
	out := filepath.Join(sourceRoot(), ".cache", "next-bin", "teleport")
	return out, gobuild(out, "./cmd/teleport", "-X", "teleport/types.Release="+NextRelease)
})

// gobuild writes a static binary in one step: another test program may be
// running the old one.
func gobuild(out, pkg string, link ...string) error {
	if !filepath.IsAbs(out) {
		out = filepath.Join(sourceRoot(), out)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	// Beside the directory, not in it: what stands there may be embedded.
	tmp := fmt.Sprintf("%s.%s.%d", filepath.Dir(out), filepath.Base(out), os.Getpid())
	defer os.Remove(tmp)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(append([]string{"-s -w"}, link...), " ")}
	profile := filepath.Join(pkg, filepath.Base(pkg)+".pgo")
	if _, err := os.Stat(filepath.Join(sourceRoot(), profile)); err == nil {
		args = append(args, "-pgo="+profile)
	}
	cmd := exec.Command("go", append(args, "-o", tmp, pkg)...)
	cmd.Dir = sourceRoot()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, b)
	}
	return os.Rename(tmp, out)
}

// sourceRoot is the module's directory. A test program that was built with
// -trimpath does not know where its source was; then it asks from where it runs.
var sourceRoot = sync.OnceValue(func() string {
	_, file, _, _ := runtime.Caller(0)
	if filepath.IsAbs(file) {
		return filepath.Dir(filepath.Dir(filepath.Dir(file)))
	}
	if b, err := exec.Command("go", "env", "GOMOD").Output(); err == nil {
		return filepath.Dir(strings.TrimSpace(string(b)))
	}
	return "."
})

var uniqueNumber atomic.Uint64

// unique is a short text that no other caller on this machine gets.
func unique() string {
	return strconv.Itoa(os.Getpid()) + "x" + strconv.FormatUint(uniqueNumber.Add(1), 10)
}
