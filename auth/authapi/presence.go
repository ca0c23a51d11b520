package authapi

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/presencev1"
	"teleport/api/rpc"
)

type presenceService struct{ a *API }

// Control serves the control stream of one process.
func (s presenceService) Control(ctx context.Context, stream *connect.BidiStream[presencev1.ControlRequest, presencev1.ControlResponse]) error {
	c := rpc.CallerFrom(ctx)
	return s.a.d.Inventory.Control(ctx, c.Identity, c.Addr, stream)
}
