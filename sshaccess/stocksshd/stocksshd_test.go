package stocksshd

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
)

// host is a directory with the parts of a stock server.
type host struct {
	*testing.T
	dir, sshd string
}

func newHost(t *testing.T) *host {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Fatalf("this test needs sshd: install the package openssh-server (test/peers does): %v", err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	return &host{t, t.TempDir(), sshd}
}

func (h *host) write(name, text string) string {
	h.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	return path
}

func (h *host) read(path string) string {
	h.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return string(b)
}

func (h *host) key(name string, a keys.Algorithm) (string, ssh.Signer) {
	h.Helper()
	k, err := keys.Generate(a)
	if err != nil {
		h.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(k, "")
	if err != nil {
		h.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(k)
	if err != nil {
		h.Fatal(err)
	}
	return h.write(name, string(pem.EncodeToMemory(block))), s
}

func (h *host) certificate(key ssh.PublicKey) *ssh.Certificate {
	h.Helper()
	_, ca := h.key("ca", keys.Ed25519)
	c := &ssh.Certificate{Key: key, CertType: ssh.HostCert, KeyId: "x", ValidPrincipals: []string{"x"}, ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		h.Fatal(err)
	}
	return c
}

func (h *host) inspect(config string) (*Server, error) {
	return Inspect(context.Background(), Options{SSHD: h.sshd, ConfigFile: config, Dir: filepath.Join(h.dir, "ours")})
}

func (h *host) install(s *Server) error {
	_, ca := h.key("authority", keys.Ed25519)
	return s.Install(context.Background(), h.certificate(s.Key().PublicKey()), []ssh.PublicKey{ca.PublicKey()})
}

func TestInstallAndAgain(t *testing.T) {
	h := newHost(t)
	ec, _ := h.key("ecdsa", keys.ECDSAP256)
	ed, edKey := h.key("ed25519", keys.Ed25519)
	const tail = "PidFile none\nMatch User nobody\n    ForceCommand true\n"
	config := h.write("sshd_config", "Port 2201\nPort 2202\nHostKey "+ec+"\nHostKey "+ed+"\n"+tail)
	if err := os.Chmod(config, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(h.dir, "link")
	if err := os.Symlink(config, link); err != nil {
		t.Fatal(err)
	}
	before := h.read(config)
	for range 2 {
		s, err := h.inspect(link)
		if err != nil {
			t.Fatal(err)
		}
		if s.Port() != "2201" || keys.SSHLine(s.Key().PublicKey()) != keys.SSHLine(edKey.PublicKey()) {
			t.Errorf("port %s, key %s", s.Port(), s.Key().PublicKey().Type())
		}
		if err := h.install(s); err != nil {
			t.Fatal(err)
		}
		if got, want := h.read(config), "Include "+filepath.Join(h.dir, "ours", "sshd.conf")+"\n"+before; got != want {
			t.Errorf("the configuration is\n%s", got)
		}
		if how, err := s.Reload(t.Context()); how != "" && !strings.HasPrefix(how, "systemctl") || err != nil {
			t.Errorf("%q, %v", how, err)
		}
	}
	// It counts, for sshd itself.
	s, err := h.inspect(config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.effective(t.Context())
	if err != nil || got.first("trustedusercakeys") != s.path(authorityFile) || !slices.Contains(got["hostcertificate"], s.path(certFile)) {
		t.Errorf("%v, %v", got, err)
	}
	if info, err := os.Lstat(config); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
}

func TestWhatIsNotChanged(t *testing.T) {
	h := newHost(t)
	ed, edKey := h.key("ed25519", keys.Ed25519)
	good := "HostKey " + ed + "\nPidFile none\n"
	theirs := h.write("theirs.pub", keys.SSHLine(edKey.PublicKey())+"\n")
	cert := h.write("their-cert.pub", keys.SSHLine(h.certificate(edKey.PublicKey()))+"\n")
	for name, c := range map[string]struct {
		config string
		kind   fault.Kind
		says   string
	}{
		"rubbish":                {good + "Rubbish yes\n", fault.Invalid, "sshd says: "},
		"another authority":      {good + "TrustedUserCAKeys " + theirs + "\n", fault.Conflict, theirs},
		"a key that has another": {good + "HostCertificate " + cert + "\n", fault.Denied, "no host key"},
	} {
		config := h.write("sshd_config", c.config)
		_, err := h.inspect(config)
		if fault.KindOf(err) != c.kind || !strings.Contains(fault.Message(err), c.says) || strings.Contains(fault.Message(err), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if got := h.read(config); got != c.config {
			t.Errorf("%s: the configuration is\n%s", name, got)
		}
	}
	if _, err := h.inspect(filepath.Join(h.dir, "none")); fault.KindOf(err) != fault.NotFound {
		t.Errorf("no configuration: %v", err)
	}
	if _, err := Inspect(t.Context(), Options{SSHD: h.sshd, ConfigFile: h.write("sshd_config", good), Dir: h.dir + "/a b"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a directory that sshd cannot name: %v", err)
	}
}

// What sshd refuses after all is undone: in the configuration and in our files.
func TestRefusedIsUndone(t *testing.T) {
	h := newHost(t)
	ed, _ := h.key("ed25519", keys.Ed25519)
	good := "HostKey " + ed + "\nPidFile none\n"
	config := h.write("sshd_config", good)
	s, err := h.inspect(config)
	if err != nil {
		t.Fatal(err)
	}
	refused := good + "Rubbish yes\n" // meanwhile, by somebody else
	h.write("sshd_config", refused)
	if err := h.install(s); fault.KindOf(err) != fault.Invalid {
		t.Errorf("%v", err)
	}
	left, err := os.ReadDir(filepath.Join(h.dir, "ours"))
	if got := h.read(config); got != refused || err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v, and\n%s", left, err, got)
	}
	if names, err := filepath.Glob(filepath.Join(h.dir, ".*")); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
	h.write("sshd_config", good)
	if err := h.install(s); err != nil {
		t.Fatal(err)
	}
	was := h.read(s.path(certFile))
	h.write("sshd_config", s.include+"\n"+refused)
	if err := h.install(s); err == nil || h.read(s.path(certFile)) != was {
		t.Errorf("a certificate was replaced that sshd does not take: %v", err)
	}
	if err := s.Install(t.Context(), h.certificate(s.Key().PublicKey()), nil); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("no authority: %v", err)
	}
}

// A line after a Match block belongs to it, and a stale pid file names somebody else.
func TestLinesAndProcesses(t *testing.T) {
	for text, want := range map[string]bool{
		"Include x\n": true, "Port 22\n Include x\nMatch all\n": true, "match all\nInclude x\n": false, "Include x/y\n": false, "": false, "# Include x\n": false,
	} {
		if got := hasLine([]byte(text), "Include x"); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	h := &host{t, t.TempDir(), ""}
	for text, name := range map[string]string{"1\n": "init", "rubbish": "rubbish", "": "empty", "-4": "negative", "999999999": "too high"} {
		if pid := (&Server{pidFile: h.write("pid", text)}).running(); pid != 0 {
			t.Errorf("%s: %d", name, pid)
		}
	}
	self := &Server{pidFile: h.write("pid", "2\n")}
	if pid := self.running(); pid != 0 {
		t.Errorf("a process that is no sshd: %d", pid)
	}
}
