// Package myserver runs Debian's MariaDB for tests: a server has its data, socket
// and files in one directory of its own.
package myserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/test/cluster"
)

// Bin is where Debian has the server, which is not in every path.
const Bin = "/usr/sbin/mariadbd"

// Server is one running server. It listens on 127.0.0.1:Port; Dir holds its socket.
type Server struct {
	Dir, Port string
	run       *exec.Cmd
	as        *syscall.Credential
}

// Start makes a server for a test, and waits until it answers.
func Start(t testing.TB) *Server {
	t.Helper()
	s := New(t)
	t.Cleanup(s.Close)
	return s
}

// New makes a server that outlives the test, which takes seconds: whoever shares
// one calls Close. Through its socket root is let in; it has no other users.
func New(t testing.TB) *Server {
	t.Helper()
	cluster.Need(t, Bin, "mariadb-server")
	cluster.Need(t, "mariadb", "mariadb-client")
	dir, err := os.MkdirTemp("/tmp", "my") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: dir, Port: cluster.FreePort(t)}
	if os.Geteuid() == 0 { // which the server does not like to be
		s.as = cluster.SystemUser(t, "mysql", "mariadb-server")
		s.Own(t, dir)
	}
	cluster.Kept(t, cluster.KeptKey(t, Bin), dir+"/data", func() {
		if out, err := s.command("mariadb-install-db", "--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput(); err != nil {
			s.Close()
			t.Fatalf("mariadb-install-db: %v\n%s", err, out)
		}
	})
	s.Run(t)
	return s
}

// Own gives a file to the user that the server runs as.
func (s *Server) Own(t testing.TB, path string) {
	t.Helper()
	if s.as == nil {
		return
	}
	if err := os.Chown(path, int(s.as.Uid), int(s.as.Gid)); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	// In a common directory for temporary files a server that starts removes those of others.
	c := exec.Command(name, append([]string{"--no-defaults", "--datadir=" + s.Dir + "/data", "--tmpdir=" + s.Dir, "--skip-name-resolve", "--innodb-flush-method=nosync", "--innodb-log-file-size=10M"}, args...)...)
	c.Dir, c.Env = s.Dir, []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

// File writes a file in Dir that the server's user alone can read, and returns its path.
func (s *Server) File(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Own(t, path)
	return path
}

// Run starts a server that does not run, with options as on its command line, and
// waits until it answers.
func (s *Server) Run(t testing.TB, options ...string) {
	t.Helper()
	log := s.Dir + "/log"
	s.run = s.command(Bin, append([]string{"--port=" + s.Port, "--bind-address=127.0.0.1", "--socket=" + s.Dir + "/s", "--pid-file=" + s.Dir + "/pid",
		"--log-error=" + log, "--max-allowed-packet=64M", "--innodb-buffer-pool-size=32M"}, options...)...)
	if err := s.run.Start(); err != nil {
		t.Fatal(err)
	}
	answers := func() bool { _, err := s.root("select 1"); return err == nil }
	if !cluster.Poll(time.Minute, answers) {
		said, _ := os.ReadFile(log)
		s.Kill()
		t.Fatalf("the server does not come up:\n%s", said)
	}
}

// Kill ends the server at once, as a crash does.
func (s *Server) Kill() {
	if s.run == nil {
		return
	}
	_ = s.run.Process.Kill()
	_ = s.run.Wait()
	s.run = nil
}

// Close ends the server and removes what it had.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.Dir)
}

func (s *Server) root(statements string) ([]byte, error) {
	c := exec.Command("mariadb", "--no-defaults", "-N", "-B", "-uroot", "-S", s.Dir+"/s")
	c.Stdin = strings.NewReader(statements)
	return c.CombinedOutput()
}

// SQL runs statements as root, and returns what the client prints: values alone,
// one row a line.
func (s *Server) SQL(t testing.TB, statements string) string {
	t.Helper()
	out, err := s.root(statements)
	if err != nil {
		t.Fatalf("%.200s: %v\n%s", statements, err, out)
	}
	return string(out)
}
