package ca

import (
	"cmp"
	"slices"
	"time"

	"teleport/cert/dbcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/types"
)

// DatabaseTTL is the life of what an agent logs in to databases with. Databases
// look at a certificate when a connection begins.
const DatabaseTTL = 10 * time.Minute

// database lets an agent log in to one database as one user in it, for a person
// whose live certificate for that database it shows. What the certificate says is
// only that user: the database knows nothing of the cluster. Where that
// user is made, it is for the one who makes it.
func (d *deciding) database() (*types.Identity, error) {
	agent, err := d.processOf(types.RoleDb)
	if err != nil {
		return nil, err
	}
	d.caller = agent
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	r := d.r.Route
	if r == nil || r.Kind != types.KindDatabase || d.r.Login == "" || d.r.Keys.TLS == nil || d.r.Keys.SSH != nil {
		return nil, fault.New(fault.Invalid, "a certificate for a database is for one TLS key, one database and one user in it")
	}
	has := id.Authority.Route
	if has == nil || has.Kind != types.KindDatabase || has.Name != r.Name {
		return nil, fault.New(fault.Denied, "the user's certificate is not for the database %.60q", r.Name)
	}
	if of := types.DatabaseRouteOf(has); of.User != "" && of.User != d.r.Login {
		return nil, fault.New(fault.Denied, "the user's certificate is for the database user %.60q", of.User)
	}
	if d.r.AdminUser != "" && d.r.Login != id.Name {
		return nil, fault.New(fault.Denied, "the user %.60q of the database is not made for %s", d.r.Login, id.Name)
	}
	id.Authority.DisallowReissue, id.Authority.Renewable = true, false
	id.Authority.Expires = d.expiry(DatabaseTTL, DatabaseTTL, id.Authority.Expires, a.Expires)
	return id, nil
}

// signDatabase makes the certificate that the database sees.
func signDatabase(d *deciding, id *types.Identity, s *signers) (Certs, error) {
	der, err := dbcert.SignClient(cmp.Or(d.r.AdminUser, d.r.Login), d.r.Keys.TLS, s.tlsCert, s.tls, d.now, id.Authority.Expires)
	if err != nil {
		return Certs{}, err
	}
	return Certs{Identity: id, Expires: id.Authority.Expires, TLS: tlscert.PEM(der)}, nil
}

// signDatabaseServer makes the certificate of a database server, which agents
// verify. Nobody takes it for a host of the cluster: its authority is another.
func signDatabaseServer(d *deciding, id *types.Identity, s *signers) (Certs, error) {
	names := append([]string{id.Authority.Hostname}, id.Authority.Principals...)
	der, err := dbcert.SignServer(slices.DeleteFunc(names, func(n string) bool { return n == "" || n == id.Name }), d.r.Keys.TLS, s.tlsCert, s.tls, d.now, id.Authority.Expires)
	if err != nil {
		return Certs{}, err
	}
	return Certs{Identity: id, Expires: id.Authority.Expires, TLS: tlscert.PEM(der)}, nil
}
