package authapi

import (
	"context"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/auth/login"
	"teleport/fault"
	"teleport/types"
)

// maxTTL bounds the life that may be asked for, before the issuer cuts it.
const maxTTL = 10 * 366 * 24 * time.Hour

// loginService is called by proxies for people who have no certificate yet. The
// proxy's word is taken for the person's address, and for nothing else.
type loginService struct{ a *API }

func (s loginService) Login(ctx context.Context, req *connect.Request[loginv1.LoginRequest]) (*connect.Response[loginv1.CertsResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	ttl, err := lifetime(m.TtlSeconds)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Login.Login(ctx, login.Attempt{User: m.User, Password: types.NewSecret(m.Password),
		OTP: types.NewSecret(m.Otp), Addr: addr, UserAgent: m.UserAgent}, loginKeys(m.Keys), ttl)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(certsResponse(certs)), nil
}

func (s loginService) StartWebSession(ctx context.Context, req *connect.Request[loginv1.StartWebSessionRequest]) (*connect.Response[loginv1.StartWebSessionResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	session, err := s.a.d.Login.StartWebSession(ctx, login.Attempt{User: m.User, Password: types.NewSecret(m.Password),
		OTP: types.NewSecret(m.Otp), Addr: addr, UserAgent: m.UserAgent})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.StartWebSessionResponse{Bearer: session.Bearer.Reveal(), User: session.User,
		ExpiresUnix: session.Expires.Unix()}), nil
}

func (s loginService) UseWebSession(ctx context.Context, req *connect.Request[loginv1.UseWebSessionRequest]) (*connect.Response[loginv1.CertsResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Login.UseWebSession(ctx, types.NewSecret(m.Bearer), rpc.CallerFrom(ctx).Certificate,
		loginKeys(m.Keys), addr, m.Background)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(certsResponse(certs)), nil
}

func (s loginService) CheckWebSession(ctx context.Context, req *connect.Request[loginv1.CheckWebSessionRequest]) (*connect.Response[loginv1.CheckWebSessionResponse], error) {
	addr, err := clientAddr(req.Msg.ClientAddr)
	if err != nil {
		return nil, err
	}
	expires, err := s.a.d.Login.CheckWebSession(ctx, types.NewSecret(req.Msg.Bearer), addr, req.Msg.Background)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.CheckWebSessionResponse{ExpiresUnix: expires.Unix()}), nil
}

func (s loginService) EndWebSession(ctx context.Context, req *connect.Request[loginv1.EndWebSessionRequest]) (*connect.Response[loginv1.EndWebSessionResponse], error) {
	addr, err := clientAddr(req.Msg.ClientAddr)
	if err != nil {
		return nil, err
	}
	if err := s.a.d.Login.EndWebSession(ctx, types.NewSecret(req.Msg.Bearer), addr); err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.EndWebSessionResponse{}), nil
}

func (s loginService) GetInvite(ctx context.Context, req *connect.Request[loginv1.GetInviteRequest]) (*connect.Response[loginv1.GetInviteResponse], error) {
	addr, err := clientAddr(req.Msg.ClientAddr)
	if err != nil {
		return nil, err
	}
	v, err := s.a.d.Login.View(ctx, types.NewSecret(req.Msg.Token), addr)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.GetInviteResponse{User: v.User, Cluster: s.a.d.Cluster, Purpose: v.Purpose,
		OtpUrl: v.OTPURL, OtpSecret: v.OTPSecret.Reveal(), ExpiresUnix: v.Expires.Unix()}), nil
}

func (s loginService) AcceptInvite(ctx context.Context, req *connect.Request[loginv1.AcceptInviteRequest]) (*connect.Response[loginv1.AcceptInviteResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	user, session, err := s.a.d.Login.AcceptAndSignIn(ctx, types.NewSecret(m.Token), types.NewSecret(m.Password), types.NewSecret(m.Otp), addr, m.UserAgent)
	if err != nil {
		return nil, err
	}
	resp := &loginv1.AcceptInviteResponse{User: user}
	if !session.Bearer.Empty() {
		resp.Bearer, resp.ExpiresUnix = session.Bearer.Reveal(), session.Expires.Unix()
	}
	return connect.NewResponse(resp), nil
}

// clientAddr reads an address with or without a port.
func clientAddr(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, fault.New(fault.Invalid, "the client's address is missing")
	}
	return netip.AddrPortFrom(a.Unmap(), 0), nil
}

// lifetime reads a life in seconds; zero is the default of what is made.
func lifetime(seconds int64) (time.Duration, error) {
	if seconds < 0 || seconds > int64(maxTTL/time.Second) {
		return 0, fault.New(fault.Invalid, "a life of %d seconds cannot be asked for", seconds)
	}
	return time.Duration(seconds) * time.Second, nil
}

func loginKeys(k *loginv1.UserKeys) login.Keys {
	return login.Keys{SSH: k.GetSshPublic(), TLS: k.GetTlsPublic()}
}

func certsResponse(c login.Certs) *loginv1.CertsResponse {
	a := &c.Identity.Authority
	return &loginv1.CertsResponse{User: c.Identity.Name, Cluster: c.Identity.Cluster, SshCert: c.SSH, TlsCert: c.TLS,
		Authorities: c.Authorities, ExpiresUnix: a.Expires.Unix(), Roles: a.Roles, Logins: a.Logins}
}
