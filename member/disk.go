package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"teleport/fault"
	"teleport/wholefile"
)

// stateDir is a process's data directory.
type stateDir string

// maxStateFile bounds what is read from the directory, in bytes.
const maxStateFile = 4 << 20

// lockPoll is how often a lock that another generation holds is tried again.
const lockPoll = 50 * time.Millisecond

func (d stateDir) uuidPath() string     { return filepath.Join(string(d), "host_uuid") }
func (d stateDir) procDir() string      { return filepath.Join(string(d), "proc") }
func (d stateDir) identityPath() string { return filepath.Join(d.procDir(), "identity.json") }
func (d stateDir) pendingPath() string  { return filepath.Join(d.procDir(), "pending.json") }
func (d stateDir) lockPath() string     { return filepath.Join(d.procDir(), "lock") }

// prepare makes the directories.
func (d stateDir) prepare() error {
	if err := os.MkdirAll(d.procDir(), 0o700); err != nil {
		return d.cannotWrite(err, d.procDir())
	}
	return nil
}

// cannotWrite says what is wrong with the directory and what to do.
func (d stateDir) cannotWrite(err error, path string) error {
	f := fault.New(fault.Unavailable, "cannot write %s", path)
	switch {
	case errors.Is(err, unix.EROFS):
		f = fault.New(fault.Unavailable, "cannot write %s: the file system is read-only", path).WithHint("set teleport.data_dir to a directory that can be written")
	case errors.Is(err, fs.ErrPermission):
		f = fault.New(fault.Unavailable, "cannot write %s: permission denied", path).WithHint("run as the owner of the data directory, or set teleport.data_dir to another one")
	case errors.Is(err, unix.ENOSPC):
		f = fault.New(fault.Unavailable, "cannot write %s: the disk is full", path).WithHint("free some space; nothing was changed")
	}
	return withCause(f, err)
}

// withCause returns f with err as its cause, for logs.
func withCause(f *fault.Error, err error) error {
	var w *fault.Error
	if !errors.As(fault.Wrap(err, f.Kind, "%s", f.Message), &w) {
		return f
	}
	return w.WithHint("%s", f.Hint)
}

// hostUUID returns the UUID on disk, or "" when there is none yet.
func (d stateDir) hostUUID() (string, error) {
	b, err := readBounded(d.uuidPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "cannot read %s", d.uuidPath())
	}
	id := strings.TrimSpace(string(b))
	if uuid.Validate(id) != nil {
		return "", fault.New(fault.Invalid, "%s does not hold a host UUID", d.uuidPath()).
			WithHint("restore it from a backup, or remove it together with %s to join as a new host", d.procDir())
	}
	return id, nil
}

// writeHostUUID stores the UUID unless it is there already; another one is never
// overwritten silently.
func (d stateDir) writeHostUUID(id string) error {
	have, err := d.hostUUID()
	if err != nil || have == id {
		return err
	}
	return d.writeFile(d.uuidPath(), []byte(id+"\n"), 0o644)
}

// EnsureHostUUID returns the UUID of the host in a data directory, making one at
// the first start. Only a process that is certified without a join (auth) needs it.
func EnsureHostUUID(dataDir string) (string, error) {
	d := stateDir(dataDir)
	if err := d.prepare(); err != nil {
		return "", err
	}
	id, err := d.hostUUID()
	if err != nil || id != "" {
		return id, err
	}
	id = uuid.NewString()
	return id, d.writeHostUUID(id)
}

func (d stateDir) readIdentity() (state, error) {
	var st state
	b, err := readBounded(d.identityPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return st, fault.New(fault.NotFound, "this host has not joined a cluster yet")
	case err != nil:
		return st, fault.Wrap(err, fault.Unavailable, "cannot read %s", d.identityPath())
	}
	if err := decodeStrict(b, &st); err != nil {
		return st, d.explain(err)
	}
	if st.Version != stateVersion {
		return st, fault.New(fault.Invalid, "%s has version %d, this program reads %d", d.identityPath(), st.Version, stateVersion).
			WithHint("it was written by another version of teleport")
	}
	return st, nil
}

// explain turns whatever is wrong with the identity file into one line.
func (d stateDir) explain(err error) error {
	if k := fault.KindOf(err); k == fault.Unauthenticated || k == fault.Denied {
		return err
	}
	f := fault.New(fault.Invalid, "the identity in %s is damaged: %s", d.identityPath(), fault.Message(err)).
		WithHint("restore the file from a backup, or remove it and join again with a new token")
	return withCause(f, err)
}

func (d stateDir) writeIdentity(st state) error { return d.writeJSON(d.identityPath(), st) }

// pendingFile is pending.json.
type pendingFile struct {
	SSHKey string `json:"ssh_key"`
	TLSKey string `json:"tls_key"`
}

// pendingKeys returns the keys of a request under way, or makes them and has them
// on disk before anybody sees their public halves.
func (m *Member) pendingKeys() (*pair, error) {
	b, err := readBounded(m.dir.pendingPath())
	if err == nil {
		var f pendingFile
		if decodeStrict(b, &f) == nil {
			if p, err := parsePair(f.SSHKey, f.TLSKey); err == nil {
				return p, nil
			}
		}
		m.log.Warn("the keys of an interrupted request are damaged; making new ones", "path", m.dir.pendingPath())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot read %s", m.dir.pendingPath())
	}
	p, err := newPair(m.c.Suite)
	if err != nil {
		return nil, err
	}
	return p, m.dir.writeJSON(m.dir.pendingPath(), pendingFile{SSHKey: string(p.sshPEM), TLSKey: string(p.tlsPEM)})
}

// dropPending forgets the keys of a request that is done. Keys that stay behind do
// no harm but would be certified again.
func (d stateDir) dropPending(log *slog.Logger) {
	if err := os.Remove(d.pendingPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("cannot remove the keys of a finished request", "path", d.pendingPath(), "error", err)
	}
}

func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Invalid, "it is not the JSON that was written") // the cause may quote a key
	}
	if _, err := dec.Token(); err != io.EOF {
		return fault.New(fault.Invalid, "something stands behind its end")
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err == nil && len(b) > maxStateFile {
		return nil, fault.New(fault.Limit, "%s is larger than %d bytes", path, maxStateFile)
	}
	return b, err
}

func (d stateDir) writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return d.writeFile(path, append(b, '\n'), 0o600)
}

// writeFile replaces a file as a whole: a reader, or a machine that comes back
// after a crash, sees the old content or the new.
func (d stateDir) writeFile(path string, b []byte, mode os.FileMode) error {
	err := wholefile.Write(path, b, mode)
	if err != nil {
		return d.cannotWrite(err, path)
	}
	return nil
}

// lock keeps other generations of this process from renewing at the same time.
func (d stateDir) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(d.lockPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, d.cannotWrite(err, d.lockPath())
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fault.Wrap(err, fault.Unavailable, "cannot lock %s", d.lockPath())
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
