package types

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Database is a database that agents may front (kind db, v3): registered by an
// administrator, or named in an agent's own configuration.
type Database struct {
	Header
	Spec DatabaseSpec `json:"spec"`
}

// DatabaseSpec says what speaks at the address, and how to trust it.
type DatabaseSpec struct {
	Protocol      string                  `json:"protocol" enum:"postgres,cockroachdb,mysql,redis,dynamodb" doc:"What the database speaks."`
	URI           string                  `json:"uri,omitempty" doc:"host:port, or a URI of the protocol; may be empty for DynamoDB."`
	TLS           DatabaseTLS             `json:"tls,omitzero"`
	MySQL         *DatabaseMySQL          `json:"mysql,omitempty"`
	AdminUser     *DatabaseAdmin          `json:"admin_user,omitempty" doc:"Who makes users where roles ask for create_db_user_mode."`
	AWS           *DatabaseAWS            `json:"aws,omitempty"`
	GCP           *DatabaseGCP            `json:"gcp,omitempty"`
	Azure         *DatabaseAzure          `json:"azure,omitempty"`
	DynamicLabels map[string]CommandLabel `json:"dynamic_labels,omitempty"`
}

// DatabaseTLS says how an agent verifies the database.
type DatabaseTLS struct {
	Mode                string `json:"mode,omitempty" enum:"verify-full,verify-ca,insecure" doc:"verify-full, the default, checks authority and name; verify-ca the authority alone; insecure nothing."`
	ServerName          string `json:"server_name,omitempty" doc:"Name to expect in the certificate instead of the host of the URI."`
	CACert              string `json:"ca_cert,omitempty" doc:"PEM of the authorities that sign the database's certificate. Without any, the cluster's db authority does."`
	TrustSystemCertPool bool   `json:"trust_system_cert_pool,omitempty" doc:"Trust the system's authorities too."`
}

// Ways to verify a database.
const (
	TLSVerifyFull = "verify-full"
	TLSVerifyCA   = "verify-ca"
	TLSInsecure   = "insecure"
)

// DatabaseMySQL is what only MySQL and MariaDB need.
type DatabaseMySQL struct {
	ServerVersion string `json:"server_version,omitempty" doc:"Version told to clients; learned from the server when empty."`
}

// DatabaseAdmin is the account that makes users in a database.
type DatabaseAdmin struct {
	Name            string `json:"name"`
	DefaultDatabase string `json:"default_database,omitempty" doc:"Database to log in to; postgres, or none in MariaDB, when empty. The same for all agents."`
}

// DatabaseAWS tells where in AWS a database lives.
type DatabaseAWS struct {
	Region        string              `json:"region,omitempty"`
	AccountID     string              `json:"account_id,omitempty"`
	AssumeRoleARN string              `json:"assume_role_arn,omitempty"`
	ExternalID    string              `json:"external_id,omitempty"`
	SessionTags   map[string]string   `json:"session_tags,omitempty"`
	RDS           *DatabaseAWSCluster `json:"rds,omitempty"`
	ElastiCache   *DatabaseAWSCache   `json:"elasticache,omitempty"`
	MemoryDB      *DatabaseAWSMemory  `json:"memorydb,omitempty"`
}

// DatabaseAWSCluster names an instance or a cluster of RDS.
type DatabaseAWSCluster struct {
	InstanceID string `json:"instance_id,omitempty"`
	ClusterID  string `json:"cluster_id,omitempty"`
}

// DatabaseAWSCache names a cache of ElastiCache, for which logins are signed.
type DatabaseAWSCache struct {
	ReplicationGroupID string `json:"replication_group_id"`
}

// DatabaseAWSMemory names a cluster of MemoryDB, for which logins are signed.
type DatabaseAWSMemory struct {
	ClusterName string `json:"cluster_name"`
}

// DatabaseGCP tells where in Google Cloud a database lives.
type DatabaseGCP struct {
	ProjectID  string `json:"project_id,omitempty"`
	InstanceID string `json:"instance_id,omitempty"`
}

// DatabaseAzure tells where in Azure a database lives.
type DatabaseAzure struct {
	ResourceID    string `json:"resource_id,omitempty"`
	IsFlexiServer bool   `json:"is_flexi_server,omitempty"`
}

// DatabaseServer is a database as one agent fronts it (kind db_server, v3).
// Presence: written when an agent connects or changes, removed with its lease.
// Its name is ServerName of the database and the host.
type DatabaseServer struct {
	Header
	Spec   DatabaseServerSpec   `json:"spec"`
	Status DatabaseServerStatus `json:"status,omitzero"`
}

// DatabaseServerSpec is what an agent announces.
type DatabaseServerSpec struct {
	HostID   string   `json:"host_id"`
	Hostname string   `json:"hostname"`
	Version  string   `json:"version,omitempty"`
	Database Database `json:"database"`
}

// DatabaseServerStatus is what the agent sees of the database.
type DatabaseServerStatus struct {
	TargetHealth TargetHealth `json:"target_health,omitzero"`
}

// ServerName is the name of the document by which a host tells that it fronts a
// resource: several hosts may front one.
func ServerName(resource, hostUUID string) string { return resource + "." + hostUUID }

