package ca

import (
	"crypto"
	"crypto/x509"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/join"
	"teleport/types"
)

// Profile names what is issued: who may ask, which authority signs, for how long.
type Profile string

// The closed list of profiles.
const (
	ProfileLogin      Profile = "login"       // a person who just proved who they are
	ProfileReissue    Profile = "reissue"     // narrower, from the user's own certificate; also a route
	ProfileWebSession Profile = "web_session" // minutes, for the keys of the proxy that holds the browser
	ProfileAppSession Profile = "app_session" // as long as the login, one app, behind a browser's session with it
	ProfileBridge     Profile = "bridge"      // minutes, a user's identity and route carried by a proxy
	ProfileBridgeSSH  Profile = "bridge_ssh"  // minutes, the same at one node as one login, for the key of the proxy that records there
	ProfileOpenSSH    Profile = "openssh"     // minutes, one login at a server without an agent, for the key of the proxy that enters it
	ProfileAppToken   Profile = "app_token"   // no certificate: what one app is told of a user, until their certificate ends
	ProfileDatabase   Profile = "database"    // minutes, one user in one database, for the key of the agent that logs in there
	ProfileSignUser   Profile = "sign_user"   // tctl auth sign --user, asked by the local administrator
	ProfileSignHost   Profile = "sign_host"   // tctl auth sign --host, for OpenSSH servers
	ProfileSignDB     Profile = "sign_db"     // tctl auth sign --format=db, for database servers
	ProfileHostJoin   Profile = "host_join"   // the first certificates of a process
	ProfileHostSSHD   Profile = "host_sshd"   // the host key of a stock SSH server that joins
	ProfileHostRenew  Profile = "host_renew"  // the next ones, from those it holds
	ProfileHostSelf   Profile = "host_self"   // the auth process for itself
	ProfileAdmin      Profile = "admin"       // the 0600 certificate in an auth host's data directory
)

// Lives of certificates.
const (
	// HostTTL is the life of the certificates of a process that renews by itself.
	// Such a process renews long before its end (package member), so that it gets
	// over an auth service that is away for a long weekend. A shorter life would
	// not protect from a stolen key, which renews as its owner does: what ends that
	// is a lock, and the count of generations that finds the clone.
	HostTTL = 7 * 24 * time.Hour
	// AdminTTL is the life of the admin certificate; auth renews it while it runs.
	AdminTTL = 24 * time.Hour
	// WebSessionTTL bounds what a proxy gets for a browser's session.
	WebSessionTTL = 10 * time.Minute
	// BridgeTTL is the life of bridge certificates.
	BridgeTTL = 5 * time.Minute
	// OpenSSHTTL is the life of what a proxy enters servers without an agent with.
	OpenSSHTTL = 5 * time.Minute
	// SignHostTTL is the life of signed host certificates when none is asked for.
	SignHostTTL = 366 * 24 * time.Hour
	// MinTTL is the shortest life that may be asked for.
	MinTTL = time.Minute
	// ceremonyAge is how old a login or an admission may be when it is used.
	ceremonyAge = time.Minute
)

// Subject is the live credential from which a certificate is derived. It is one
// of the five types below; there is no way to ask by name.
type Subject interface{ subject() }

// Certificate is a certificate that the subject holds, as the peer of a TLS
// connection or the keeper of a web session presented it: exactly one leaf. The
// issuer verifies it itself.
type Certificate struct{ Chain []*x509.Certificate }

// SSHCertificate is a user's live certificate as the peer of an SSH connection
// presented it. The issuer verifies it itself.
type SSHCertificate struct{ Cert *ssh.Certificate }

// Ceremony is a login that succeeded a moment ago. Only the auth service's login
// column makes one.
type Ceremony struct {
	User      string
	At        time.Time
	LoginIP   netip.Addr
	MFADevice string // authenticator used, where one was
	DeviceID  string
}

// Joined is an admission of the join gate.
type Joined struct{ Admission *join.Admission }

// Process is the auth process itself, which holds the CA keys anyway.
type Process struct{}

func (Certificate) subject()    {}
func (SSHCertificate) subject() {}
func (Ceremony) subject()       {}
func (Joined) subject()         {}
func (Process) subject()        {}

// Keys are the public keys to certify. At least one is set; each certificate is
// made only where its key is.
type Keys struct {
	SSH ssh.PublicKey
	TLS crypto.PublicKey
}

// Host describes a process for the host profiles.
type Host struct {
	UUID        string // joins and the auth process itself; sign_host makes its own
	Hostname    string
	Principals  []string // public addresses and further names, without ports
	SystemRoles []types.SystemRole
}

// Request asks for certificates.
type Request struct {
	Profile Profile
	Subject Subject
	// Caller is the proxy's own certificate for the sessions of browsers, the bridges and openssh, and
	// the agent's for database and app_token: exactly one leaf, verified by the issuer. Empty otherwise.
	Caller []*x509.Certificate
	Keys   Keys
	// TTL asked for; 0 is the profile's own. More than allowed is cut, not refused.
	TTL time.Duration
	// Usage and Route narrow reissue and bridges.
	Usage []string
	Route *types.Route
	// Login is the one that openssh and bridge_ssh are for, and for database the user in it.
	Login string
	// AdminUser is, for database, who makes Login there: the certificate is then of
	// the admin user. Login is the person's own name.
	AdminUser string
	// App is what app_token says, and to whom.
	App AppToken
	// User is whom sign_user is for.
	User string
	// Host is for the host profiles.
	Host Host
	// Addr is the client's address: for the audit event, and held against the
	// address that the subject's certificate is pinned to.
	Addr      netip.AddrPort
	UserAgent string
}

// Certs is what was issued. A certificate is empty where no key was given, and
// the SSH one also for a user without logins.
type Certs struct {
	Identity *types.Identity
	SSH      string       // authorized_keys form of the certificate
	TLS      []byte       // PEM
	Token    types.Secret // of app_token alone
	Expires  time.Time
}
