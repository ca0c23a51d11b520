package authapi

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/recordingv1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// ListKeys names the keys that recordings are encrypted to. They are public, and
// stand in the settings anyway, but for the older ones.
func (s recordingService) ListKeys(ctx context.Context, _ *connect.Request[recordingv1.ListKeysRequest]) (*connect.Response[recordingv1.ListKeysResponse], error) {
	if err := s.a.rule(ctx, rpc.CallerFrom(ctx), types.KindRecordingConfig, types.VerbRead, nil); err != nil {
		return nil, err
	}
	return connect.NewResponse(&recordingv1.ListKeysResponse{PublicKeys: s.publicKeys()}), nil
}

// RotateKeys makes a new key. It is an update of the settings, which publish it.
func (s recordingService) RotateKeys(ctx context.Context, _ *connect.Request[recordingv1.RotateKeysRequest]) (*connect.Response[recordingv1.RotateKeysResponse], error) {
	c := rpc.CallerFrom(ctx)
	if err := s.a.rule(ctx, c, types.KindRecordingConfig, types.VerbUpdate, nil); err != nil {
		return nil, err
	}
	if s.a.d.RecordingKeys == nil {
		return nil, fault.New(fault.Unavailable, "this auth service keeps no recordings")
	}
	if err := s.a.d.RecordingKeys.Rotate(ctx); err != nil {
		return nil, err
	}
	if err := s.a.d.PublishKeys(ctx); err != nil {
		return nil, err
	}
	h := &types.Header{Kind: types.KindRecordingConfig, Metadata: types.Metadata{Name: "session-recording-config"}}
	if err := s.a.emit(ctx, &event.RecConfigUpdate{User: who(c), Resource: changed(c, h), Connection: from(c)}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&recordingv1.RotateKeysResponse{PublicKeys: s.publicKeys()}), nil
}

func (s recordingService) publicKeys() []string {
	var out []string
	for _, k := range s.a.d.RecordingKeys.Public() {
		out = append(out, k.PublicKey)
	}
	return out
}
