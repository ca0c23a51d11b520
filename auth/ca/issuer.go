package ca

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore"
	"teleport/types"
)

// Account is what a user's account allows at the moment: its roles resolved,
// templates expanded, denials taken out.
type Account struct {
	Roles      []string
	Traits     map[string][]string
	Logins     []string
	DefaultTTL time.Duration // of a certificate; 0: 12 h
	MaxTTL     time.Duration // shortest of all roles; 0: types.DefaultMaxSessionTTL
	Expires    time.Time     // of the account itself; zero: never
	PinIP      bool          // certificates are bound to the address of the login
	// LoginAfter, when set, is the moment before which nothing was issued to the
	// present owner of the account: older certificates issue no others.
	LoginAfter time.Time

	PermitPTY, PermitAgent, PermitPortForward, PermitX11 bool
}

// Policy answers the issuer's questions about users and locks. Errors are faults
// that the person asking may read.
type Policy interface {
	// Account returns what a user's account allows now; fault.Denied when it is
	// locked, fault.NotFound when it is gone.
	Account(ctx context.Context, user string) (Account, error)
	// CheckLocks returns fault.Denied when a lock bans the identity.
	CheckLocks(ctx context.Context, id *types.Identity) error
}

// Generations counts the renewals of hosts, so that a cloned key shows.
type Generations interface {
	// Start records the first generation of a host that was admitted. A UUID that
	// has a live certificate for other keys is fault.Denied, as whoever knows a
	// token could take a host's place, unless the join method proved the UUID.
	Start(ctx context.Context, h Holder, now time.Time, proven bool) (generation uint64, err error)
	// Advance records that the holder of a generation renews for new keys and
	// returns the generation of the new certificate. The same renewal repeated
	// (its answer was lost) gets the same generation. Any other old generation is
	// fault.Denied with *Cloned as its cause.
	Advance(ctx context.Context, h Holder, presented uint64) (generation uint64, err error)
}

// Holder is a host with the keys that its next certificate is for.
type Holder struct {
	HostUUID string
	KeyHash  []byte
	Expires  time.Time // of that certificate
}

// Config is what an Issuer works with; every field is required.
type Config struct {
	Cluster     string
	Keys        keystore.Keystore
	Trust       func() *cert.Trust // with the cluster's own authorities in it
	Policy      Policy
	Generations Generations
	Events      Emitter
	Now         func() time.Time
	HostTTL     time.Duration // of processes; 0: HostTTL
}

// Issuer issues certificates. Safe for concurrent use; it starts nothing.
type Issuer struct {
	c Config

	mu      sync.Mutex
	trust   *cert.Trust // what signers were made from
	signers map[types.CAType]*signers
}

// signers are an authority's active keys, ready to sign.
type signers struct {
	ssh     ssh.Signer
	tls     crypto.Signer
	tlsCert *x509.Certificate
	jwt     crypto.Signer
}

// NewIssuer checks that the configuration can issue at all.
func NewIssuer(c Config) (*Issuer, error) {
	if c.Cluster == "" || c.Keys == nil || c.Trust == nil || c.Policy == nil || c.Generations == nil || c.Events == nil || c.Now == nil {
		return nil, fault.New(fault.Internal, "the issuer is not completely configured")
	}
	c.HostTTL = cmp.Or(c.HostTTL, HostTTL)
	return &Issuer{c: c, signers: map[types.CAType]*signers{}}, nil
}

// Issue makes the certificates of a request. It is the only way to one.
func (i *Issuer) Issue(ctx context.Context, r Request) (Certs, error) {
	now := i.c.Now()
	if err := checkKeys(r.Keys); err != nil {
		return Certs{}, err
	}
	p, ok := profiles[r.Profile]
	if !ok {
		return Certs{}, fault.New(fault.Invalid, "unknown certificate profile %.60q", r.Profile)
	}
	d := &deciding{i: i, ctx: ctx, r: r, now: now}
	id, err := p.decide(d)
	if err != nil {
		return Certs{}, err
	}
	id.IssuedAt = now
	id = cert.Canonical(id)
	if d.parent != nil && p.narrows {
		within := checkNarrower
		if p.sign != nil {
			within = checkWithin
		}
		if err := within(id, d.parent); err != nil {
			return Certs{}, err
		}
	}
	if err := cert.Lint(id, now); err != nil {
		return Certs{}, err
	}
	if len(id.Authority.Logins) == 0 && id.Kind == types.IdentityUser || r.Profile == ProfileBridge {
		r.Keys.SSH = nil // there is no SSH certificate of this identity
	}
	if r.Keys.SSH == nil && r.Keys.TLS == nil {
		return Certs{}, fault.New(fault.Denied, "user %q has no logins, so there is no SSH certificate for them", id.Name)
	}
	s, err := i.signersFor(ctx, id.Kind, p.signer)
	if err != nil {
		return Certs{}, err
	}
	if err := i.c.Events.Emit(ctx, d.createEvent(id)); err != nil {
		return Certs{}, fault.Wrap(err, fault.Unavailable, "the certificate could not be recorded in the audit log, so it is not issued")
	}
	if p.signer == types.CAOpenSSH {
		// It is shown by a proxy, from the proxy's own address: that of the person was
		// held against the pin here, and is for each connection by the proxy.
		id.Authority.PinnedIP = netip.Addr{}
	}
	if p.sign != nil {
		return p.sign(d, id, s)
	}
	return sign(id, r.Keys, s, now)
}

