package profile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"teleport/client/clienttest"
	"teleport/client/profile"
	"teleport/fault"
)

func open(t *testing.T) *profile.Dir {
	t.Helper()
	d, err := profile.Open(filepath.Join(t.TempDir(), "tsh"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func save(t *testing.T, d *profile.Dir, ca *clienttest.CA, proxy, user string) *profile.Profile {
	t.Helper()
	p := &profile.Profile{WebProxyAddr: proxy, User: user, Cluster: ca.Cluster, AuthType: "local", TLSRouting: true}
	if err := d.Save(p, ca.Credential(t, clienttest.User{Name: user, Logins: []string{"root"}})); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSaveAndRead(t *testing.T) {
	d := open(t)
	if _, err := d.Current(); fault.KindOf(err) != fault.NotFound {
		t.Errorf("nothing saved: %v", err)
	}
	one, two := clienttest.NewCA(t, "one"), clienttest.NewCA(t, "two")
	save(t, d, one, "proxy.one.example:3080", "alice@example.com")
	second := save(t, d, two, "[2001:db8::1]:443", "bob")
	cur, err := d.Current()
	if err != nil || *cur != *second {
		t.Fatalf("current is %+v, %v", cur, err)
	}
	p, err := d.Load("proxy.one.example")
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Credential(p)
	if err != nil {
		t.Fatal(err)
	}
	if c.User() != "alice@example.com" || len(c.Authorities) != 1 || c.Cluster() != "one" {
		t.Errorf("read %s with authorities of %d clusters", c.User(), len(c.Authorities))
	}
	if list, err := d.List(); err != nil || len(list) != 2 {
		t.Errorf("%d profiles, %v", len(list), err)
	}
	if err := d.SetCurrent(p); err != nil {
		t.Fatal(err)
	}
	if cur, _ = d.Current(); cur.User != p.User {
		t.Errorf("current is still %s", cur.User)
	}
}

func TestModes(t *testing.T) {
	d := open(t)
	save(t, d, clienttest.NewCA(t, "one"), "proxy.example:3080", "alice")
	err := filepath.WalkDir(d.Path(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		if strings.HasPrefix(e.Name(), ".new-") {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRefusesDirectoryOthersCanWrite(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := profile.Open(path); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("opened: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := profile.Open(file); fault.KindOf(err) != fault.Invalid {
		t.Errorf("opened a file: %v", err)
	}
}

func TestKnownHostsOfSeveralClusters(t *testing.T) {
	d := open(t)
	one, two := clienttest.NewCA(t, "one"), clienttest.NewCA(t, "two")
	first := save(t, d, one, "proxy.one.example:3080", "alice")
	path := d.Paths(first).KnownHosts
	if err := appendTo(path, "mine ssh-ed25519 AAAA\n"); err != nil {
		t.Fatal(err)
	}
	save(t, d, two, "proxy.two.example:3080", "alice")
	save(t, d, one, "proxy.one.example:3080", "alice") // logging in again adds nothing
	text := read(t, path)
	if n := strings.Count(text, "@cert-authority"); n != 2 || !strings.Contains(text, "mine ssh-ed25519") {
		t.Errorf("known_hosts has %d authorities:\n%s", n, text)
	}
	if err := d.Remove(first); err != nil {
		t.Fatal(err)
	}
	text = read(t, path)
	if strings.Contains(text, "*.one") || !strings.Contains(text, "*.two") || !strings.Contains(text, "mine ssh-ed25519") {
		t.Errorf("after log-out known_hosts is\n%s", text)
	}
}

// A cluster that takes the name of another one does not get to speak for its
// servers: known_hosts is one file for all.
func TestARivalOfTheSameNameIsRefused(t *testing.T) {
	d := open(t)
	honest := clienttest.NewCA(t, "one")
	first := save(t, d, honest, "proxy.one.example:3080", "alice")
	before := read(t, d.Paths(first).KnownHosts)
	rival := clienttest.NewCA(t, "one").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
	err := d.Save(&profile.Profile{WebProxyAddr: "evil.example:3080", User: "alice", Cluster: "one"}, rival)
	if fault.KindOf(err) != fault.Untrusted || fault.Hint(err) == "" {
		t.Errorf("a rival was stored: %v", err)
	}
	if read(t, d.Paths(first).KnownHosts) != before {
		t.Error("known_hosts has changed")
	}
	save(t, d, honest, "second.one.example:3080", "alice") // another proxy of the same cluster
	if err := d.Remove(&profile.Profile{WebProxyAddr: "second.one.example:3080", User: "alice", Cluster: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(first, rival); err != nil { // the cluster behind the same proxy was made anew
		t.Error(err)
	}
}

func TestRemoveLeavesNoKey(t *testing.T) {
	d := open(t)
	p := save(t, d, clienttest.NewCA(t, "one"), "proxy.example:3080", "alice")
	if err := d.Remove(p); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(d.Path(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != ".lock" && e.Name() != "known_hosts" {
			t.Errorf("%s is left", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Current(); fault.KindOf(err) != fault.NotFound {
		t.Errorf("still current: %v", err)
	}
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(d *profile.Dir, p *profile.Profile) error{
		"profile": func(d *profile.Dir, p *profile.Profile) error {
			return overwrite(filepath.Join(d.Path(), "proxy.example.yaml"), ": : :")
		},
		"another proxy": func(d *profile.Dir, p *profile.Profile) error {
			return overwrite(filepath.Join(d.Path(), "proxy.example.yaml"), "web_proxy_addr: evil:1\nuser: a\ncluster: b\n")
		},
		"path in a name": func(d *profile.Dir, p *profile.Profile) error {
			return overwrite(filepath.Join(d.Path(), "proxy.example.yaml"), "web_proxy_addr: proxy.example:1\nuser: ../../a\ncluster: b\n")
		},
		"key":         func(d *profile.Dir, p *profile.Profile) error { return overwrite(d.Paths(p).TLSKey, "garbage") },
		"missing key": func(d *profile.Dir, p *profile.Profile) error { return os.Remove(d.Paths(p).SSHKey) },
		"certificate": func(d *profile.Dir, p *profile.Profile) error { return overwrite(d.Paths(p).TLSCert, "") },
		"current-profile": func(d *profile.Dir, p *profile.Profile) error {
			return overwrite(filepath.Join(d.Path(), "current-profile"), "../x")
		},
	} {
		d := open(t)
		p := save(t, d, clienttest.NewCA(t, "one"), "proxy.example:3080", "alice")
		if err := damage(d, p); err != nil {
			t.Fatal(err)
		}
		cur, err := d.Current()
		if err == nil {
			_, err = d.Credential(cur)
		}
		if err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusesNames(t *testing.T) {
	d := open(t)
	ca := clienttest.NewCA(t, "one")
	c := ca.Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
	for _, p := range []profile.Profile{
		{WebProxyAddr: "p:1", User: "../x", Cluster: "one"}, {WebProxyAddr: "../p:1", User: "x", Cluster: "one"},
		{WebProxyAddr: "p:1", User: "x", Cluster: "a/b"}, {WebProxyAddr: "p:1", User: "", Cluster: "one"},
		{WebProxyAddr: "p:1", User: "x\ny", Cluster: "one"}, {WebProxyAddr: "-o:1", User: "x", Cluster: "one"},
	} {
		if err := d.Save(&p, c); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// Two log-ins at once must both be there afterwards.
func TestConcurrentLogins(t *testing.T) {
	d := open(t)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		ca := clienttest.NewCA(t, name)
		c := ca.Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
		wg.Go(func() {
			if err := d.Save(&profile.Profile{WebProxyAddr: name + ".example:1", User: "alice", Cluster: name}, c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err := d.List()
	if err != nil || len(list) != 4 {
		t.Fatalf("%d profiles, %v", len(list), err)
	}
	for _, p := range list {
		if c, err := d.Credential(p); err != nil || c.Cluster() != p.Cluster {
			t.Errorf("%s: %v", p.Name(), err)
		}
	}
}

func TestHostOf(t *testing.T) {
	for addr, want := range map[string]string{"a:1": "a", "a": "a", "[::1]:3080": "::1", "::1": "::1", "[::1]": "::1", "1.2.3.4:5": "1.2.3.4"} {
		if got := profile.HostOf(addr); got != want {
			t.Errorf("HostOf(%q) = %q", addr, got)
		}
	}
}

func overwrite(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
