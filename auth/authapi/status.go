package authapi

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/statusv1"
	"teleport/types"
)

type statusService struct{ a *API }

// Ping is what anybody may know before logging in.
func (s statusService) Ping(context.Context, *connect.Request[statusv1.PingRequest]) (*connect.Response[statusv1.PingResponse], error) {
	auth := s.a.d.Policy.Settings().Auth
	out := &statusv1.PingResponse{Cluster: s.a.d.Cluster, Version: s.a.d.Version, MinClientVersion: types.MinClientVersion,
		TimeUnixNano: s.a.d.Now().UnixNano(), AuthType: auth.Type, SecondFactor: "otp", MessageOfTheDay: auth.MessageOfTheDay,
		DefaultSessionTtlSeconds: int64(auth.DefaultSessionTTL.Std().Seconds()), SignatureAlgorithmSuite: auth.SignatureAlgorithmSuite}
	return connect.NewResponse(out), nil
}

// Status is what an administrator asks first.
func (s statusService) Status(context.Context, *connect.Request[statusv1.StatusRequest]) (*connect.Response[statusv1.StatusResponse], error) {
	trust := s.a.d.Trust()
	docs, err := authorities(trust)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&statusv1.StatusResponse{Cluster: s.a.d.Cluster, Version: s.a.d.Version,
		CaPins: trust.Pins(s.a.d.Cluster), Authorities: docs, Storage: s.a.d.Storage, AuthId: s.a.d.AuthID}), nil
}
