// Package dbclient knows the programs that people use databases with: how each is
// told where a database is, as whom, and which certificate to show. It starts
// nothing and reads nothing.
package dbclient

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"teleport/fault"
)

// Target is what a program is to reach: a tunnel, which needs no certificate, or
// a port where it shows its own.
type Target struct {
	Protocol string // types.DatabaseSpec.Protocol
	Name     string // of the database in the cluster
	User     string // in the database
	Database string // within the server; may be empty
	Addr     string // host:port; without a port for a section that leaves it open
	Files    *Files // nil: a tunnel
}

// Files are a certificate, its key and its server's authority, by their paths.
type Files struct {
	CA, Cert, Key string
	// ServerName is what the server's certificate is for, where that is not the
	// host of the address.
	ServerName string
}

// Postgres reports whether libpq's programs speak the protocol.
func Postgres(protocol string) bool { return protocol == "postgres" || protocol == "cockroachdb" }

func (t Target) hostPort() (host, port string) {
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return t.Addr, ""
	}
	return host, port
}

// Argv is the program that people use, and its arguments. installed tells whether
// this machine has a program.
func (t Target) Argv(installed func(program string) bool) ([]string, error) {
	switch {
	case t.Protocol == "cockroachdb" && installed("cockroach"):
		return []string{"cockroach", "sql", "--url", t.URL()}, nil
	case Postgres(t.Protocol):
		return []string{"psql", t.conninfo()}, nil
	case t.Protocol == "mysql":
		return t.mysql(installed), nil
	case t.Protocol == "redis":
		return t.redis(), nil
	case t.Protocol == "dynamodb":
		return []string{"aws", "--endpoint-url", "http://" + t.Addr}, nil
	}
	return nil, fault.New(fault.Unimplemented, "tsh does not know the client of %s", t.Protocol).WithHint("tsh proxy db %s --tunnel lets yours in", t.Name)
}

// setting is one of a connection.
type setting struct{ key, env, value string }

// settings are those of libpq, in the order in which people read them. host is the
// name that the certificate must have, hostaddr where it is dialled.
func (t Target) settings() []setting {
	host, port := t.hostPort()
	list := []setting{{"host", "PGHOST", host}}
	if f := t.Files; f != nil && f.ServerName != "" && f.ServerName != host {
		list[0].value = f.ServerName
		list = append(list, setting{"hostaddr", "PGHOSTADDR", host})
	}
	list = append(list, setting{"port", "PGPORT", port}, setting{"user", "PGUSER", t.User}, setting{"dbname", "PGDATABASE", cmp.Or(t.Database, t.User)})
	if t.Files == nil {
		return append(list, setting{"sslmode", "PGSSLMODE", "disable"})
	}
	return append(list, setting{"sslmode", "PGSSLMODE", "verify-full"}, setting{"sslrootcert", "PGSSLROOTCERT", t.Files.CA},
		setting{"sslcert", "PGSSLCERT", t.Files.Cert}, setting{"sslkey", "PGSSLKEY", t.Files.Key})
}

func (t Target) conninfo() string {
	var words []string
	for _, s := range t.settings() {
		words = append(words, s.key+"="+quoted(s.value))
	}
	return strings.Join(words, " ")
}

const wordChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:"

// quoted is a value of a libpq connection string.
func quoted(s string) string {
	if s != "" && strings.Trim(s, wordChars) == "" {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// URL is the address as libraries and graphical clients take it; "" where the
// protocol has no such form.
func (t Target) URL() string {
	if !Postgres(t.Protocol) {
		return ""
	}
	query := url.Values{"sslmode": {"disable"}}
	if f := t.Files; f != nil {
		// The name is not checked, as this form has no place for it beside the address.
		query = url.Values{"sslmode": {"verify-ca"}, "sslrootcert": {f.CA}, "sslcert": {f.Cert}, "sslkey": {f.Key}}
	}
	// libpq takes "+" for itself.
	u := url.URL{Scheme: "postgres", User: url.User(t.User), Host: t.Addr, Path: "/" + cmp.Or(t.Database, t.User), RawQuery: strings.ReplaceAll(query.Encode(), "+", "%20")}
	return u.String()
}

func (t Target) mysql(installed func(string) bool) []string {
	program, words := mysqlProgram(installed)
	argv := []string{program}
	host, port := t.hostPort()
	if f := t.Files; f != nil {
		argv = append(argv, "--ssl-ca="+f.CA, "--ssl-cert="+f.Cert, "--ssl-key="+f.Key)
	}
	argv = append(argv, t.verification(words), "--protocol=TCP", "--host="+host, "--port="+port, "--user="+t.User)
	if t.Database != "" {
		argv = append(argv, "--database="+t.Database)
	}
	return argv
}

func (t Target) redis() []string {
	host, port := t.hostPort()
	argv := []string{"redis-cli", "-h", host, "-p", port}
	if f := t.Files; f != nil {
		argv = append(argv, "--tls", "--cacert", f.CA, "--cert", f.Cert, "--key", f.Key)
	}
	if t.Database != "" {
		argv = append(argv, "-n", t.Database)
	}
	return argv
}

// Env is what programs take from their environment: names and values in the order
// in which people read them. Those of MySQL take only Service.Setting.
func (t Target) Env() [][2]string {
	if !Postgres(t.Protocol) {
		return nil
	}
	var list [][2]string
	for _, s := range t.settings() {
		list = append(list, [2]string{s.env, s.value})
	}
	return list
}

// IsAddress reports whether a host is no name.
func IsAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
