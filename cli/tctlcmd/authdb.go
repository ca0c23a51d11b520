package tctlcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/issuev1"
	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// signDatabase writes what a database server needs for mutual TLS: its own key
// and certificate, and the authority of the users that agents log in.
func (a *app) signDatabase(ctx context.Context, api *authclient.Client, f signFlags) error {
	_, tlsKey, public, err := freshKeys()
	if err != nil {
		return err
	}
	public.SshPublic = ""
	certs, err := api.SignDatabase(ctx, &issuev1.SignHostRequest{Hosts: f.hosts, Keys: public, TtlSeconds: int64(f.ttl / time.Second)})
	if err != nil {
		return err
	}
	key, err := keys.MarshalPrivate(tlsKey)
	if err != nil {
		return err
	}
	users, err := databaseUsers(certs)
	if err != nil {
		return err
	}
	base := filepath.Base(f.out)
	files := []identityfile.File{{Name: base + ".key", Data: key, Private: true}, {Name: base + ".crt", Data: certs.TlsCert}, {Name: base + ".cas", Data: users}}
	if err := a.writeFiles(f, files, "Valid until "+time.Unix(certs.ExpiresUnix, 0).Format("2006-01-02 15:04 MST")); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.Out, setups[f.format](f.out))
	return err
}

// databaseUsers is the authorities of users in databases.
func databaseUsers(certs *issuev1.IssuedCerts) ([]byte, error) {
	var pem []byte
	for _, raw := range certs.Authorities {
		ca := &types.CertAuthority{}
		if err := json.Unmarshal(raw, ca); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the auth service sent an authority that this version cannot read")
		}
		if ca.Spec.Type != types.CADBClient {
			continue
		}
		for _, k := range append([]types.CAKeys{ca.Spec.Active}, ca.Spec.Additional...) {
			pem = append(pem, k.TLSCert...)
		}
	}
	if len(pem) == 0 {
		return nil, fault.New(fault.Unavailable, "the cluster has no authority of database users yet")
	}
	return pem, nil
}

// setups say how servers are told of the files.
var setups = map[string]func(out string) string{
	"db": func(out string) string {
		return strings.ReplaceAll(`
PostgreSQL, in postgresql.conf (the key must belong to the server's own user):

  ssl = on
  ssl_cert_file = 'OUT.crt'
  ssl_key_file = 'OUT.key'
  ssl_ca_file = 'OUT.cas'

and in pg_hba.conf, before any other line that lets these users in:

  hostssl all all 0.0.0.0/0 cert
  hostssl all all ::/0 cert

MySQL and MariaDB, in my.cnf:

  [mysqld]
  require_secure_transport = ON
  ssl-cert = OUT.crt
  ssl-key = OUT.key
  ssl-ca = OUT.cas

with users made by: CREATE USER 'alice'@'%' REQUIRE SUBJECT '/CN=alice';
`, "OUT", out)
	},
	"redis": func(out string) string {
		return strings.ReplaceAll(`
Redis, in redis.conf:

  port 0
  tls-port 6379
  tls-cert-file OUT.crt
  tls-key-file OUT.key
  tls-ca-cert-file OUT.cas
  tls-protocols "TLSv1.2 TLSv1.3"
  aclfile /etc/redis/users.acl
`, "OUT", out)
	},
}
