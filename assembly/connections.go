package assembly

import (
	"context"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/presencev1"
	"teleport/fault"
	"teleport/session"
)

// connectionCounter is the auth service as session.Slots sees it.
type connectionCounter struct{ client *authclient.Client }

var _ session.Counter = connectionCounter{}

func (c connectionCounter) Hold(ctx context.Context, connections []session.Held) ([]string, time.Duration, error) {
	req := &presencev1.HoldConnectionsRequest{}
	for _, h := range connections {
		req.Connections = append(req.Connections, &presencev1.HeldConnection{Id: h.ID, UserCert: h.Credential})
	}
	resp, err := c.client.HoldConnections(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	if len(resp.Refusals) != len(connections) || resp.LeaseSeconds < 1 {
		return nil, 0, fault.New(fault.Internal, "the auth service answers for other connections than it was asked about")
	}
	return resp.Refusals, time.Duration(resp.LeaseSeconds) * time.Second, nil
}

func (c connectionCounter) Release(ctx context.Context, connections []session.Held) error {
	req := &presencev1.ReleaseConnectionsRequest{}
	for _, h := range connections {
		req.Connections = append(req.Connections, &presencev1.ReleasedConnection{Id: h.ID, User: h.User})
	}
	return c.client.ReleaseConnections(ctx, req)
}
