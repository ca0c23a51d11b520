// Package profile keeps a person's clusters on disk: which proxies they log in
// to, as whom, and the keys, certificates and authorities of each. The layout
// under the profile directory (TELEPORT_HOME, else ~/.tsh) is
//
//	current-profile               name of the proxy in use
//	<proxy>.yaml                  addresses, user and cluster of one log-in
//	known_hosts                   @cert-authority lines of all clusters
//	keys/<proxy>/<user>           SSH private key, and <user>.pub
//	keys/<proxy>/<user>.key       TLS private key, and its certificate <user>.crt
//	keys/<proxy>/<user>-ssh/<cluster>-cert.pub
//	keys/<proxy>/<user>-db/<cluster>/<database>.crt, and .key and .yaml beside it
//	keys/<proxy>/cas/<cluster>.pem
//
// Directories are 0700 and files 0600. A file is replaced whole or not at all,
// and a directory that others can write is refused: whoever can write it could
// put an authority of their own in it.
package profile

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"teleport/fault"
)

// Profile is one log-in: which proxy, as whom, and what was learned of the
// proxy then, so that later commands need not ask again.
type Profile struct {
	WebProxyAddr   string `yaml:"web_proxy_addr"`                    // host:port
	User           string `yaml:"user"`                              // the cluster's user name
	Cluster        string `yaml:"cluster"`                           // the cluster that commands act on
	AuthType       string `yaml:"auth_type,omitempty"`               // local or a connector's kind
	TLSRouting     bool   `yaml:"tls_routing_enabled"`               // one port serves everything
	UpgradeNeeded  bool   `yaml:"tls_routing_conn_upgrade_required"` // a layer-7 balancer stands before the proxy
	MySQLProxyAddr string `yaml:"mysql_proxy_addr,omitempty"`        // host:port for clients of MySQL, where the proxy has one
	PublicAddr     string `yaml:"public_addr,omitempty"`             // host:port at which browsers know the proxies, where that is known
}

// BrowserAddr is where browsers reach the proxies, host:port: a log-in may have used
// another address.
func (p *Profile) BrowserAddr() string {
	if p.PublicAddr != "" {
		return p.PublicAddr
	}
	return p.WebProxyAddr
}

// Name is the proxy's host, by which a profile is filed.
func (p *Profile) Name() string { return HostOf(p.WebProxyAddr) }

// HostOf strips the port of an address; IPv6 brackets go as well.
func HostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && !strings.HasSuffix(addr, "]") &&
		(strings.HasPrefix(addr, "[") || strings.Count(addr, ":") == 1) {
		addr = addr[:i]
	}
	return strings.Trim(addr, "[]")
}

// validate checks everything that becomes a path.
func (p *Profile) validate() error {
	for what, name := range map[string]string{"proxy": p.Name(), "user": p.User, "cluster": p.Cluster} {
		if err := fileName(what, name); err != nil {
			return err
		}
	}
	return nil
}

// fileName refuses names that would not stay inside their directory.
func fileName(what, name string) error {
	ok := len(name) > 0 && len(name) <= 200 && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "-")
	for _, r := range name {
		if r < 0x21 || r == 0x7f || r == '/' || r == '\\' {
			ok = false
		}
	}
	if !ok {
		return fault.New(fault.Invalid, "%q cannot be used as the name of a %s", name, what)
	}
	return nil
}

var profileName = regexp.MustCompile(`^[^./][^/]*\.yaml$`)

// DefaultPath returns the profile directory: TELEPORT_HOME, else ~/.tsh.
func DefaultPath(getenv func(string) string) (string, error) {
	if home := getenv("TELEPORT_HOME"); home != "" {
		return filepath.Abs(home)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".tsh"), nil
	}
	return "", fault.New(fault.Invalid, "there is no home directory to keep a profile in").WithHint("set TELEPORT_HOME")
}

// Dir is a profile directory. Methods are safe for concurrent use, and between
// processes: writers take a lock file.
type Dir struct{ path string }

// Open checks that the directory is private, if it exists. Nothing is created.
func Open(path string) (*Dir, error) {
	d := &Dir{path: path}
	return d, d.checkPrivate()
}

// Path returns the directory's own path.
func (d *Dir) Path() string { return d.path }

// Current returns the profile in use: fault.NotFound when there is none.
func (d *Dir) Current() (*Profile, error) {
	data, err := d.read("current-profile")
	if os.IsNotExist(err) {
		return nil, notLoggedIn()
	}
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(string(data))
	if fileName("proxy", name) != nil {
		return nil, d.broken(fault.New(fault.Invalid, "it does not name a proxy"), "current-profile")
	}
	return d.Load(name)
}

func notLoggedIn() error {
	return fault.New(fault.NotFound, "you are not logged in").WithHint("log in first: tsh login --proxy=HOST --user=NAME")
}

// Load reads one profile by its proxy's address or host.
func (d *Dir) Load(proxy string) (*Profile, error) {
	name := HostOf(proxy)
	if err := fileName("proxy", name); err != nil {
		return nil, err
	}
	data, err := d.read(name + ".yaml")
	if os.IsNotExist(err) {
		return nil, fault.New(fault.NotFound, "you are not logged in to %s", name).WithHint("log in first: tsh login --proxy=%s", proxy)
	}
	if err != nil {
		return nil, err
	}
	p := new(Profile)
	if err := yaml.Unmarshal(data, p); err != nil {
		return nil, d.broken(err, name+".yaml")
	}
	if err := p.validate(); err != nil || p.Name() != name {
		return nil, d.broken(err, name+".yaml")
	}
	return p, nil
}

func (d *Dir) broken(cause error, file string) error {
	path := filepath.Join(d.path, file)
	if cause == nil {
		cause = fault.New(fault.Invalid, "the file names another proxy")
	}
	text := "it cannot be read"
	if f := new(fault.Error); errors.As(cause, &f) {
		text = f.Message // of no fault, the text may quote a key
	}
	return fault.Advise(fault.Wrap(cause, fault.Invalid, "%s is damaged: %s", path, text), "remove it with tsh logout, and log in again")
}

// List returns all profiles, in order of their names. A damaged one is left
// out: the others must stay usable.
func (d *Dir) List() ([]*Profile, error) {
	entries, err := os.ReadDir(d.path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*Profile
	for _, e := range entries {
		if !profileName.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if p, err := d.Load(strings.TrimSuffix(e.Name(), ".yaml")); err == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

// SetCurrent makes a stored profile the one in use.
func (d *Dir) SetCurrent(p *Profile) error {
	return d.locked(func() error { return d.write("current-profile", []byte(p.Name()+"\n")) })
}
