// Package pgserver runs Debian's PostgreSQL for tests: each has a server of its
// own, with its data, socket and configuration in one directory.
package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/test/cluster"
)

// Bin is where Debian has the programs that are not in the path.
const Bin = "/usr/lib/postgresql/15/bin"

// Server is one running server. It listens on 127.0.0.1:Port; Dir holds its
// socket, postgresql.conf and pg_hba.conf.
type Server struct {
	Dir, Port string
	run       *exec.Cmd
	as        *syscall.Credential
}

// Start makes a server and waits until it answers. Through its socket everybody
// is let in as anybody; TCP is refused until Configure says otherwise.
func Start(t testing.TB) *Server {
	t.Helper()
	cluster.Need(t, Bin+"/postgres", "postgresql-15")
	cluster.Need(t, "psql", "postgresql-client-15")
	dir, err := os.MkdirTemp("/tmp", "pg") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Dir: dir, Port: cluster.FreePort(t)}
	if os.Geteuid() == 0 { // which the server refuses to be
		s.as = cluster.SystemUser(t, "postgres", "postgresql-15")
		s.Own(t, dir)
	}
	cluster.Kept(t, cluster.KeptKey(t, Bin+"/postgres"), dir+"/data", func() {
		if out, err := s.command("initdb", "-D", dir+"/data", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8").CombinedOutput(); err != nil {
			t.Fatalf("initdb: %v\n%s", err, out)
		}
	})
	s.File(t, "pg_hba.conf", "")
	s.File(t, "postgresql.conf", "")
	s.Configure(t, "", "")
	s.Run(t)
	t.Cleanup(s.Kill)
	return s
}

// Own gives a file to the server's user.
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
	c := exec.Command(filepath.Join(Bin, name), args...)
	c.Dir, c.Env = s.Dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
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

// Configure replaces lines of pg_hba.conf for TCP, and the lines of
// postgresql.conf beside those of the test itself. They count from the next Run.
func (s *Server) Configure(t testing.TB, hba, conf string) {
	t.Helper()
	s.File(t, "pg_hba.conf", "local all all trust\n"+hba+"\n")
	s.File(t, "postgresql.conf", fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %s\nunix_socket_directories = '%s'\nhba_file = '%s/pg_hba.conf'\nfsync = off\nmax_connections = 50\n%s\n",
		s.Port, s.Dir, s.Dir, conf))
}

// Run starts a server that does not run, and waits until it answers.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	var log strings.Builder
	s.run = s.command("postgres", "-D", s.Dir+"/data", "-c", "config_file="+s.Dir+"/postgresql.conf")
	s.run.Stdout, s.run.Stderr = &log, &log
	if err := s.run.Start(); err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		return s.command("pg_isready", "-q", "-h", s.Dir, "-p", s.Port).Run() == nil
	}
	if !cluster.Poll(time.Minute, answers) {
		s.Kill()
		t.Fatalf("the server does not come up:\n%s", log.String())
	}
}

// Kill ends the server at once, as a crash does.
func (s *Server) Kill() {
	if s.run == nil {
		return
	}
	_ = s.run.Process.Signal(syscall.SIGQUIT)
	_ = s.run.Wait()
	s.run = nil
}

// SQL runs statements as the superuser, and returns what psql prints: values
// alone, one row a line.
func (s *Server) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	c := s.command("psql", "-X", "-A", "-t", "-q", "-h", s.Dir, "-p", s.Port, "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1")
	c.Stdin = strings.NewReader(statements)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%.200s: %v\n%s", statements, err, out)
	}
	return string(out)
}
