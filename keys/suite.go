package keys

import (
	"slices"

	"teleport/fault"
)

// Suite names a choice of algorithms for all purposes. A change of a cluster's
// suite applies to new subject keys at once and to CA keys with their rotation.
type Suite string

// The suites. The empty Suite is DefaultSuite.
const (
	SuiteLegacy   Suite = "legacy"
	SuiteBalanced Suite = "balanced-v1"
	SuiteFIPS     Suite = "fips-v1"
	SuiteHSM      Suite = "hsm-v1"
	DefaultSuite        = SuiteBalanced
)

// Suites returns the closed list, for messages and schemas.
func Suites() []Suite { return []Suite{SuiteLegacy, SuiteBalanced, SuiteFIPS, SuiteHSM} }

// Purpose says what a key will be used for.
type Purpose string

// Purposes of CA keys and of subject keys.
const (
	UserCASSH    Purpose = "user_ca_ssh"
	UserCATLS    Purpose = "user_ca_tls"
	HostCASSH    Purpose = "host_ca_ssh"
	HostCATLS    Purpose = "host_ca_tls"
	OpenSSHCASSH Purpose = "openssh_ca_ssh"
	JWTCA        Purpose = "jwt_ca"
	DBCA         Purpose = "db_ca"
	DBClientCA   Purpose = "db_client_ca"

	UserSSH  Purpose = "user_ssh"
	UserTLS  Purpose = "user_tls"
	HostSSH  Purpose = "host_ssh"
	HostTLS  Purpose = "host_tls" // hosts, bots and web sessions
	Database Purpose = "database" // database servers, desktop clients
	// DatabaseClient is an agent before a database, once a session or oftener: an
	// RSA signature takes 30 times the processor time of one on P-256.
	DatabaseClient Purpose = "database_client"
)

// row gives a purpose's algorithm in each suite, in the order of Suites.
type row [4]Algorithm

var table = map[Purpose]row{
	UserCASSH:    {RSA2048, Ed25519, ECDSAP256, ECDSAP256},
	HostCASSH:    {RSA2048, Ed25519, ECDSAP256, ECDSAP256},
	OpenSSHCASSH: {RSA2048, Ed25519, ECDSAP256, ECDSAP256},
	UserCATLS:    {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
	HostCATLS:    {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
	JWTCA:        {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
	DBCA:         {RSA2048, RSA2048, RSA2048, RSA2048},
	DBClientCA:   {RSA2048, RSA2048, RSA2048, RSA2048},
	UserSSH:      {RSA2048, Ed25519, ECDSAP256, Ed25519},
	HostSSH:      {RSA2048, Ed25519, ECDSAP256, Ed25519},
	UserTLS:      {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
	HostTLS:      {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
	Database:     {RSA2048, RSA2048, RSA2048, RSA2048},

	DatabaseClient: {RSA2048, ECDSAP256, ECDSAP256, ECDSAP256},
}

// AlgorithmFor returns the algorithm of a purpose under a suite. The empty suite
// is DefaultSuite; unknown names give fault.Invalid.
func AlgorithmFor(s Suite, p Purpose) (Algorithm, error) {
	if s == "" {
		s = DefaultSuite
	}
	i := slices.Index(Suites(), s)
	if i < 0 {
		return "", fault.New(fault.Invalid, "unknown signature algorithm suite %q", s).
			WithHint("known suites: legacy, balanced-v1, fips-v1, hsm-v1")
	}
	r, ok := table[p]
	if !ok {
		return "", fault.New(fault.Invalid, "unknown key purpose %q", p)
	}
	return r[i], nil
}