// AllLabels merges static labels and the results of dynamic ones.
func (d *Database) AllLabels() map[string]string {
	return mergeLabels(d.Metadata.Labels, d.Spec.DynamicLabels)
}

// Validate implements Resource. It fills the defaults.
func (d *Database) Validate() error {
	if err := d.check(KindDatabase, &d.Spec); err != nil {
		return err
	}
	return firstErr(at("metadata.name", checkResourceName(d.Metadata.Name)), d.Spec.validate("spec"))
}

// checkResourceName checks names that become part of host names: letters, digits
// and "-", beginning with a letter and not ending with "-".
func checkResourceName(s string) error {
	if err := checkChars("name", s, alnum+"-", 63); err != nil {
		return err
	}
	if c := s[0]; c >= '0' && c <= '9' || strings.HasSuffix(s, "-") {
		return fieldFault("", "%q must begin with a letter and end with a letter or digit", s)
	}
	return nil
}

func (s *DatabaseSpec) validate(path string) error {
	fillText(&s.TLS.Mode, TLSVerifyFull)
	if s.Protocol == "" {
		return fieldFault(JoinPath(path, "protocol"), "is missing")
	}
	for k, c := range s.DynamicLabels {
		if err := at(JoinPath(JoinPath(path, "dynamic_labels"), k), CheckLabel(k, c.Result)); err != nil {
			return err
		}
	}
	if a := s.AdminUser; a != nil && a.Name == "" {
		return fieldFault(JoinPath(path, "admin_user.name"), "is missing")
	}
	if len(s.TLS.CACert) > maxPEM {
		return fieldFault(JoinPath(path, "tls.ca_cert"), "is longer than %d bytes", maxPEM)
	}
	if err := s.validateCloud(path); err != nil {
		return err
	}
	_, err := s.Address()
	return at(JoinPath(path, "uri"), err)
}

const maxPEM = 256 << 10

// Address returns host:port of the database: the URI without its scheme, with the
// protocol's port when it names none. DynamoDB without one is where AWS has it.
func (s *DatabaseSpec) Address() (string, error) {
	hostport := s.URI
	if hostport == "" && s.Protocol == "dynamodb" {
		endpoint, err := s.AWSEndpoint("dynamodb")
		if err != nil {
			return "", err
		}
		hostport = endpoint
	}
	if strings.Contains(hostport, "://") {
		u, err := url.Parse(hostport)
		if err != nil {
			return "", fieldFault("", "%q is not a URI", s.URI)
		}
		hostport = u.Host
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), databasePorts[s.Protocol]
	}
	if port == "" || host == "" {
		return "", fieldFault("", "%q is not host:port", s.URI)
	}
	if net.ParseIP(host) == nil {
		if err := CheckHostname(host); err != nil {
			return "", err
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fieldFault("", "%q has no usable port", s.URI)
	}
	return net.JoinHostPort(host, port), nil
}

// ChecksNames reports whether the protocol has databases within the server, so
// that roles say which (db_names). Where a schema can be switched within a
// session, as in MySQL, a name says nothing.
func (s *DatabaseSpec) ChecksNames() bool {
	return s.Protocol == "postgres" || s.Protocol == "cockroachdb"
}

var databasePorts = map[string]string{"postgres": "5432", "cockroachdb": "26257", "mysql": "3306", "redis": "6379", "dynamodb": "443"}

// Validate implements Resource.
func (s *DatabaseServer) Validate() error {
	if err := s.check(KindDatabaseServer, &s.Spec); err != nil {
		return err
	}
	if err := s.Spec.Database.Validate(); err != nil {
		return at("spec.database", err)
	}
	if want := ServerName(s.Spec.Database.Metadata.Name, s.Spec.HostID); s.Metadata.Name != want {
		return fieldFault("metadata.name", "%q is not %q", s.Metadata.Name, want)
	}
	return firstErr(at("spec.host_id", CheckName("host", s.Spec.HostID)), at("spec.hostname", CheckHostname(s.Spec.Hostname)),
		s.Status.TargetHealth.validate("status.target_health"))
}

// DatabaseRoute is what a route to a database narrows: the user and the database
// in it, and the roles of an automatic user. Empty fields narrow nothing.
type DatabaseRoute struct {
	User  string
	Name  string
	Roles []string
}

// Parameters of routes to databases.
const (
	routeDBUser  = "db_user"
	routeDBName  = "db_name"
	routeDBRoles = "db_roles"
)

// Route makes the route of a certificate for one database.
func (d DatabaseRoute) Route(database string) *Route {
	r := &Route{Kind: KindDatabase, Name: database, Params: map[string]string{}}
	for key, v := range map[string]string{routeDBUser: d.User, routeDBName: d.Name, routeDBRoles: strings.Join(d.Roles, ",")} {
		if v != "" {
			r.Params[key] = v
		}
	}
	return r
}

// DatabaseRouteOf reads the route of a certificate.
func DatabaseRouteOf(r *Route) DatabaseRoute {
	d := DatabaseRoute{User: r.Params[routeDBUser], Name: r.Params[routeDBName]}
	if roles := r.Params[routeDBRoles]; roles != "" {
		d.Roles = strings.Split(roles, ",")
	}
	return d
}
