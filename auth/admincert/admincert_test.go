package admincert

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"teleport/fault"
)

func TestWriteAndLoad(t *testing.T) {
	dir := t.TempDir()
	for _, cluster := range []string{"one", "two"} { // the second replaces the first
		if err := Write(dir, Admin{Cluster: cluster, Key: []byte("k"), Certificate: []byte("c")}); err != nil {
			t.Fatal(err)
		}
		a, err := Load(dir)
		if err != nil || a.Cluster != cluster || string(a.Key) != "k" {
			t.Fatalf("%+v %v", a, err)
		}
	}
	info, err := os.Stat(Path(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	info, err = os.Stat(filepath.Dir(Path(dir)))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder mode %v %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(filepath.Dir(Path(dir))); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, fault.NotFound) {
		t.Errorf("nothing there: %v", err)
	}
	if err := Write(dir, Admin{}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"", "{", `{"version":9}`} {
		if err := os.WriteFile(Path(dir), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); !errors.Is(err, fault.Invalid) || fault.Hint(err) == "" {
			t.Errorf("%q: %v", b, err)
		}
	}
}
