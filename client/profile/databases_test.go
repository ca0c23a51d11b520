package profile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"teleport/client/clienttest"
	"teleport/client/profile"
	"teleport/fault"
)

func TestDatabases(t *testing.T) {
	d := open(t)
	ca := clienttest.NewCA(t, "one")
	p := save(t, d, ca, "proxy.example:3080", "alice")
	if list, err := d.Databases(p); err != nil || len(list) != 0 {
		t.Errorf("before: %v %v", list, err)
	}
	cred := ca.Credential(t, clienttest.User{Name: "alice"})
	put := func(name string) {
		t.Helper()
		db := &profile.Database{Name: name, Protocol: "postgres", User: "app", Database: "shop", Roles: []string{"reader"}, ServerName: "proxy.one"}
		if err := d.SaveDatabase(p, db, cred.TLSCert, cred.TLSKey); err != nil {
			t.Fatal(err)
		}
	}
	put("second")
	put("first")
	put("first") // again
	list, err := d.Databases(p)
	if err != nil || len(list) != 2 || list[0].Name != "first" || list[0].User != "app" || list[0].Roles[0] != "reader" || !list[0].Expires.After(time.Now()) {
		t.Fatalf("%+v %v", list, err)
	}
	files := d.DatabasePaths(p, "first")
	for _, path := range []string{files.Cert, files.Key} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
	for dir := filepath.Dir(files.Key); dir != d.Path(); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info, err)
		}
	}
	if _, err := os.Stat(files.CA); err != nil {
		t.Error(err)
	}
	if err := overwrite(files.Cert, "garbage"); err != nil {
		t.Fatal(err)
	}
	if list, err = d.Databases(p); err != nil || len(list) != 1 || list[0].Name != "second" {
		t.Errorf("with a damaged one: %v %v", list, err)
	}
	for range 2 {
		if err := d.RemoveDatabase(p, "second"); err != nil {
			t.Error(err)
		}
	}
	if list, err = d.Databases(p); err != nil || len(list) != 0 {
		t.Errorf("after: %v %v", list, err)
	}
	put("third")
	if err := d.Remove(p); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path(), "keys", "*")); len(left) != 0 {
		t.Errorf("after the log-out: %v", left)
	}
}

func TestDatabasesStayInTheirDirectory(t *testing.T) {
	d := open(t)
	ca := clienttest.NewCA(t, "one")
	p := save(t, d, ca, "proxy.example:3080", "alice")
	cred := ca.Credential(t, clienttest.User{Name: "alice"})
	for _, name := range []string{"", "../x", "a/b", ".x", "-o"} {
		if err := d.SaveDatabase(p, &profile.Database{Name: name}, cred.TLSCert, cred.TLSKey); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", name, err)
		}
		if err := d.RemoveDatabase(p, name); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}
