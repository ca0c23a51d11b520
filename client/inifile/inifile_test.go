package inifile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/client/inifile"
	"teleport/fault"
)

func TestPutAndDrop(t *testing.T) {
	const own = "[ours]\nhost=a\nport=1\n"
	for name, c := range map[string]struct{ before, put, dropped string }{
		"nothing":                  {"", own, ""},
		"another":                  {"[theirs]\nhost=b\n", "[theirs]\nhost=b\n\n" + own, "[theirs]\nhost=b\n"},
		"no end of the last line":  {"[theirs]\nhost=b", "[theirs]\nhost=b\n\n" + own, "[theirs]\nhost=b\n"},
		"a blank line at the end":  {"[theirs]\n\n", "[theirs]\n\n" + own, "[theirs]\n"},
		"an old one in the middle": {"[a]\nx=1\n\n[ours]\nhost=old\nmore=1\n\n[b]\ny=2\n", "[a]\nx=1\n\n" + own + "\n[b]\ny=2\n", "[a]\nx=1\n\n[b]\ny=2\n"},
		"comments of the next one": {"[ours]\nhost=old\n\n# about b\n[b]\ny=2\n", own + "\n# about b\n[b]\ny=2\n", "\n# about b\n[b]\ny=2\n"},
		"comments within":          {"[ours]\nhost=old\n# mine\nport=2\n[b]\n", own + "[b]\n", "[b]\n"},
		"twice":                    {"[ours]\na=1\n[b]\nx=1\n[ours]\na=2\n", own + "[b]\nx=1\n", "[b]\nx=1\n"},
		"a longer name":            {"[ours-2]\na=1\n", "[ours-2]\na=1\n\n" + own, "[ours-2]\na=1\n"},
		"an empty one":             {"[ours]\n", own, ""},
		"with spaces":              {"  [ ours ]  \n a = 1\n[b]\n", own + "[b]\n", "[b]\n"},
		"an order to read more":    {"[mysqld]\nx\n!includedir /etc/my\n", "[mysqld]\nx\n!includedir /etc/my\n\n" + own, "[mysqld]\nx\n!includedir /etc/my\n"},
		"keys before any section":  {"x=1\n", "x=1\n\n" + own, "x=1\n"},
		"Windows":                  {"[b]\r\nx=1\r\n", "[b]\r\nx=1\r\n\r\n[ours]\r\nhost=a\r\nport=1\r\n", "[b]\r\nx=1\r\n"},
		"a byte order mark":        {"\ufeff[ours]\nx=1\n[b]\n", own + "[b]\n", "[b]\n"},
		"no text at all":           {"\x00\xff[x\n]\n", "\x00\xff[x\n]\n\n" + own, "\x00\xff[x\n]\n"},
	} {
		put := inifile.Put([]byte(c.before), "ours", "host=a", "port=1")
		if string(put) != c.put {
			t.Errorf("%s: put: %q, want %q", name, put, c.put)
		}
		if again := inifile.Put(put, "ours", "host=a", "port=1"); !bytes.Equal(again, put) {
			t.Errorf("%s: put twice: %q", name, again)
		}
		if got := inifile.Drop(put, "ours"); string(got) != c.dropped {
			t.Errorf("%s: dropped: %q, want %q", name, got, c.dropped)
		}
	}
}

// FuzzOthersStay: whatever a file holds, its other sections are as they were.
func FuzzOthersStay(f *testing.F) {
	for _, s := range []string{"", "[ours]\nx=1\n", "[a]\n\n[ours]\n# c\n\n[b]\n", "[a]\r\n", "x", "\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := []byte(s)
		put := inifile.Put(text, "ours", "x=1")
		if n := bytes.Count(put, []byte("[ours]")); n == 0 {
			t.Errorf("%q: not there", put)
		}
		gone := inifile.Drop(text, "ours")
		if !strings.Contains(s, "ours") && !bytes.Equal(gone, text) {
			t.Errorf("%q became %q", s, gone)
		}
		if again := inifile.Drop(gone, "ours"); !bytes.Equal(again, gone) {
			t.Errorf("%q dropped twice: %q", gone, again)
		}
		others := func(b []byte) string { return strings.Join(strings.Fields(string(inifile.Drop(b, "ours"))), " ") }
		if others(put) != others(text) {
			t.Errorf("%q became %q", s, put)
		}
	})
}

func TestEdit(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	put := func(b []byte) []byte { return inifile.Put(b, "ours", "x=1") }
	drop := func(b []byte) []byte { return inifile.Drop(b, "ours") }
	check := func(want string, mode os.FileMode) {
		t.Helper()
		b, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(b) != want || info.Mode() != mode {
			t.Errorf("%q %v %v", b, info, err)
		}
	}
	edit := func(path string, change func([]byte) []byte) {
		t.Helper()
		if err := inifile.Edit(path, change); err != nil {
			t.Error(err)
		}
	}
	edit(path, drop)
	edit(path, put)
	check("[ours]\nx=1\n", 0o600)
	edit(path, drop)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("an empty file is left: %v", err)
	}
	if err := os.WriteFile(path, []byte("[a]\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	edit(link, put)
	check("[a]\n\n[ours]\nx=1\n", 0o640)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info, err)
	}
	edit(link, drop)
	check("[a]\n", 0o640)
	if err := inifile.Edit(dir, put); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a directory: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, inifile.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := inifile.Edit(path, put); fault.KindOf(err) != fault.Limit {
		t.Errorf("a large file: %v", err)
	}
}
