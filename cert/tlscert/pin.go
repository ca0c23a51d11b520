package tlscert

import (
	"crypto/tls"
	"crypto/x509"

	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// PinnedConfig builds the configuration of a first contact: the client knows no
// authority yet, only pins of the host CA (see keys.Pin). The server must send its
// leaf and the CA certificate behind it; the CA must have one of the pins, the
// leaf must be a host certificate that this CA signed, with the system role asked
// for, in whatever cluster it says. src.Trust is not asked.
func PinnedConfig(src Source, pins []string, role types.SystemRole, alpn ...string) (*tls.Config, error) {
	if len(pins) == 0 {
		return nil, fault.New(fault.Invalid, "no CA pin to check the auth service with")
	}
	for _, p := range pins {
		if err := keys.CheckPin(p); err != nil {
			return nil, err
		}
	}
	c := clientBase(src, "", alpn)
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		ca, err := pinnedAuthority(cs.PeerCertificates, pins)
		if err != nil {
			return err
		}
		id, err := verifyPinned(cs.PeerCertificates[0], ca, src)
		if err != nil {
			return err
		}
		if !id.HasSystemRole(role) {
			return fault.New(fault.Untrusted, "the server is no %s service", role)
		}
		return nil
	}
	return c, nil
}

// pinnedAuthority finds the CA certificate that a pin vouches for.
func pinnedAuthority(chain []*x509.Certificate, pins []string) (*x509.Certificate, error) {
	if len(chain) != 2 || len(chain[0].Raw) > maxLeaf || len(chain[1].Raw) > maxLeaf {
		return nil, fault.New(fault.Untrusted, "the server does not present itself as an auth service").
			WithHint("check auth_server, or whether the auth service is older than this one")
	}
	if !keys.MatchPin(chain[1], pins) {
		return nil, fault.New(fault.Untrusted, "the CA pin does not match: the auth service has %s", keys.Pin(chain[1])).
			WithHint("compare with the CA pin that tctl status prints on the auth host; if they differ, somebody may be in between")
	}
	return chain[1], nil
}

// verifyPinned runs Verify with a trust of just the pinned authority. The cluster
// name is taken from the leaf, as there is nothing yet to hold it against.
func verifyPinned(leaf, ca *x509.Certificate, src Source) (*types.Identity, error) {
	id, err := read(leaf.Subject.Names, leaf.Extensions, types.IdentityHost)
	if err != nil {
		return nil, err
	}
	doc := &types.CertAuthority{Spec: types.CertAuthoritySpec{
		Type: types.CAHost, Cluster: id.Cluster, Active: types.CAKeys{TLSCert: string(PEM(ca.Raw))},
	}}
	trust, err := cert.NewTrust([]*types.CertAuthority{doc})
	if err != nil {
		return nil, err
	}
	return Verify([]*x509.Certificate{leaf}, trust, src.Now(), types.IdentityHost)
}
