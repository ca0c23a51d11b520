package authapi

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/auth/login"
	"teleport/fault"
	"teleport/types"
)

// What may narrow the route of a session with an app.
const (
	maxParams     = 8
	maxParamBytes = 2048
)

func (s loginService) StartAppSession(ctx context.Context, req *connect.Request[loginv1.StartAppSessionRequest]) (*connect.Response[loginv1.StartAppSessionResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	if len(m.Params) > maxParams {
		return nil, fault.New(fault.Limit, "the session has too many parameters")
	}
	for k, v := range m.Params {
		if len(k)+len(v) > maxParamBytes {
			return nil, fault.New(fault.Limit, "a parameter of the session is too long")
		}
	}
	made, err := s.a.d.Login.StartAppSession(ctx, login.AppAttempt{Bearer: types.NewSecret(m.Bearer), App: m.App, Params: m.Params,
		State: types.NewSecret(m.State), Proxy: rpc.CallerFrom(ctx).Certificate, Addr: addr, UserAgent: m.UserAgent})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.StartAppSessionResponse{Bearer: made.Bearer.Reveal(), User: made.User,
		ExpiresUnix: made.Expires.Unix()}), nil
}

func (s loginService) OpenAppSession(ctx context.Context, req *connect.Request[loginv1.OpenAppSessionRequest]) (*connect.Response[loginv1.OpenAppSessionResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	opened, err := s.a.d.Login.OpenAppSession(ctx, types.NewSecret(m.Bearer), m.App, types.NewSecret(m.State), addr)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.OpenAppSessionResponse{ExpiresUnix: opened.Expires.Unix(), Bearer: opened.Bearer.Reveal()}), nil
}

func (s loginService) UseAppSession(ctx context.Context, req *connect.Request[loginv1.UseAppSessionRequest]) (*connect.Response[loginv1.UseAppSessionResponse], error) {
	m := req.Msg
	addr, err := clientAddr(m.ClientAddr)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Login.UseAppSession(ctx, types.NewSecret(m.Bearer), rpc.CallerFrom(ctx).Certificate, login.Keys{TLS: m.TlsPublic}, addr)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.UseAppSessionResponse{TlsCert: certs.TLS, ExpiresUnix: certs.Identity.Authority.Expires.Unix()}), nil
}

func (s loginService) EndAppSession(ctx context.Context, req *connect.Request[loginv1.EndAppSessionRequest]) (*connect.Response[loginv1.EndAppSessionResponse], error) {
	if err := s.a.d.Login.EndAppSession(ctx, types.NewSecret(req.Msg.Bearer)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&loginv1.EndAppSessionResponse{}), nil
}
