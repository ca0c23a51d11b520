package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Ports for listeners lie below the range from which the kernel takes the ports
// of outgoing connections, so that none of those can be in the way later.
const (
	firstPort = 20000
	lastPort  = 31999
)

// freePort takes a port for the life of this test program. A lock file keeps the
// test programs of this machine apart; a probe keeps strangers out.
func freePort() (string, error) {
	dir := filepath.Join(os.TempDir(), "teleport-test-ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for range 500 {
		p := strconv.Itoa(firstPort + rand.IntN(lastPort-firstPort))
		fd, err := unix.Open(filepath.Join(dir, p), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return "", fmt.Errorf("port lock: %w", err)
		}
		// The descriptor stays open, and with it the lock, until the program ends.
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && probe(p) == nil {
			return p, nil
		}
		if err := unix.Close(fd); err != nil {
			return "", err
		}
	}
	return "", errors.New("no free port was found")
}

func probe(port string) error {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	return ln.Close()
}

// FreePort takes a port of this machine for the life of this test program.
func FreePort(t testing.TB) string {
	t.Helper()
	p, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
