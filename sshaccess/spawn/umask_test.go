package spawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func umaskOf(t *testing.T, unshare func(int) error, mask int) string {
	r, w, err := os.Pipe()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	p, err := start(Spec{Account: Account{Name: "me", UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Home: "/", Shell: "/bin/sh"},
		Command: "umask", Env: []string{"PATH=/usr/bin:/bin"}, Umask: mask, Stdin: r, Stdout: w, Stderr: w}, unshare)
	w.Close()
	if err != nil {
		t.Error(err)
		return ""
	}
	out, _ := io.ReadAll(r)
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(out))
}

// ownUmask is that of the thread group's leader, which spawning must not change.
func ownUmask(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "Umask:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// A container refuses unshare: sessions start all the same, each with its umask.
func TestUmaskWhereUnshareIsRefused(t *testing.T) {
	before := ownUmask(t)
	refused := func(int) error { return unix.EPERM }
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			mask := []int{0o022, 0o077, 0o007}[i%3]
			if got, want := umaskOf(t, refused, mask), fmt.Sprintf("%04o", mask); got != want {
				t.Errorf("umask %s, want %s", got, want)
			}
		})
	}
	wg.Wait()
	if after := ownUmask(t); after != before {
		t.Errorf("the agent's own umask was %s and is %s", before, after)
	}
	if got := umaskOf(t, unix.Unshare, 0o027); got != "0027" {
		t.Errorf("umask %s", got)
	}
	_, err := start(Spec{Account: Account{UID: uint32(os.Getuid())}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
		func(int) error { return unix.ENOMEM })
	if !errors.Is(err, unix.ENOMEM) {
		t.Errorf("another failure: %v", err)
	}
}
