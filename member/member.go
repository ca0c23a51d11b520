// Package member is what every process of a cluster does to belong to it: join
// once, keep its identity on disk, renew it before it expires and when the
// cluster's authorities change, and hold the control stream on which it says that
// it is alive and what it fronts.
//
// State in the data directory:
//
//	host_uuid           the UUID of this host, one line
//	proc/identity.json  keys, certificates and authorities, mode 0600
//	proc/pending.json   keys of a join or renewal under way, mode 0600
//	proc/lock           taken while the identity is renewed
//
// Files are replaced whole: written aside, synced, renamed. The pending keys are
// on disk before they are sent, so that a request whose answer was lost is made
// again with the same keys, and is not taken for a second machine.
package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/types"
)

// Joiner admits a process. Its connection must have been verified by the caller:
// the proxy's public certificate, or a CA pin (tlscert.PinnedConfig).
type Joiner interface {
	Challenge(ctx context.Context, method string) ([]byte, error)
	Join(ctx context.Context, req *joinv1.JoinRequest) (*joinv1.JoinResponse, error)
}

// Renewer replaces the certificates of this process. Each call must run on a
// connection made with the current certificate, as authclient's does: on an older
// connection it would show an old generation, and the host be taken for a clone.
type Renewer interface {
	Renew(ctx context.Context, req *joinv1.RenewRequest) (*joinv1.JoinResponse, error)
}

// Config describes the process.
type Config struct {
	DataDir     string
	Hostname    string
	Principals  []string // public addresses without ports
	SystemRoles []types.SystemRole
	Suite       keys.Suite
	// Pins, when set, must match the host authority that a join answers with.
	Pins []string
	// OnRenewal is told how each attempt to renew ended, so that the process can say
	// that it is in trouble. Optional; it must not block.
	OnRenewal func(err error)
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: none
}

// Member is one process's membership. Safe for concurrent use.
type Member struct {
	c    Config
	dir  stateDir
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{} // asks Serve to renew soon; capacity 1

	mu      sync.Mutex
	current *held
	changed map[chan struct{}]bool
}

// held is a loaded identity in all its forms; it is never changed.
type held struct {
	state    state
	identity *types.Identity
	tls      *tls.Certificate
	ssh      ssh.Signer
	trust    *cert.Trust
}

