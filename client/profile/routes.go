package profile

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
)

// family is a kind of resources for which profiles keep certificates.
type family struct{ folder, what string }

var (
	databases = family{"db", "database"}
	apps      = family{"app", "app"}
)

// RoutePaths names the files of one resource, absolute.
type RoutePaths struct{ CA, Cert, Key string }

func (p *Profile) routes(f family) string {
	return filepath.Join("keys", p.Name(), p.User+"-"+f.folder, p.Cluster)
}

func (d *Dir) routePaths(p *Profile, f family, name string) RoutePaths {
	base := filepath.Join(d.path, p.routes(f), name)
	return RoutePaths{CA: filepath.Join(d.path, p.files().cas, p.Cluster+".pem"), Cert: base + ".crt", Key: base + ".key"}
}

// saveRoute keeps the certificate of a resource and its key. What names the resource
// comes last, so that an interrupted log-in leaves none half made.
func (d *Dir) saveRoute(p *Profile, f family, name string, what any, cert *x509.Certificate, key crypto.Signer) error {
	if err := errors.Join(p.validate(), fileName(f.what, name)); err != nil {
		return err
	}
	private, err := keys.MarshalPrivate(key)
	if err != nil {
		return err
	}
	about, err := yaml.Marshal(what)
	if err != nil {
		return err
	}
	base := filepath.Join(p.routes(f), name)
	return d.locked(func() error {
		// No program finds a certificate beside the key of another one.
		if err := os.Remove(filepath.Join(d.path, base+".crt")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.unwritable(err)
		}
		for _, f := range []struct {
			end  string
			data []byte
		}{{".key", private}, {".crt", identityfile.EncodeCerts(certs{cert})}, {".yaml", about}} {
			if err := d.write(base+f.end, f.data); err != nil {
				return err
			}
		}
		return nil
	})
}

// routes lists the names of those that are kept, in order.
func (d *Dir) routes(p *Profile, f family) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.path, p.routes(f)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Unreadable(err, d.path)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// readRoute reads what is kept of a resource into what; nil where that cannot be read.
func (d *Dir) readRoute(p *Profile, f family, name string, what any) *x509.Certificate {
	base := filepath.Join(p.routes(f), name)
	about, err := d.read(base + ".yaml")
	if err != nil {
		return nil
	}
	text, err := d.read(base + ".crt")
	if err != nil {
		return nil
	}
	chain, err := identityfile.ParseCerts(text)
	if err != nil || len(chain) != 1 || yaml.Unmarshal(about, what) != nil {
		return nil
	}
	return chain[0]
}

func (d *Dir) removeRoute(p *Profile, f family, name string) error {
	if err := errors.Join(p.validate(), fileName(f.what, name)); err != nil {
		return err
	}
	base := filepath.Join(d.path, p.routes(f), name)
	return d.locked(func() error {
		for _, end := range []string{".key", ".crt", ".yaml"} {
			if err := os.Remove(base + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return d.unwritable(err)
			}
		}
		return nil
	})
}
