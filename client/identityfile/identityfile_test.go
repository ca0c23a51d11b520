package identityfile_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/client/clienttest"
	"teleport/client/identityfile"
	"teleport/fault"
)

func TestRoundTrip(t *testing.T) {
	for _, single := range []bool{true, false} {
		ca := clienttest.NewCA(t, "example")
		c := ca.Credential(t, clienttest.User{Name: "alice", Logins: []string{"root", "alice"}, SingleKey: single})
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(data), "PRIVATE KEY-----"); single != (n == 2) {
			t.Errorf("single=%v: %d key lines", single, n)
		}
		back, err := identityfile.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if back.User() != "alice" || back.Cluster() != "example" || strings.Join(back.Logins(), ",") != "root,alice" {
			t.Errorf("read back as %s of %s with %v", back.User(), back.Cluster(), back.Logins())
		}
		if _, err := cert.NewTrust(back.HostAuthorities()); err != nil {
			t.Errorf("authorities read back: %v", err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("the text changed by reading it (%v)", err)
		}
	}
}

func TestUserWithoutLogins(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "auditor"})
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := identityfile.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := back.SSHSigner(); fault.KindOf(err) != fault.Denied {
		t.Errorf("a signer without a certificate: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}, SingleKey: true})
	other := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}, SingleKey: true})
	good := encode(t, c)
	certLine := string(ssh.MarshalAuthorizedKey(c.SSHCert))
	key, rest, _ := strings.Cut(good, "-----END PRIVATE KEY-----\n")
	otherKey, _, _ := strings.Cut(encode(t, other), "-----END PRIVATE KEY-----\n")
	authority := c.Authorities[0].KnownHosts()
	for name, text := range map[string]string{
		"empty":                      "",
		"no key":                     rest,
		"key of another certificate": otherKey + "-----END PRIVATE KEY-----\n" + rest,
		"cut in the key":             good[:60],
		"cut in a certificate":       good[:strings.LastIndex(good, "-----BEGIN CERT")+80],
		"no authority":               good[:strings.Index(good, "@cert-authority")],
		"two SSH certificates":       strings.Replace(good, certLine, certLine+certLine, 1),
		"certificate as authority":   good + strings.Replace(authority, strings.Fields(authority)[2]+" "+strings.Fields(authority)[3], strings.TrimSpace(certLine), 1),
		"words":                      good + "hello\n",
		"three keys":                 key + "-----END PRIVATE KEY-----\n" + key + "-----END PRIVATE KEY-----\n" + good,
		"authority of every name":    good + strings.Replace(authority, "example,*.example", "*", 1),
		"too large":                  good + strings.Repeat("#\n", identityfile.MaxSize),
	} {
		if _, err := identityfile.Decode([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		} else if fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: not a message for people: %v", name, err)
		}
	}
}

func encode(t *testing.T, c *identityfile.Credential) string {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCheckNamesTheReason(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
	now := time.Now()
	if err := c.Check(now); err != nil {
		t.Errorf("fresh: %v", err)
	}
	if err := c.Check(now.Add(24 * time.Hour)); fault.KindOf(err) != fault.Unauthenticated || !strings.Contains(fault.Message(err), "expired") {
		t.Errorf("a day later: %v", err)
	}
	if err := c.Check(now.Add(-24 * time.Hour)); fault.KindOf(err) != fault.Unauthenticated || !strings.Contains(fault.Message(err), "clock") {
		t.Errorf("a day earlier: %v", err)
	}
}

// OpenSSH itself must be able to read what the openssh form holds.
func TestOpenSSHReadsFiles(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
	dir := t.TempDir()
	files, err := c.Files(identityfile.FormatOpenSSH, filepath.Join(dir, "id"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("ssh-keygen", "-y", "-f", filepath.Join(dir, "id")).CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen -y: %v\n%s", err, out)
	}
	out, err := exec.Command("ssh-keygen", "-L", "-f", filepath.Join(dir, "id-cert.pub")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `Key ID: "alice"`) {
		t.Errorf("ssh-keygen -L: %v\n%s", err, out)
	}
}

func TestTLSFiles(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice"})
	files, err := c.Files(identityfile.FormatTLS, "alice")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for i, f := range files {
		if f.Private != (i == 0) {
			t.Errorf("%s: private is %v", f.Name, f.Private)
		}
	}
	if _, err := c.Files("pkcs12", "alice"); fault.KindOf(err) != fault.Invalid {
		t.Errorf("unknown form: %v", err)
	}
}

func TestKnownHostsKeepsOtherLines(t *testing.T) {
	a := clienttest.NewCA(t, "one").Authority()
	b := clienttest.NewCA(t, "two").Authority()
	text := "# mine\n" + a.KnownHosts("proxy.example.com") + "host ssh-ed25519 AAAA\n" + b.KnownHosts()
	list, others, err := identityfile.ParseKnownHosts([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Cluster != "one" || list[1].Cluster != "two" {
		t.Errorf("read %d authorities", len(list))
	}
	if string(others) != "# mine\nhost ssh-ed25519 AAAA\n" {
		t.Errorf("other lines became %q", others)
	}
}

// FuzzDecode feeds bytes from outside to the reader. What it accepts must be
// written and read again as the same text.
func FuzzDecode(f *testing.F) {
	ca := clienttest.NewCA(f, "example")
	for _, u := range []clienttest.User{{Name: "alice", Logins: []string{"root"}}, {Name: "bob", SingleKey: true}} {
		data, err := ca.Credential(f, u).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("@cert-authority a,*.a ssh-ed25519 AAAA type=host\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := identityfile.Decode(data)
		if err != nil {
			return
		}
		text, err := c.Encode()
		if err != nil {
			t.Fatalf("accepted and cannot be written: %v", err)
		}
		again, err := identityfile.Decode(text)
		if err != nil {
			t.Fatalf("written and cannot be read: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(text, second) {
			t.Fatalf("not stable: %v", err)
		}
	})
}
