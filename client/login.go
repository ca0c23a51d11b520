package client

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// clockTolerance is how far the proxy's clock may be off before it is named as
// the likely cause of a certificate that cannot be used.
const clockTolerance = time.Minute

// Proof is what a person gives to log in.
type Proof struct {
	User     string
	Password types.Secret
	OTP      types.Secret
	TTL      time.Duration // 0: the cluster's default
}

// loginRequest is the body of POST /webapi/ssh/certs.
type loginRequest struct {
	User     string `json:"user"`
	Password string `json:"password"`
	OTP      string `json:"otp_token,omitempty"`
	SSHPub   string `json:"ssh_pub_key"`
	TLSPub   []byte `json:"tls_pub_key"` // PKIX DER; JSON makes it base64
	TTL      int64  `json:"ttl"`         // seconds
}

// loginReply is its answer.
type loginReply struct {
	Username    string            `json:"username"`
	Cluster     string            `json:"cluster"`
	SSHCert     string            `json:"ssh_cert"`
	TLSCert     string            `json:"tls_cert"` // base64 of PEM
	Authorities []json.RawMessage `json:"authorities"`
}

// Keys is a fresh pair of keys to be certified.
type Keys struct{ SSH, TLS crypto.Signer }

// NewKeys makes the keys of a person's log-in under the cluster's suite. With
// single, one key serves both SSH and TLS, as a file that other programs read
// wants it.
func NewKeys(suite string, single bool) (Keys, error) {
	tlsKey, err := newKey(suite, keys.UserTLS)
	if err != nil || single {
		return Keys{tlsKey, tlsKey}, err
	}
	sshKey, err := newKey(suite, keys.UserSSH)
	return Keys{sshKey, tlsKey}, err
}

func newKey(suite string, purpose keys.Purpose) (crypto.Signer, error) {
	alg, err := keys.AlgorithmFor(keys.Suite(suite), purpose)
	if err != nil {
		return nil, fault.Advise(err, "this tsh may be older than the cluster: update it")
	}
	return keys.Generate(alg)
}

// Login proves who the person is and returns the credential for the keys. The
// reply is checked before it is believed: it must certify these very keys and
// name the authority to trust.
func (w *Web) Login(ctx context.Context, proof Proof, k Keys) (*identityfile.Credential, error) {
	sshPub, err := keys.MarshalSSHPublic(k.SSH.Public())
	if err != nil {
		return nil, err
	}
	tlsPub, err := x509.MarshalPKIXPublicKey(k.TLS.Public())
	if err != nil {
		return nil, err
	}
	req := loginRequest{User: proof.User, Password: proof.Password.Reveal(), OTP: proof.OTP.Reveal(),
		SSHPub: sshPub, TLSPub: tlsPub, TTL: int64(proof.TTL / time.Second)}
	var reply loginReply
	skew, err := w.call(ctx, http.MethodPost, "/webapi/ssh/certs", req, &reply)
	if err != nil {
		return nil, err
	}
	c, err := reply.credential(k)
	if err != nil {
		return nil, err
	}
	return c, checkClock(c, skew, time.Now())
}

func (r *loginReply) credential(k Keys) (*identityfile.Credential, error) {
	pem, err := base64.StdEncoding.DecodeString(r.TLSCert)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the proxy's answer holds no TLS certificate")
	}
	// The name becomes file names and patterns of known_hosts and ssh_config.
	if err := types.CheckHostname(r.Cluster); err != nil {
		return nil, fault.Wrap(err, fault.Untrusted, "the proxy's answer is for a cluster whose name cannot be one")
	}
	docs := make([]*types.CertAuthority, 0, len(r.Authorities))
	for _, raw := range r.Authorities {
		doc := new(types.CertAuthority)
		if err := json.Unmarshal(raw, doc); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the proxy's answer holds an authority that does not parse")
		}
		if name := cmp.Or(doc.Spec.Cluster, doc.Metadata.Name); name != "" && name != r.Cluster {
			continue // a cluster speaks for itself, and for no other that this person may know
		}
		docs = append(docs, doc)
	}
	trusted, err := identityfile.FromDocuments(docs, r.Cluster)
	if err != nil {
		return nil, err
	}
	if len(trusted) == 0 || trusted[0].Cluster != r.Cluster {
		return nil, fault.New(fault.Untrusted, "the proxy's answer names no host authority of cluster %q", r.Cluster)
	}
	return identityfile.Assemble(k.SSH, k.TLS, []byte(r.SSHCert), pem, trusted)
}

// checkClock turns "expired" or "not yet valid", straight after a log-in, into
// what it really is.
func checkClock(c *identityfile.Credential, skew time.Duration, now time.Time) error {
	err := c.Check(now)
	if err == nil || skew.Abs() < clockTolerance {
		return err
	}
	side := "behind"
	if skew < 0 {
		side = "ahead of"
	}
	return fault.New(fault.Unauthenticated, "this machine's clock is %s %s the cluster's, so the new certificate cannot be used",
		skew.Abs().Round(time.Second), side).WithHint("set this machine's clock (NTP), then log in again")
}
