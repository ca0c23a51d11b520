package dbclient

import (
	"strings"

	"teleport/fault"
)

// Service is a database as the programs of its protocol know it by one name: from
// sections of a file in the person's home directory.
type Service struct {
	// File is the file, below the home directory; Env, where it is set, is the
	// variable by which people have it elsewhere.
	File, Env string
	// Sections are the names of those that are of this database.
	Sections []string
	// Argv is a program that goes by them.
	Argv []string
	// Setting has other programs do so, a variable of the environment and its value,
	// where they take nothing else from there.
	Setting [2]string
}

// ServiceOf is how programs of a protocol call a database; false where they know no
// such files.
func ServiceOf(protocol, name string, installed func(program string) bool) (Service, bool) {
	switch {
	case Postgres(protocol):
		return Service{File: ".pg_service.conf", Env: "PGSERVICEFILE", Sections: []string{name}, Argv: []string{"psql", "service=" + name}}, true
	case protocol == "mysql":
		program, _ := mysqlProgram(installed)
		suffix := "_" + name
		return Service{File: ".my.cnf", Sections: []string{"client" + suffix, "mysql" + suffix},
			Argv: []string{program, "--defaults-group-suffix=" + suffix}, Setting: [2]string{"MYSQL_GROUP_SUFFIX", suffix}}, true
	}
	return Service{}, false
}

// ServiceLines are the lines of each of the sections; none where there is nothing
// to say in it.
func (t Target) ServiceLines(installed func(program string) bool) ([][]string, error) {
	if t.Protocol == "mysql" {
		return t.mysqlLines(installed)
	}
	var lines []string
	for _, s := range t.settings() {
		if strings.TrimSpace(s.value) != s.value || strings.ContainsFunc(s.value, control) {
			return nil, fault.New(fault.Invalid, "%.60q cannot stand in a file of services", s.value)
		}
		lines = append(lines, s.key+"="+s.value)
	}
	return [][]string{lines}, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// mysqlLines are those that all programs read, and those of the ones that take a
// database as an option.
func (t Target) mysqlLines(installed func(string) bool) ([][]string, error) {
	_, words := mysqlProgram(installed)
	host, port := t.hostPort()
	all := []setting{{"protocol", "", "TCP"}, {"host", "", host}, {"port", "", port}, {"user", "", t.User}}
	if f := t.Files; f != nil {
		all = append(all, setting{"ssl-ca", "", f.CA}, setting{"ssl-cert", "", f.Cert}, setting{"ssl-key", "", f.Key})
	}
	sections := [][]setting{all, {{"database", "", t.Database}}}
	var out [][]string
	for _, list := range sections {
		var lines []string
		for _, s := range list {
			if strings.ContainsFunc(s.value, control) {
				return nil, fault.New(fault.Invalid, "%.60q cannot stand in an option file", s.value)
			}
			if s.value != "" {
				lines = append(lines, s.key+"="+option(s.value))
			}
		}
		out = append(out, lines)
	}
	out[0] = append(out[0], strings.TrimPrefix(t.verification(words), "--"))
	return out, nil
}

// option is a value of an option file.
func option(s string) string {
	if strings.Trim(s, wordChars) == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// mysqlWords are how a program is told what to make of a server's certificate.
type mysqlWords struct{ plain, named, unnamed string }

// mysqlProgram is MariaDB's program where it is installed, and else MySQL's, which
// has other words for the same.
func mysqlProgram(installed func(string) bool) (string, mysqlWords) {
	if installed("mariadb") {
		return "mariadb", mysqlWords{"--skip-ssl", "--ssl-verify-server-cert", "--skip-ssl-verify-server-cert"}
	}
	return "mysql", mysqlWords{"--ssl-mode=DISABLED", "--ssl-mode=VERIFY_IDENTITY", "--ssl-mode=VERIFY_CA"}
}

// verification is what a program makes of the certificate. The name is not held
// against the address where that is a port of this machine: tsh has done so.
func (t Target) verification(words mysqlWords) string {
	host, _ := t.hostPort()
	switch {
	case t.Files == nil:
		return words.plain
	case t.Files.ServerName == host:
		return words.named
	}
	return words.unnamed
}
