package sshserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/netx"
	"teleport/types"
)

// identityKey is where the final Permissions carry what authentication found.
type identityKey struct{}

// proven is what a peer has shown it owns the key of.
type proven struct {
	identity *types.Identity
	cert     *ssh.Certificate
}

// maxFailure bounds what is told of an error: parts of it are the peer's words.
const maxFailure = 256

// attempt is the state of one handshake.
type attempt struct {
	s      *Server
	ctx    context.Context
	client netip.AddrPort
	last   Failure
	admit  *Conn
}

// Handshake authenticates the peer within the budget's deadline. On failure nc
// is closed and AuthFailed has been told. The identity comes from the final
// Permissions alone, which are made after the signature was verified: a key
// that was merely offered leaves nothing behind.
func (s *Server) Handshake(ctx context.Context, nc net.Conn, clientAddr netip.AddrPort) (*Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	a := &attempt{s: s, ctx: ctx, client: clientAddr}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(s.cfg.Budget.Handshake)); err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	sc, chans, reqs, err := ssh.NewServerConn(netx.ForSSH(nc), a.config())
	if err != nil {
		nc.Close()
		a.failed(err)
		return nil, nil, nil, err
	}
	p, ok := sc.Permissions.ExtraData[identityKey{}].(proven)
	if !ok || a.admit == nil {
		sc.Close()
		return nil, nil, nil, fault.New(fault.Internal, "authentication ended without an identity")
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		sc.Close()
		return nil, nil, nil, err
	}
	c := a.admit
	c.SSH, c.Identity, c.Certificate, c.Login = sc.Conn, p.identity, p.cert, sc.User()
	return c, chans, reqs, nil
}

func (a *attempt) config() *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{
		Config:                    Algorithms(),
		PublicKeyAuthAlgorithms:   UserKeyAlgorithms(),
		MaxAuthTries:              a.s.cfg.Budget.AuthTries,
		PublicKeyCallback:         a.offered,
		VerifiedPublicKeyCallback: a.verified,
		ServerVersion:             "SSH-2.0-Teleport",
	}
	if banner := a.s.cfg.Banner; banner != nil {
		cfg.BannerCallback = func(ssh.ConnMetadata) string { return banner() }
	}
	for _, k := range a.s.cfg.HostSigners() {
		cfg.AddHostKey(k)
	}
	return cfg
}

// offered answers whether a key could be used. It grants nothing.
func (a *attempt) offered(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	a.last = Failure{User: meta.User()}
	if _, _, err := a.check(key); err != nil {
		a.last.Err = err
		return nil, err
	}
	return &ssh.Permissions{}, nil
}

// verified runs once the signature has been checked. It looks at the
// certificate again rather than at anything that offered has left.
func (a *attempt) verified(meta ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	cert, id, err := a.check(key)
	a.last = Failure{User: meta.User(), Identity: id, Err: err}
	if err != nil {
		return nil, err
	}
	c := &Conn{Identity: id, Certificate: cert, Login: meta.User(), ClientAddr: a.client}
	if admit := a.s.cfg.Admit; admit != nil {
		if err := admit(a.ctx, c); err != nil {
			a.last.Err = err
			return nil, &ssh.BannerError{Err: err, Message: "ERROR: " + fault.Message(err) + "\r\n"}
		}
	}
	a.admit = c
	return &ssh.Permissions{ExtraData: map[any]any{identityKey{}: proven{id, cert}}}, nil
}

func (a *attempt) check(key ssh.PublicKey) (*ssh.Certificate, *types.Identity, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, nil, fault.New(fault.Unauthenticated, "only certificates are accepted, not bare keys")
	}
	if cert.CertType != ssh.UserCert {
		return nil, nil, fault.New(fault.Unauthenticated, "not a user certificate")
	}
	if len(cert.ValidPrincipals) == 0 {
		return nil, nil, fault.New(fault.Unauthenticated, "the certificate names no login")
	}
	id, err := a.s.cfg.Verify(cert)
	if err == nil && (id == nil || id.Kind != types.IdentityUser && !(a.s.cfg.Bridges && id.Kind == types.IdentityBridge)) {
		err = fault.New(fault.Unauthenticated, "the certificate is not a user's")
	}
	if err != nil {
		return nil, nil, err
	}
	return cert, id, nil
}

func (a *attempt) failed(err error) {
	f := a.last
	f.ClientAddr = a.client
	if f.Err == nil {
		f.Err = err
	}
	// A peer that leaves before it names a user is a port scan, not an attempt.
	var auth *ssh.ServerAuthError
	if a.s.cfg.AuthFailed == nil || f.User == "" && !errors.As(err, &auth) {
		return
	}
	if m := a.s.cfg.Strangers; m != nil && f.Identity == nil && !m.Take(f.ClientAddr, time.Now()) {
		return
	}
	f.User = printable(f.User)
	if msg := bounded(f.Err.Error(), maxFailure); msg != f.Err.Error() {
		f.Err = fault.New(fault.KindOf(f.Err), "%s", msg)
	}
	a.s.cfg.AuthFailed(a.ctx, f)
}
