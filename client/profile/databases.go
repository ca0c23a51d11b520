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
	"time"

	"github.com/goccy/go-yaml"

	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
)

// Database is a database that programs reach with a certificate of their own,
// which lies in files of the profile.
type Database struct {
	Name     string   `yaml:"name"` // in the cluster
	Protocol string   `yaml:"protocol"`
	User     string   `yaml:"db_user"`
	Database string   `yaml:"db_name,omitempty"` // within the server
	Roles    []string `yaml:"db_roles,omitempty"`
	// ServerName is that of the proxy's certificate, for programs that come to its
	// port; empty where they cannot.
	ServerName string    `yaml:"server_name,omitempty"`
	Expires    time.Time `yaml:"-"` // of the certificate
}

// DatabasePaths names the files of a database, absolute.
type DatabasePaths struct{ CA, Cert, Key string }

// DatabasePaths returns where the certificate of a database and its key lie, and
// the authority of the proxy that takes it.
func (d *Dir) DatabasePaths(p *Profile, name string) DatabasePaths {
	base := filepath.Join(d.path, p.databases(), name)
	return DatabasePaths{CA: filepath.Join(d.path, p.files().cas, p.Cluster+".pem"), Cert: base + ".crt", Key: base + ".key"}
}

func (p *Profile) databases() string {
	return filepath.Join("keys", p.Name(), p.User+"-db", p.Cluster)
}

// SaveDatabase keeps the certificate of a database and its key. What names the
// database comes last, so that an interrupted log-in leaves none half made.
func (d *Dir) SaveDatabase(p *Profile, db *Database, cert *x509.Certificate, key crypto.Signer) error {
	if err := errors.Join(p.validate(), fileName("database", db.Name)); err != nil {
		return err
	}
	private, err := keys.MarshalPrivate(key)
	if err != nil {
		return err
	}
	about, err := yaml.Marshal(db)
	if err != nil {
		return err
	}
	base := filepath.Join(p.databases(), db.Name)
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

// Databases lists those of a profile in the order of their names, with such whose
// certificate has ended. What cannot be read is left out.
func (d *Dir) Databases(p *Profile) ([]*Database, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, p.databases()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Unreadable(err, d.path)
	}
	var list []*Database
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && e.Type().IsRegular() {
			if db := d.readDatabase(p, name); db != nil {
				list = append(list, db)
			}
		}
	}
	slices.SortFunc(list, func(a, b *Database) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (d *Dir) readDatabase(p *Profile, name string) *Database {
	base := filepath.Join(p.databases(), name)
	about, err := d.read(base + ".yaml")
	if err != nil {
		return nil
	}
	text, err := d.read(base + ".crt")
	if err != nil {
		return nil
	}
	chain, err := identityfile.ParseCerts(text)
	db := new(Database)
	if err != nil || len(chain) != 1 || yaml.Unmarshal(about, db) != nil || db.Name != name {
		return nil
	}
	db.Expires = chain[0].NotAfter
	return db
}

// RemoveDatabase forgets the certificate of a database and its key.
func (d *Dir) RemoveDatabase(p *Profile, name string) error {
	if err := errors.Join(p.validate(), fileName("database", name)); err != nil {
		return err
	}
	base := filepath.Join(d.path, p.databases(), name)
	return d.locked(func() error {
		for _, end := range []string{".key", ".crt", ".yaml"} {
			if err := os.Remove(base + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return d.unwritable(err)
			}
		}
		return nil
	})
}
