package stocksshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
	"teleport/wholefile"
)

// Install puts the host certificate and the authorities whose user certificates
// are taken into files, and makes sshd_config include them. sshd checks the whole
// before it counts; what it refuses leaves everything as it was. Installed again,
// the files are replaced and sshd_config stays.
func (s *Server) Install(ctx context.Context, host *ssh.Certificate, authorities []ssh.PublicKey) error {
	if len(authorities) == 0 {
		return fault.New(fault.Untrusted, "the cluster named no authority for SSH servers")
	}
	old, err := readSmall(s.config)
	if err != nil {
		return fault.Unwritable(err, s.config)
	}
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return fault.Unwritable(err, s.o.Dir)
	}
	var trusted strings.Builder
	for _, k := range authorities {
		trusted.WriteString(keys.SSHLine(k) + "\n")
	}
	undo, err := s.replace(map[string]string{
		certFile: keys.SSHLine(host) + "\n", authorityFile: trusted.String(),
		includeFile: fmt.Sprintf("# Written by: teleport join openssh\nHostCertificate %s\nTrustedUserCAKeys %s\n", s.path(certFile), s.path(authorityFile)),
	})
	if err != nil {
		return errors.Join(err, undo())
	}
	if err := s.change(ctx, old); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

// replace writes our files. undo brings back what was there before.
func (s *Server) replace(files map[string]string) (undo func() error, err error) {
	before := map[string][]byte{}
	undo = func() error {
		var errs error
		for path, b := range before {
			if b == nil {
				errs = errors.Join(errs, os.Remove(path))
			} else {
				errs = errors.Join(errs, wholefile.Write(path, b, 0o644))
			}
		}
		return errs
	}
	for name, text := range files {
		path := s.path(name)
		b, err := readSmall(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return undo, fault.Unwritable(err, path)
		}
		if err := wholefile.Write(path, []byte(text), 0o644); err != nil {
			return undo, fault.Unwritable(err, path)
		}
		before[path] = b
	}
	return undo, nil
}

// change has sshd check its configuration with our line in it, and puts the line
// into the file that counts, whose owner and mode stay.
func (s *Server) change(ctx context.Context, old []byte) error {
	if hasLine(old, s.include) {
		_, err := s.run(ctx, "-t", "-f", s.config)
		return err
	}
	info, err := os.Stat(s.config)
	if err != nil {
		return fault.Unwritable(err, s.config)
	}
	next := filepath.Join(filepath.Dir(s.config), "."+filepath.Base(s.config)+".teleport")
	text := append([]byte(s.include+"\n"), old...)
	if err := wholefile.Write(next, text, info.Mode().Perm()); err != nil {
		return fault.Unwritable(err, next)
	}
	_, err = s.run(ctx, "-t", "-f", next)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = fault.Unwritable(os.Chown(next, int(st.Uid), int(st.Gid)), next)
	}
	if err == nil {
		err = fault.Unwritable(os.Rename(next, s.config), s.config)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return nil
}

// hasLine reports whether a line stands before any Match block, to which
// everything after it would belong.
func hasLine(text []byte, line string) bool {
	for l := range bytes.Lines(text) {
		l := strings.TrimSpace(string(l))
		if l == line {
			return true
		}
		if word, _, _ := strings.Cut(l, " "); strings.EqualFold(word, "match") {
			return false
		}
	}
	return false
}

// Reload has the running sshd read its configuration again, and says how. Its
// sessions go on. An sshd that is started for each connection needs nothing; "" is
// for one that was not found.
func (s *Server) Reload(ctx context.Context) (how string, err error) {
	if pid := s.running(); pid > 0 {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			return "", fault.Wrap(err, fault.Denied, "sshd (process %d) takes no signal of ours", pid)
		}
		return fmt.Sprintf("HUP to process %d", pid), nil
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, sshdWithin)
	defer cancel()
	for _, unit := range []string{"ssh.service", "sshd.service"} {
		cmd := exec.CommandContext(ctx, "systemctl", "try-reload-or-restart", unit)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		if cmd.Run() == nil {
			return "systemctl try-reload-or-restart " + unit, nil
		}
	}
	return "", nil
}

// running is the process id of the sshd that wrote the pid file, 0 when there is
// none any more.
func (s *Server) running() int {
	if s.pidFile == "" {
		return 0
	}
	b, err := readSmall(s.pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	// The number may be another's by now.
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || !strings.HasPrefix(filepath.Base(exe), "sshd") {
		return 0
	}
	return pid
}
