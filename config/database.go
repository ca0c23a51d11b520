package config

import (
	"os"
	"strings"

	"teleport/fault"
	"teleport/types"
)

// DBService configures access to databases.
type DBService struct {
	Enabled   Flag              `yaml:"enabled"`
	Databases []DBEntry         `yaml:"databases"`
	Resources []ResourceMatcher `yaml:"resources"`
}

// ResourceMatcher selects registered resources by label: an agent fronts those
// that one of its matchers takes.
type ResourceMatcher struct {
	Labels map[string]Strings `yaml:"labels"`
}

// DBEntry is one database of the file.
type DBEntry struct {
	Name          string            `yaml:"name"`
	Description   string            `yaml:"description"`
	Protocol      string            `yaml:"protocol"`
	URI           string            `yaml:"uri"`
	TLS           DBTLS             `yaml:"tls"`
	MySQL         DBMySQL           `yaml:"mysql"`
	AdminUser     DBAdminUser       `yaml:"admin_user"`
	AWS           DBAWS             `yaml:"aws"`
	GCP           DBGCP             `yaml:"gcp"`
	Azure         DBAzure           `yaml:"azure"`
	StaticLabels  map[string]string `yaml:"static_labels"`
	DynamicLabels []Command         `yaml:"dynamic_labels"`
}

// DBTLS says how the database is verified.
type DBTLS struct {
	Mode                string `yaml:"mode"`
	ServerName          string `yaml:"server_name"`
	CACertFile          string `yaml:"ca_cert_file"`
	TrustSystemCertPool Flag   `yaml:"trust_system_cert_pool"`
}

// DBMySQL is what only MySQL needs.
type DBMySQL struct {
	ServerVersion string `yaml:"server_version"`
}

// DBAdminUser is who makes users in the database.
type DBAdminUser struct {
	Name            string `yaml:"name"`
	DefaultDatabase string `yaml:"default_database"`
}

// DB is the database service's part.
type DB struct {
	// Databases are those of the file, and Matchers select registered ones.
	Databases []*types.Database
	Matchers  []types.Labels
}

func dbPart(c *Config, f *File, _ Flags) error {
	if c.DB == nil {
		return nil
	}
	names := map[string]bool{}
	for _, e := range f.DB.Databases {
		db, err := e.document()
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "db_service.databases %q: %s", e.Name, fault.Message(err))
		}
		if names[e.Name] {
			return fault.New(fault.Invalid, "db_service.databases names %q twice", e.Name)
		}
		names[e.Name] = true
		c.DB.Databases = append(c.DB.Databases, db)
	}
	var err error
	if c.DB.Matchers, err = matchers("db_service", "database", f.DB.Resources); err != nil {
		return err
	}
	if len(c.DB.Databases) == 0 && len(c.DB.Matchers) == 0 {
		return fault.New(fault.Invalid, "db_service is enabled and fronts nothing").WithHint("Name databases, or select registered ones by resources.")
	}
	return nil
}

// document is the entry as a resource, with the authorities that its file holds.
func (e DBEntry) document() (*types.Database, error) {
	d := &types.Database{Spec: types.DatabaseSpec{Protocol: e.Protocol, URI: e.URI,
		TLS: types.DatabaseTLS{Mode: e.TLS.Mode, ServerName: e.TLS.ServerName, TrustSystemCertPool: e.TLS.TrustSystemCertPool.Or(false)}}}
	d.Metadata.Name, d.Metadata.Description, d.Metadata.Labels = e.Name, e.Description, e.StaticLabels
	if e.TLS.CACertFile != "" {
		pem, err := os.ReadFile(e.TLS.CACertFile)
		if err != nil {
			return nil, fault.Unreadable(err, e.TLS.CACertFile)
		}
		if !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
			return nil, fault.New(fault.Invalid, "%s holds no certificate", e.TLS.CACertFile)
		}
		d.Spec.TLS.CACert = string(pem)
	}
	if e.MySQL.ServerVersion != "" {
		d.Spec.MySQL = &types.DatabaseMySQL{ServerVersion: e.MySQL.ServerVersion}
	}
	if e.AdminUser != (DBAdminUser{}) {
		d.Spec.AdminUser = &types.DatabaseAdmin{Name: e.AdminUser.Name, DefaultDatabase: e.AdminUser.DefaultDatabase}
	}
	e.cloud(&d.Spec)
	var err error
	if d.Spec.DynamicLabels, err = commandLabels("dynamic_labels", e.DynamicLabels); err != nil {
		return nil, err
	}
	return d, d.Validate()
}
