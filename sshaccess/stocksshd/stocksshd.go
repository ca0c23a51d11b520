// Package stocksshd makes the stock SSH server of a host a node of a cluster: it
// reads what sshd says of its own configuration, chooses the host key that is to
// be certified, puts a certificate of it and the cluster's openssh authority into
// files that sshd_config includes, has sshd check the result before it counts,
// and has it read again. The keys and the rest of the configuration stay as they
// are: who knew the server before knows it after.
package stocksshd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
)

// Names of the files in Server.Dir.
const (
	includeFile   = "sshd.conf"
	certFile      = "host-cert.pub"
	authorityFile = "openssh-ca.pub"
)

const (
	sshdWithin = 30 * time.Second // what a run of sshd may take
	mostConfig = 1 << 20          // bytes of a configuration, and of a key
)

// Options say where the server's parts are. All are required.
type Options struct {
	SSHD       string // the program
	ConfigFile string // sshd_config
	Dir        string // where our files stand; made when it is not there
}

// Server is the SSH server of this host as Inspect found it.
type Server struct {
	o       Options
	config  string // ConfigFile, links resolved
	include string // the line that belongs at the top of it
	port    string
	pidFile string
	key     ssh.Signer
}

// Inspect asks sshd for its configuration and reads the host key that is to be
// certified. It changes nothing.
func Inspect(ctx context.Context, o Options) (*Server, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil || strings.ContainsAny(dir, "*?[]\"'\\ \t\n") {
		return nil, fault.New(fault.Invalid, "sshd cannot include files of the directory %q", o.Dir).WithHint("give another --data-dir, without spaces and patterns in its path")
	}
	o.Dir = dir
	config, err := filepath.EvalSymlinks(o.ConfigFile)
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no %s", o.ConfigFile).WithHint("install openssh-server, or name its configuration: --openssh-config")
	}
	s := &Server{o: o, config: config, include: "Include " + filepath.Join(dir, includeFile)}
	effective, err := s.effective(ctx)
	if err != nil {
		return nil, err
	}
	if s.port, s.pidFile = effective.first("port"), effective.first("pidfile"); s.pidFile == "none" {
		s.pidFile = ""
	}
	if ca := effective.first("trustedusercakeys"); ca != "" && ca != "none" && ca != s.path(authorityFile) {
		return nil, fault.New(fault.Conflict, "sshd trusts other authorities already (TrustedUserCAKeys %s)", ca).
			WithHint("sshd takes one such file: add the line that tctl auth export --type=openssh prints to it, and register the server with tctl create")
	}
	s.key, err = s.chooseKey(effective)
	return s, err
}

// Key is the host key that is to be certified.
func (s *Server) Key() ssh.Signer { return s.key }

// Port is the first port that sshd listens on.
func (s *Server) Port() string { return s.port }

func (s *Server) path(name string) string { return filepath.Join(s.o.Dir, name) }

// settings are what sshd -T prints: each keyword, in lower case, with its values.
type settings map[string][]string

func (t settings) first(keyword string) string {
	if v := t[keyword]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (s *Server) effective(ctx context.Context) (settings, error) {
	out, err := s.run(ctx, "-T", "-f", s.config)
	if err != nil {
		return nil, err
	}
	return parseSettings(out), nil
}

func parseSettings(text []byte) settings {
	t := settings{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		k, v, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		t[strings.ToLower(k)] = append(t[strings.ToLower(k)], strings.TrimSpace(v))
	}
	return t
}

// run runs sshd with nothing of this process's environment. When it fails, the
// error is its own last line.
func (s *Server) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sshdWithin)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, s.o.SSHD, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, &out, &errs
	err := cmd.Run()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no %s on this host", s.o.SSHD).WithHint("install openssh-server")
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		return nil, fault.Wrap(err, fault.Invalid, "sshd says: %s", strings.TrimSpace(lines[len(lines)-1]))
	}
	return out.Bytes(), nil
}

// kinds are the host keys that are certified, the best first.
var kinds = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA}

// chooseKey reads sshd's host keys and takes the best for which sshd shows no
// certificate of somebody else.
func (s *Server) chooseKey(t settings) (ssh.Signer, error) {
	taken := map[string]bool{}
	for _, path := range t["hostcertificate"] {
		if path == "none" || path == s.path(certFile) {
			continue
		}
		if b, err := readSmall(path); err == nil {
			if c, err := keys.ParseSSHCert(string(b)); err == nil {
				taken[string(c.Key.Marshal())] = true
			}
		}
	}
	var best ssh.Signer
	for _, path := range t["hostkey"] {
		b, err := readSmall(path)
		if err != nil {
			continue
		}
		k, err := ssh.ParsePrivateKey(b)
		if err == nil && !taken[string(k.PublicKey().Marshal())] && rank(k) < rank(best) {
			best = k
		}
	}
	if best == nil {
		return nil, fault.New(fault.Denied, "no host key of sshd can be certified (%s)", strings.Join(t["hostkey"], ", ")).
			WithHint("run this as root; the key must be a file, of type ed25519, ecdsa (nistp256) or rsa, and have no other certificate")
	}
	return best, nil
}

// rank orders keys, the best first; what is not certified comes last.
func rank(k ssh.Signer) int {
	if k == nil {
		return len(kinds)
	}
	if i := slices.Index(kinds, k.PublicKey().Type()); i >= 0 {
		return i
	}
	return len(kinds)
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > mostConfig {
		return nil, fault.New(fault.Invalid, "%s is no file of a sensible size", path)
	}
	return os.ReadFile(path)
}
