package profile

import (
	"crypto"
	"crypto/x509"
	"time"
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
	return DatabasePaths(d.routePaths(p, databases, name))
}

// SaveDatabase keeps the certificate of a database and its key.
func (d *Dir) SaveDatabase(p *Profile, db *Database, cert *x509.Certificate, key crypto.Signer) error {
	return d.saveRoute(p, databases, db.Name, db, cert, key)
}

// Databases lists those of a profile in the order of their names, with such whose
// certificate has ended. What cannot be read is left out.
func (d *Dir) Databases(p *Profile) ([]*Database, error) {
	names, err := d.routes(p, databases)
	var list []*Database
	for _, name := range names {
		db := new(Database)
		if leaf := d.readRoute(p, databases, name, db); leaf != nil && db.Name == name {
			db.Expires = leaf.NotAfter
			list = append(list, db)
		}
	}
	return list, err
}

// RemoveDatabase forgets the certificate of a database and its key.
func (d *Dir) RemoveDatabase(p *Profile, name string) error { return d.removeRoute(p, databases, name) }
