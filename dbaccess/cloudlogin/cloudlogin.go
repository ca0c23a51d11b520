// Package cloudlogin gets what a database that lives in a cloud takes for a
// password: a token of the cloud, made for one login. It is the one place that
// decides which, by the database's document and the form of its host name, never
// by anything that a client says. A token goes only to a database whose
// certificate was verified by name.
package cloudlogin

import (
	"context"
	"strings"
	"time"

	"teleport/cloud/awscloud"
	"teleport/cloud/azurecloud"
	"teleport/cloud/gcpcloud"
	"teleport/dbaccess"
	"teleport/fault"
	"teleport/types"
)

// Clouds make the tokens.
type Clouds struct {
	AWS interface {
		SignDatabaseLogin(ctx context.Context, l awscloud.DatabaseLogin, chain ...awscloud.Role) (string, error)
	}
	Google interface {
		Token(ctx context.Context, account string, scopes ...string) (string, error)
	}
	Azure interface {
		Token(ctx context.Context, who azurecloud.Identity, resource string) (string, error)
	}
}

// Password returns the token for a login; "" for a database that lives in no
// cloud, or takes none.
func (c *Clouds) Password(ctx context.Context, l dbaccess.Login) (string, error) {
	spec := &l.Database.Spec
	hosting := spec.Hosting()
	if hosting == types.HostedSelf || hosting == types.HostedDynamoDB {
		return "", nil
	}
	if err := verified(l.Database, hosting); err != nil {
		return "", err
	}
	switch hosting {
	case types.HostedRDS:
		address, err := spec.Address()
		if err != nil {
			return "", err
		}
		return c.signed(ctx, l, awscloud.ServiceRDS, address)
	case types.HostedElastiCache:
		return c.signed(ctx, l, awscloud.ServiceElastiCache, spec.AWS.ElastiCache.ReplicationGroupID)
	case types.HostedMemoryDB:
		return c.signed(ctx, l, awscloud.ServiceMemoryDB, spec.AWS.MemoryDB.ClusterName)
	case types.HostedCloudSQL:
		account, err := account(spec, l.User)
		if err != nil {
			return "", err
		}
		return c.Google.Token(ctx, account, gcpcloud.ScopeSQLLogin)
	case types.HostedAzure:
		return c.Azure.Token(ctx, azurecloud.Identity{Name: l.User}, azureResource(spec))
	}
	return "", fault.New(fault.Internal, "no login for %s", hosting)
}

// verified refuses to send a token to whoever answers. The servers of Cloud SQL
// have no name in their certificates, but an authority each.
func verified(db *types.Database, hosting string) error {
	t := db.Spec.TLS
	if t.Mode == types.TLSVerifyFull || t.Mode == types.TLSVerifyCA && hosting == types.HostedCloudSQL && t.CACert != "" && !t.TrustSystemCertPool {
		return nil
	}
	err := fault.New(fault.Invalid, "the database %s takes a token, and its tls.mode would send that to whoever answers", db.Metadata.Name)
	if hosting == types.HostedCloudSQL {
		return err.WithHint("tls.mode: verify-ca with the instance's own authority as ca_cert, or verify-full")
	}
	return err.WithHint("tls.mode: verify-full")
}

// signed is a login signed for a service of AWS, which knows the database by a name.
func (c *Clouds) signed(ctx context.Context, l dbaccess.Login, service, name string) (string, error) {
	var chain []awscloud.Role
	if a := l.Database.Spec.AWS; a != nil && a.AssumeRoleARN != "" {
		chain = append(chain, awscloud.Role{ARN: a.AssumeRoleARN, ExternalID: a.ExternalID, SessionName: awscloud.SessionName(l.Identity.Name)})
	}
	var until time.Time
	if l.Certificate != nil {
		until = l.Certificate.NotAfter
	}
	return c.AWS.SignDatabaseLogin(ctx, awscloud.DatabaseLogin{Service: service, Address: name, User: l.User, Region: l.Database.Spec.AWSRegion(), Until: until}, chain...)
}

const accountSuffix = ".gserviceaccount.com"

// account is the service account that a user of Cloud SQL is: PostgreSQL calls
// users by NAME@PROJECT.iam, MySQL by NAME, which is then of the document's
// project.
func account(spec *types.DatabaseSpec, user string) (string, error) {
	name, _, whole := strings.Cut(user, "@")
	switch {
	case spec.Protocol == "mysql" && whole:
		return "", fault.New(fault.Invalid, "MySQL knows the service account %s by its name alone", user).WithHint("--db-user=%s", name)
	case spec.Protocol == "mysql":
		return name + "@" + spec.GCP.ProjectID + ".iam" + accountSuffix, nil
	case !whole || strings.HasSuffix(user, accountSuffix):
		return "", fault.New(fault.Invalid, "PostgreSQL knows a service account as NAME@PROJECT.iam").WithHint("--db-user=%s@%s.iam", name, spec.GCP.ProjectID)
	}
	return user + accountSuffix, nil
}

// azureResource is the audience of tokens for databases, in the part of Azure
// that the host belongs to.
func azureResource(spec *types.DatabaseSpec) string {
	const name = "https://ossrdbms-aad.database."
	for _, part := range []string{"usgovcloudapi.net", "chinacloudapi.cn"} {
		if strings.Contains(spec.URI, ".database."+part) {
			return name + part
		}
	}
	return name + "windows.net"
}
