package profile

import (
	"crypto/x509"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/wholefile"
)

type certs = []*x509.Certificate

// checkPrivate refuses a directory of somebody else, or one that others can
// write. Readable is refused for files only: they are made 0600.
func (d *Dir) checkPrivate() error {
	info, err := os.Stat(d.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the profile directory %s cannot be read", d.path)
	}
	if !info.IsDir() {
		return fault.New(fault.Invalid, "%s is not a directory", d.path).WithHint("set TELEPORT_HOME to a directory of your own")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fault.New(fault.Untrusted, "the profile directory %s can be written by others", d.path).
			WithHint("make it private: chmod 700 %s", d.path)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		return err
	}
	if uid := os.Geteuid(); int(st.Uid) != uid && uid != 0 {
		return fault.New(fault.Untrusted, "the profile directory %s belongs to another user", d.path).
			WithHint("set TELEPORT_HOME to a directory of your own")
	}
	return nil
}

// read returns a file below the directory, at most identityfile.MaxSize long.
func (d *Dir) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, identityfile.MaxSize+1))
	if err == nil && len(data) > identityfile.MaxSize {
		err = fault.New(fault.Limit, "%s is too large", f.Name())
	}
	return data, err
}

// write replaces a file below the directory in one step.
func (d *Dir) write(name string, data []byte) error {
	path := filepath.Join(d.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return d.unwritable(err)
	}
	if err := wholefile.Write(path, data, 0o600); err != nil {
		return d.unwritable(err)
	}
	return nil
}

func (d *Dir) unwritable(err error) error {
	return fault.Advise(fault.Unwritable(err, d.path), "set TELEPORT_HOME to a directory of your own, on a disk with room")
}

// locked runs fn while no other process writes the directory.
func (d *Dir) locked(fn func() error) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return d.unwritable(err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return d.unwritable(err)
	}
	defer f.Close() // drops the lock
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return d.unwritable(err)
	}
	return fn()
}
