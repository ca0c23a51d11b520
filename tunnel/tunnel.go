// Package tunnel is the reverse tunnel, both ends: an SSH connection that an
// agent dials out to each proxy of its cluster and over which the proxy then
// reaches the agent.
//
// The agent is the SSH client and the proxy the SSH server, inside the TLS of
// ALPN teleport-reversetunnel; each proves itself with its host certificate and
// verifies the other's: host CA, cluster, system role, UUID. The agent's side
// is Pool: it holds one tunnel to each known proxy and hands on what proxies
// dial. The proxy's side is Registry: it files tunnels by agent UUID and
// generation and dials through the newest. A dial travels as a data connection
// (a TLS connection that the agent dials back, a few kept warm after the first
// use) or, where that cannot be had, as a channel of the tunnel. The agent's own
// traffic to the auth service is a channel in the other direction.
//
// The messages are in tunframe; DESIGN.md says why things are as they are.
package tunnel

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/tunnel/tundial"
	"teleport/types"
)

// Credentials are how one end of a tunnel proves itself and knows the other.
// Both functions are asked for each handshake, so renewed certificates and a
// rotated CA are used from then on. They must be safe for concurrent use.
type Credentials struct {
	// Signer returns the SSH host certificate with its key (ssh.NewCertSigner).
	Signer func() (ssh.Signer, error)
	// Verify checks a host certificate against the host CA and returns what it
	// says; sshcert.Verify over the replica's trust.
	Verify func(*ssh.Certificate) (*types.Identity, error)
	// Peer returns the verified host identity at the other end of a TLS
	// connection, for data connections; tlscert.Verify over the replica's trust.
	Peer func(tls.ConnectionState) (*types.Identity, error)
}

// Incoming is a dial that has arrived at an agent.
type Incoming = tundial.Incoming

// AgentInfo describes a live tunnel at a proxy.
type AgentInfo struct {
	UUID       string
	Identity   *types.Identity
	Generation uint64
	Services   []string
	Release    string
	Addr       net.Addr
	Since      time.Time
	LastSeen   time.Time
	Draining   bool
	Streams    int // dials that are open now
}

// agentRoles are the system roles that may hold a tunnel.
func agentRoles() []types.SystemRole {
	return []types.SystemRole{types.RoleNode, types.RoleKube, types.RoleApp, types.RoleDb,
		types.RoleDesktop, types.RoleDiscover, types.RoleInstance}
}

// algorithms are what tunnels speak: AES-GCM first and only, as both ends are
// ours. Without ChaCha20 and CBC the prefix truncation of Terrapin
// (CVE-2023-48795) has no mode to work on, besides strict key exchange.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM},
		MACs:         []string{ssh.HMACSHA256ETM}, // unused by AES-GCM, and the list may not be empty
	}
}

// hostCertAlgorithms are the certificate types accepted from a proxy.
func hostCertAlgorithms() []string {
	return []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
}

// version is the identification string of both ends (RFC 4253, 4.2).
const version = "SSH-2.0-Teleport"

// verifyHost accepts key only as a host certificate of cluster with one of roles.
func (c Credentials) verifyHost(key ssh.PublicKey, cluster string, roles []types.SystemRole) (*types.Identity, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fault.New(fault.Untrusted, "the peer shows a bare key, not a host certificate")
	}
	id, err := c.Verify(cert)
	if err != nil {
		return nil, err
	}
	return id, checkHost(id, cluster, roles)
}

// checkHost checks what a verified certificate says.
func checkHost(id *types.Identity, cluster string, roles []types.SystemRole) error {
	if id == nil || id.Kind != types.IdentityHost || id.Name == "" {
		return fault.New(fault.Untrusted, "the peer's certificate is not a host certificate")
	}
	if id.Cluster != cluster {
		return fault.New(fault.Untrusted, "the peer belongs to cluster %q, not to %q", id.Cluster, cluster)
	}
	if !slices.ContainsFunc(roles, id.HasSystemRole) {
		return fault.New(fault.Untrusted, "%s has none of the system roles %v", id, roles)
	}
	return nil
}

// checkPeer verifies the other end of a data connection: it must be the very
// process whose tunnel asked for it.
func (c Credentials) checkPeer(ctx context.Context, conn net.Conn, cluster string, roles []types.SystemRole) (*types.Identity, error) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil, fault.New(fault.Untrusted, "a data connection has no TLS")
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	id, err := c.Peer(t.ConnectionState())
	if err != nil {
		return nil, err
	}
	return id, checkHost(id, cluster, roles)
}