func checkKeys(k Keys) error {
	if k.SSH == nil && k.TLS == nil {
		return fault.New(fault.Invalid, "no public key to certify")
	}
	if k.SSH != nil {
		if err := keys.CheckSSHPublic(k.SSH); err != nil {
			return err
		}
	}
	if k.TLS != nil {
		return keys.CheckPublic(k.TLS)
	}
	return nil
}

func sign(id *types.Identity, k Keys, s *signers, now time.Time) (Certs, error) {
	out := Certs{Identity: id, Expires: id.Authority.Expires}
	if k.TLS != nil {
		der, err := tlscert.Sign(id, k.TLS, s.tlsCert, s.tls, now)
		if err != nil {
			return Certs{}, err
		}
		out.TLS = tlscert.PEM(der)
	}
	if k.SSH != nil {
		c, err := sshcert.Sign(id, k.SSH, s.ssh, now)
		if err != nil {
			return Certs{}, err
		}
		out.SSH = keys.SSHLine(c)
	}
	return out, nil
}

// signersFor finds the active keys of an authority, that of the kind unless
// another is named, anew whenever trust changed.
func (i *Issuer) signersFor(ctx context.Context, kind types.IdentityKind, caType types.CAType) (*signers, error) {
	if caType == "" {
		var err error
		if caType, err = cert.AuthorityFor(kind); err != nil {
			return nil, err
		}
	}
	trust := i.c.Trust()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.trust != trust {
		i.trust = trust
		clear(i.signers)
	}
	if s := i.signers[caType]; s != nil {
		return s, nil
	}
	s, err := i.load(ctx, trust, caType)
	if err != nil {
		return nil, err
	}
	i.signers[caType] = s
	return s, nil
}

func (i *Issuer) load(ctx context.Context, trust *cert.Trust, caType types.CAType) (*signers, error) {
	for _, doc := range trust.Authorities() {
		if doc.Spec.Type != caType || doc.Spec.Cluster != i.c.Cluster {
			continue
		}
		s := &signers{}
		if caType == types.CAJWT {
			return s, s.loadJWT(ctx, i.c.Keys, doc)
		}
		if caType != types.CADB && caType != types.CADBClient { // which sign X.509 alone
			if err := s.loadSSH(ctx, i.c.Keys, doc); err != nil {
				return nil, err
			}
		}
		if caType != types.CAOpenSSH { // which signs SSH certificates alone
			if err := s.loadTLS(ctx, i.c.Keys, doc); err != nil {
				return nil, err
			}
		}
		return s, nil
	}
	return nil, fault.New(fault.Unavailable, "cluster %q has no %s authority yet", i.c.Cluster, caType)
}

func (s *signers) loadSSH(ctx context.Context, from keystore.Keystore, doc *types.CertAuthority) error {
	key, err := from.Signer(ctx, doc.Spec.Active.SSHKeyID)
	if err != nil {
		return err
	}
	if s.ssh, err = ssh.NewSignerFromSigner(key); err != nil {
		return fault.Wrap(err, fault.Internal, "the %s authority's SSH key cannot sign", doc.Spec.Type)
	}
	if keys.SSHLine(s.ssh.PublicKey()) != doc.Spec.Active.SSHPublic {
		return fault.New(fault.Internal, "the %s authority's private SSH key is not that of its document", doc.Spec.Type)
	}
	return nil
}

func (s *signers) loadJWT(ctx context.Context, from keystore.Keystore, doc *types.CertAuthority) (err error) {
	if s.jwt, err = from.Signer(ctx, doc.Spec.Active.JWTKeyID); err != nil {
		return err
	}
	text, err := keys.MarshalPublic(s.jwt.Public())
	if err == nil && string(text) != doc.Spec.Active.JWTPublic {
		err = fault.New(fault.Internal, "the %s authority's private key is not that of its document", doc.Spec.Type)
	}
	return err
}

func (s *signers) loadTLS(ctx context.Context, from keystore.Keystore, doc *types.CertAuthority) (err error) {
	if s.tls, err = from.Signer(ctx, doc.Spec.Active.TLSKeyID); err != nil {
		return err
	}
	if s.tlsCert, err = cert.ParseAuthority([]byte(doc.Spec.Active.TLSCert)); err != nil {
		return err
	}
	if !keys.Equal(s.tls.Public(), s.tlsCert.PublicKey) {
		return fault.New(fault.Internal, "the %s authority's private TLS key is not that of its document", doc.Spec.Type)
	}
	return nil
}

// pinned returns the address that a certificate is bound to, if at all.
func pinned(a Account, ip netip.Addr) (netip.Addr, error) {
	if !a.PinIP {
		return netip.Addr{}, nil
	}
	if !ip.IsValid() {
		return netip.Addr{}, fault.New(fault.Denied, "a role of this user demands a pinned address, and the address of the login is not known")
	}
	return ip.Unmap().WithZone(""), nil
}
