package profile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"

	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
)

// Paths names the files of one profile, absolute, for programs that read them.
type Paths struct {
	KnownHosts string
	SSHKey     string
	SSHPub     string
	SSHCert    string
	TLSKey     string
	TLSCert    string
	CAs        string
}

// Paths returns where the files of a profile lie.
func (d *Dir) Paths(p *Profile) Paths {
	r := p.files()
	abs := func(name string) string { return filepath.Join(d.path, name) }
	return Paths{abs("known_hosts"), abs(r.sshKey), abs(r.sshPub), abs(r.sshCert), abs(r.tlsKey), abs(r.tlsCert), abs(r.cas)}
}

type files struct{ sshKey, sshPub, sshCert, tlsKey, tlsCert, cas string }

func (p *Profile) files() files {
	dir := filepath.Join("keys", p.Name())
	own := filepath.Join(dir, p.User)
	return files{
		sshKey: own, sshPub: own + ".pub", sshCert: filepath.Join(own+"-ssh", p.Cluster+"-cert.pub"),
		tlsKey: own + ".key", tlsCert: own + ".crt", cas: filepath.Join(dir, "cas"),
	}
}

// Save stores a profile with its credential and makes it the current one. Keys
// and certificates come first and the name of the profile last, so that an
// interrupted log-in leaves the earlier profile in use.
func (d *Dir) Save(p *Profile, c *identityfile.Credential) error {
	if err := p.validate(); err != nil {
		return err
	}
	return d.locked(func() error {
		if err := d.checkRivals(p, c.Authorities); err != nil {
			return err
		}
		if err := d.writeCredential(p, c); err != nil {
			return err
		}
		if err := d.addKnownHosts(p, c.Authorities); err != nil {
			return err
		}
		data, err := yaml.Marshal(p)
		if err != nil {
			return err
		}
		if err := d.write(p.Name()+".yaml", data); err != nil {
			return err
		}
		return d.write("current-profile", []byte(p.Name()+"\n"))
	})
}

