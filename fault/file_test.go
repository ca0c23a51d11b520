package fault

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFilesSayWhy(t *testing.T) {
	dir := t.TempDir()
	_, missing := os.Open(filepath.Join(dir, "none"))
	_, isDir := os.ReadFile(dir)
	noParent := os.WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600)
	full := &os.PathError{Op: "write", Path: "/p", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err  error
		kind Kind
		text string
	}{
		{Unreadable(missing, "/p"), Invalid, "cannot read /p: it does not exist"},
		{Unreadable(isDir, "/p"), Invalid, "cannot read /p: it is a directory"},
		{Unwritable(noParent, "/p"), Invalid, "cannot write /p: its directory does not exist"},
		{Unwritable(&os.PathError{Err: syscall.EEXIST}, "/p"), AlreadyExists, "cannot write /p: it exists"},
		{Unwritable(full, "/p"), Unavailable, "cannot write /p: the disk is full"},
		{Unwritable(&os.PathError{Err: syscall.EROFS}, "/p"), Unavailable, "cannot write /p: the file system is read-only"},
		{Unwritable(&os.PathError{Err: syscall.EIO}, "/p"), Unavailable, "cannot write /p: input/output error"},
		{Unwritable(New(Denied, "no"), "/p"), Denied, "no"},
	} {
		if KindOf(c.err) != c.kind || Message(c.err) != c.text {
			t.Errorf("%v %q, want %v %q", KindOf(c.err), Message(c.err), c.kind, c.text)
		}
	}
	if Unwritable(nil, "/p") != nil {
		t.Error("nil became an error")
	}
	if !errors.Is(Unwritable(full, "/p"), syscall.ENOSPC) {
		t.Error("the cause is lost")
	}
}

func TestHintOfJoinedErrors(t *testing.T) {
	err := Wrap(errors.Join(errors.New("closing"), New(Invalid, "damaged").WithHint("restore it")), Invalid, "outer")
	if got := Hint(err); got != "restore it" {
		t.Errorf("hint %q", got)
	}
	if got := Hint(errors.Join(errors.New("a"), errors.New("b"))); got != "" {
		t.Errorf("hint %q of errors without one", got)
	}
}