// New returns a membership over a data directory. It reads nothing.
func New(c Config) (*Member, error) {
	if c.DataDir == "" || len(c.SystemRoles) == 0 {
		return nil, fault.New(fault.Internal, "a member has a data directory and at least one system role")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnRenewal == nil {
		c.OnRenewal = func(error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Member{
		c: c, dir: stateDir(c.DataDir), log: c.Log, now: c.Now,
		wake: make(chan struct{}, 1), changed: map[chan struct{}]bool{},
	}, nil
}

// Load reads the identity from disk. Without one it is fault.NotFound: join first.
// An expired one is fault.Unauthenticated, a damaged one fault.Invalid; neither is
// removed. A role that the process wants and the identity lacks is
// fault.Denied.
func (m *Member) Load() error {
	st, err := m.dir.readIdentity()
	if err != nil {
		return err
	}
	return m.install(st)
}

// Join makes keys, proves itself with the method and stores the identity that it
// gets. Tried again after a failure it goes on with the same keys. A host whose
// identity expired keeps its UUID.
func (m *Member) Join(ctx context.Context, via Joiner, method join.Prover, token types.Secret) error {
	unlock, err := m.prepareAlone(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	hostUUID, err := m.dir.hostUUID()
	if err != nil {
		return err
	}
	pending, err := m.pendingKeys()
	if err != nil {
		return err
	}
	challenge, err := via.Challenge(ctx, method.Name())
	if err != nil && !errors.Is(err, fault.Unimplemented) {
		return err
	}
	proof, err := method.Prove(ctx, join.ProveRequest{Token: token, Challenge: challenge})
	if err != nil {
		return err
	}
	req := &joinv1.JoinRequest{
		Method: method.Name(), Token: token.Reveal(), Proof: proof, Keys: pending.public,
		HostUuid: hostUUID, Hostname: m.c.Hostname, Principals: m.c.Principals,
	}
	for _, r := range m.c.SystemRoles {
		req.SystemRoles = append(req.SystemRoles, string(r))
	}
	resp, err := via.Join(ctx, req)
	if err != nil {
		return err
	}
	return m.accept(resp, pending, "")
}

// Adopt stores an identity that was issued without a join: the auth process's own.
// Keys come from NewKeys.
func (m *Member) Adopt(ctx context.Context, k *NewKeys, resp *joinv1.JoinResponse) error {
	unlock, err := m.prepareAlone(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return m.accept(resp, &k.pair, "")
}

// prepareAlone makes the directory and keeps other generations of this process
// from writing an identity into it until unlock.
func (m *Member) prepareAlone(ctx context.Context) (unlock func(), err error) {
	if err := m.dir.prepare(); err != nil {
		return nil, err
	}
	return m.dir.lock(ctx)
}

// refusal is a renewal that the cluster itself denied.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// renew replaces the identity. Another generation of this process may have done it
// already: then its result is taken over.
func (m *Member) renew(ctx context.Context, via Renewer) error {
	unlock, err := m.dir.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if st, err := m.dir.readIdentity(); err == nil && st.newer(m.held().state) {
		return m.install(st)
	}
	pending, err := m.pendingKeys()
	if err != nil {
		return err
	}
	resp, err := via.Renew(ctx, &joinv1.RenewRequest{Keys: pending.public, Hostname: m.c.Hostname, Principals: m.c.Principals})
	if errors.Is(err, fault.Denied) {
		return &refusal{err}
	}
	if err != nil {
		return err
	}
	return m.accept(resp, pending, m.held().identity.Cluster)
}

// accept checks an answer before anything of it is kept: it must be for our keys,
// our UUID and our cluster, and verify under the authorities that came with it.
func (m *Member) accept(resp *joinv1.JoinResponse, pending *pair, cluster string) error {
	st, err := newState(resp, pending)
	if err != nil {
		return err
	}
	h, err := st.parse(m.now())
	if err != nil {
		return err
	}
	if err := m.checkAnswer(h, resp, cluster); err != nil {
		return err
	}
	if err := m.dir.writeHostUUID(h.identity.Name); err != nil {
		return err
	}
	if err := m.dir.writeIdentity(st); err != nil {
		return err
	}
	m.dir.dropPending(m.log)
	m.set(h)
	return nil
}

func (m *Member) checkAnswer(h *held, resp *joinv1.JoinResponse, cluster string) error {
	id := h.identity
	if cluster == "" && len(m.c.Pins) > 0 && !anyPin(h.trust.Pins(id.Cluster), m.c.Pins) {
		return fault.New(fault.Untrusted, "the CA pin does not match the authority that the cluster answered with").
			WithHint("compare ca_pin with what tctl status prints on the auth host")
	}
	want, err := m.dir.hostUUID()
	if err != nil {
		return err
	}
	switch {
	case id.Cluster != resp.Cluster || id.Name != resp.HostUuid:
		return fault.New(fault.Untrusted, "the answer of the cluster does not agree with itself")
	case cluster != "" && id.Cluster != cluster:
		return fault.New(fault.Untrusted, "the renewed certificate is for cluster %q, not %q", id.Cluster, cluster)
	case cluster != "" && id.Name != want:
		return fault.New(fault.Untrusted, "the renewed certificate is for host %s, not %s", id.Name, want)
	}
	return m.checkRoles(id)
}

func anyPin(have, want []string) bool {
	return slices.ContainsFunc(have, func(p string) bool { return slices.Contains(want, p) })
}

func (m *Member) checkRoles(id *types.Identity) error {
	for _, r := range m.c.SystemRoles {
		if !id.HasSystemRole(r) {
			return fault.New(fault.Denied, "this host joined without the role %s that its configuration enables", r).
				WithHint("make a token with all roles, remove %s, and start again", m.dir.identityPath())
		}
	}
	return nil
}

func (m *Member) install(st state) error {
	h, err := st.parse(m.now())
	if err != nil {
		return m.dir.explain(err)
	}
	if err := m.checkRoles(h.identity); err != nil {
		return err
	}
	m.set(h)
	return nil
}

func (m *Member) set(h *held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = h
	for ch := range m.changed {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Format prints who the member is, and never its keys, whatever the verb.
func (m *Member) Format(w fmt.State, _ rune) { io.WriteString(w, "member "+m.Identity().String()) }

func (m *Member) held() *held {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// Subscribe returns a channel that ticks when the identity or the authorities
// changed, so that holders of connections can dial anew, and its end.
func (m *Member) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed[ch] = true
	return ch, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.changed, ch)
	}
}

// Identity returns who this process is, nil before Load or Join.
func (m *Member) Identity() *types.Identity {
	if h := m.held(); h != nil {
		return h.identity
	}
	return nil
}

// TLSCertificate returns the current X.509 certificate with its key, nil before
// Load or Join. It has the shape of tlscert.Source.Certificate.
func (m *Member) TLSCertificate() *tls.Certificate {
	if h := m.held(); h != nil {
		return h.tls
	}
	return nil
}

// SSHSigner returns the signer of the current SSH host certificate, nil before
// Load or Join.
func (m *Member) SSHSigner() ssh.Signer {
	if h := m.held(); h != nil {
		return h.ssh
	}
	return nil
}

// Trust returns the authorities known from the last join, renewal or UpdateTrust;
// an empty set before.
func (m *Member) Trust() *cert.Trust {
	if h := m.held(); h != nil {
		return h.trust
	}
	return nil
}

// Source returns what TLS configurations ask for.
func (m *Member) Source() tlscert.Source {
	return tlscert.Source{Certificate: m.TLSCertificate, Trust: m.Trust, Now: m.now}
}

// UpdateTrust takes over authorities that a replica brought. When they differ from
// what is known they are stored, and the identity is renewed soon, as the
// authority that signed it may be on its way out. An identity that another
// generation of this process renewed meanwhile stays.
func (m *Member) UpdateTrust(ctx context.Context, authorities []*types.CertAuthority) error {
	h := m.held()
	if h == nil {
		return fault.New(fault.Internal, "authorities came before an identity")
	}
	trust, err := cert.NewTrust(authorities)
	if err != nil {
		return err
	}
	if trust.Fingerprint() == h.trust.Fingerprint() {
		return nil
	}
	if len(trust.Pins(h.identity.Cluster)) == 0 {
		return fault.New(fault.Untrusted, "the new authorities lack the host authority of this cluster")
	}
	if err := m.storeTrust(ctx, authorities, trust); err != nil {
		return err
	}
	m.RenewSoon() // now that the lock is free, which renewing takes
	return nil
}

func (m *Member) storeTrust(ctx context.Context, authorities []*types.CertAuthority, trust *cert.Trust) error {
	unlock, err := m.dir.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	next := *m.held()
	if stored, err := m.dir.readIdentity(); err == nil && stored.newer(next.state) {
		newer, err := stored.parse(m.now())
		if err != nil {
			return m.dir.explain(err)
		}
		next = *newer
	}
	if next.state, err = next.state.withAuthorities(authorities); err != nil {
		return err
	}
	if err := m.dir.writeIdentity(next.state); err != nil {
		return err
	}
	next.trust = trust
	m.set(&next)
	return nil
}

// RenewSoon asks Serve to renew now.
func (m *Member) RenewSoon() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