func (d *Dir) writeCredential(p *Profile, c *identityfile.Credential) error {
	r := p.files()
	sshKey, err := identityfile.MarshalOpenSSHKey(c.SSHKey)
	if err != nil {
		return err
	}
	sshPub, err := keys.MarshalSSHPublic(c.SSHKey.Public())
	if err != nil {
		return err
	}
	tlsKey, err := keys.MarshalPrivate(c.TLSKey)
	if err != nil {
		return err
	}
	var sshCert []byte // stays empty for a user without logins
	if c.SSHCert != nil {
		sshCert = ssh.MarshalAuthorizedKey(c.SSHCert)
	}
	parts := []struct {
		name string
		data []byte
	}{
		{r.sshKey, sshKey},
		{r.sshPub, []byte(sshPub + "\n")},
		{r.sshCert, sshCert},
		{r.tlsKey, tlsKey},
		{r.tlsCert, identityfile.EncodeCerts(certs{c.TLSCert})},
	}
	for _, a := range c.Authorities {
		if err := fileName("cluster", a.Cluster); err != nil {
			return err
		}
		parts = append(parts, struct {
			name string
			data []byte
		}{filepath.Join(r.cas, a.Cluster+".pem"), identityfile.EncodeCerts(a.TLSCerts)})
	}
	for _, f := range parts {
		if err := d.write(f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// Credential reads the keys, certificates and authorities of a profile.
// Validity in time is not checked here: see Credential.Check.
func (d *Dir) Credential(p *Profile) (*identityfile.Credential, error) {
	c, err := d.readCredential(p)
	if os.IsNotExist(err) {
		return nil, fault.New(fault.NotFound, "the keys of %s on %s are gone", p.User, p.Name()).WithHint("log in again: tsh login --proxy=%s", p.WebProxyAddr)
	}
	if err != nil {
		return nil, d.broken(err, filepath.Join("keys", p.Name()))
	}
	if len(c.Authorities) == 0 || c.Authorities[0].Cluster != p.Cluster {
		cause := fault.New(fault.Invalid, "the authorities of cluster %s are missing", p.Cluster)
		return nil, d.broken(cause, filepath.Join("keys", p.Name()))
	}
	return c, nil
}

func (d *Dir) readCredential(p *Profile) (*identityfile.Credential, error) {
	r := p.files()
	var data [4][]byte
	for i, name := range []string{r.sshKey, r.sshCert, r.tlsKey, r.tlsCert} {
		var err error
		if data[i], err = d.read(name); err != nil {
			return nil, err
		}
	}
	list, err := d.authorities(p)
	if err != nil {
		return nil, err
	}
	return identityfile.FromParts(data[0], data[1], data[2], data[3], list)
}

// authorities joins known_hosts and cas/: a cluster needs both. The profile's
// own cluster comes first.
func (d *Dir) authorities(p *Profile) ([]identityfile.Authority, error) {
	data, err := d.read("known_hosts")
	if err != nil {
		return nil, err
	}
	all, _, err := identityfile.ParseKnownHosts(data)
	if err != nil {
		return nil, err
	}
	var list []identityfile.Authority
	for _, a := range all {
		pem, err := d.read(filepath.Join(p.files().cas, a.Cluster+".pem"))
		if os.IsNotExist(err) {
			continue // a cluster of another proxy
		}
		if err != nil {
			return nil, err
		}
		if a.TLSCerts, err = identityfile.ParseCerts(pem); err != nil {
			return nil, err
		}
		if a.Cluster == p.Cluster {
			list = append([]identityfile.Authority{a}, list...)
		} else {
			list = append(list, a)
		}
	}
	return list, nil
}

// checkRivals refuses a cluster that calls itself by the name of one that is
// known through another proxy and shares no key with it: known_hosts is one file
// for all, so the newcomer would speak for the servers of the other. While an
// authority rotates, old and new documents have a key in common.
func (d *Dir) checkRivals(p *Profile, list []identityfile.Authority) error {
	data, err := d.read("known_hosts")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	known, _, err := identityfile.ParseKnownHosts(data)
	if err != nil {
		return nil //nolint:nilerr // a damaged file vouches for nobody; it is replaced
	}
	profiles, err := d.List()
	if err != nil {
		return err
	}
	for _, a := range list {
		for _, old := range known {
			if old.Cluster != a.Cluster || sharesKey(a, old) {
				continue
			}
			for _, q := range profiles {
				if q.Cluster == a.Cluster && q.Name() != p.Name() {
					return fault.New(fault.Untrusted, "%s calls itself cluster %q, as %s does, but has another authority", p.Name(), a.Cluster, q.Name()).
						WithHint("if the cluster was made anew, log out of the old one first: tsh logout --proxy=%s", q.WebProxyAddr)
				}
			}
		}
	}
	return nil
}

func sharesKey(a, b identityfile.Authority) bool {
	for _, x := range a.SSHKeys {
		for _, y := range b.SSHKeys {
			if bytes.Equal(x.Marshal(), y.Marshal()) {
				return true
			}
		}
	}
	return false
}

// addKnownHosts replaces the lines of the given clusters and keeps the rest.
func (d *Dir) addKnownHosts(p *Profile, list []identityfile.Authority) error {
	drop := make(map[string]bool, len(list))
	for _, a := range list {
		drop[a.Cluster] = true
	}
	return d.editKnownHosts(drop, list, p.Name())
}

func (d *Dir) editKnownHosts(drop map[string]bool, add []identityfile.Authority, proxy string) error {
	data, err := d.read("known_hosts")
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	old, others, err := identityfile.ParseKnownHosts(data)
	if err != nil {
		old, others = nil, nil // a damaged file is replaced by what is known now
	}
	var b strings.Builder
	for _, a := range old {
		if !drop[a.Cluster] {
			b.WriteString(a.KnownHosts())
		}
	}
	for i, a := range add {
		if i == 0 && proxy != a.Cluster {
			b.WriteString(a.KnownHosts(proxy))
			continue
		}
		b.WriteString(a.KnownHosts())
	}
	b.Write(others)
	return d.write("known_hosts", []byte(b.String()))
}

// Remove forgets one profile: its keys, its clusters' authorities unless
// another profile has them too, and its name.
func (d *Dir) Remove(p *Profile) error {
	if err := p.validate(); err != nil {
		return err
	}
	return d.locked(func() error {
		list, _ := d.authorities(p)
		r := p.files()
		for _, name := range []string{r.sshKey, r.sshPub, r.tlsKey, r.tlsCert, filepath.Dir(r.sshCert), filepath.Dir(p.routes(databases)), filepath.Dir(p.routes(apps)), p.Name() + ".yaml"} {
			if err := os.RemoveAll(filepath.Join(d.path, name)); err != nil {
				return err
			}
		}
		if err := d.dropUnused(p, list); err != nil {
			return err
		}
		cur, err := d.read("current-profile")
		if err == nil && strings.TrimSpace(string(cur)) == p.Name() {
			return os.Remove(filepath.Join(d.path, "current-profile"))
		}
		return nil
	})
}

// dropUnused removes the proxy's key directory when no other user's keys are
// left in it, and then the authorities that no other proxy vouched for.
func (d *Dir) dropUnused(p *Profile, list []identityfile.Authority) error {
	dir := filepath.Join(d.path, "keys", p.Name())
	left, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(left) > 0 {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	drop := make(map[string]bool)
	for _, a := range list {
		elsewhere, _ := filepath.Glob(filepath.Join(d.path, "keys", "*", "cas", a.Cluster+".pem"))
		if len(elsewhere) == 0 {
			drop[a.Cluster] = true
		}
	}
	if len(drop) == 0 {
		return nil
	}
	return d.editKnownHosts(drop, nil, "")
}

// Forget removes whatever names a profile without there being one: a damaged
// profile file, its keys, the name of the current one.
func (d *Dir) Forget() error {
	return d.locked(func() error {
		names, err := filepath.Glob(filepath.Join(d.path, "*.yaml"))
		if err != nil {
			return err
		}
		for _, name := range append(names, filepath.Join(d.path, "keys"), filepath.Join(d.path, "current-profile"), filepath.Join(d.path, "known_hosts")) {
			if err := os.RemoveAll(name); err != nil {
				return d.unwritable(err)
			}
		}
		return nil
	})
}
