package authclient

import (
	"context"

	"connectrpc.com/connect"

	"teleport/api/gen/recordingv1"
	"teleport/api/rpc"
)

// Uploads is the auth service's end of recordings under way, for the process
// that records.
type Uploads interface {
	// AppendRecording sends the bytes that follow what is held. It returns how much
	// is durable there; bytes that are held already are compared and skipped, so
	// that a call may be repeated. The first call of a recording carries at least
	// its whole first frame.
	AppendRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (held uint64, err error)
	// FinishRecording is AppendRecording of the last bytes, and CompleteRecording in
	// the same call. An auth service that does not know of it yet does the first alone:
	// then stored is false.
	FinishRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (held uint64, stored bool, err error)
	// RecordingHeld tells from where to go on, and whether the recording is stored:
	// then nothing is left to send.
	RecordingHeld(ctx context.Context, sessionID string) (held uint64, stored bool, err error)
	// CompleteRecording stores a whole recording of that size and returns once the
	// storage has confirmed it. fault.Unavailable asks for another try later; the
	// sender keeps its copy until then.
	CompleteRecording(ctx context.Context, sessionID string, size uint64) error
}

var _ Uploads = (*Client)(nil)

// AppendRecording implements Uploads.
func (c *Client) AppendRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (uint64, error) {
	resp, err := unary(ctx, c.recording.Append, &recordingv1.AppendRequest{SessionId: sessionID, Offset: offset, Data: data})
	return resp.GetHeld(), err
}

// FinishRecording implements Uploads.
func (c *Client) FinishRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (held uint64, stored bool, err error) {
	resp, err := unary(ctx, c.recording.Append, &recordingv1.AppendRequest{SessionId: sessionID, Offset: offset, Data: data, Last: true})
	return resp.GetHeld(), resp.GetStored(), err
}

// RecordingHeld implements Uploads.
func (c *Client) RecordingHeld(ctx context.Context, sessionID string) (held uint64, stored bool, err error) {
	resp, err := unary(ctx, c.recording.Held, &recordingv1.HeldRequest{SessionId: sessionID})
	return resp.GetHeld(), resp.GetStored(), err
}

// CompleteRecording implements Uploads.
func (c *Client) CompleteRecording(ctx context.Context, sessionID string, size uint64) error {
	_, err := unary(ctx, c.recording.Complete, &recordingv1.CompleteRequest{SessionId: sessionID, Size: size})
	return err
}

// RecordingKeys names the keys that recordings are encrypted to: the first is in
// use, the others open what was recorded before.
func (c *Client) RecordingKeys(ctx context.Context) ([]string, error) {
	resp, err := unary(ctx, c.recording.ListKeys, &recordingv1.ListKeysRequest{})
	return resp.GetPublicKeys(), err
}

// RotateRecordingKeys makes a new key, and returns all of them once it is published.
func (c *Client) RotateRecordingKeys(ctx context.Context) ([]string, error) {
	resp, err := unary(ctx, c.recording.RotateKeys, &recordingv1.RotateKeysRequest{})
	return resp.GetPublicKeys(), err
}

// ListRecordings returns one page of the recordings that the caller may see,
// newest first. A page may hold fewer than the limit and still not be the last.
func (c *Client) ListRecordings(ctx context.Context, req *recordingv1.ListRequest) (*recordingv1.ListResponse, error) {
	return unary(ctx, c.recording.List, req)
}

// PlayRecording calls each for every message of a playback, in order, until the
// recording ends, each fails or ctx ends. The first message has the session's
// info and no more. Bytes are opened by the auth service.
func (c *Client) PlayRecording(ctx context.Context, req *recordingv1.PlayRequest, each func(*recordingv1.PlayResponse) error) error {
	return receive(ctx, c.recording.Play, req, each)
}

// FetchRecording calls each with the stored bytes, in order from the offset on.
// each does not keep what it is given.
func (c *Client) FetchRecording(ctx context.Context, sessionID string, offset uint64, each func([]byte) error) error {
	return receive(ctx, c.recording.Fetch, &recordingv1.FetchRequest{SessionId: sessionID, Offset: offset},
		func(m *recordingv1.FetchResponse) error { return each(m.Data) })
}

// SearchRecordings calls each for every recording in which the text was shown.
func (c *Client) SearchRecordings(ctx context.Context, req *recordingv1.SearchRequest, each func(*recordingv1.SearchResponse) error) error {
	return receive(ctx, c.recording.Search, req, each)
}

// receive reads a stream of the server to its end, or to the error of each.
func receive[Req, Resp any](ctx context.Context, call func(context.Context, *connect.Request[Req]) (*connect.ServerStreamForClient[Resp], error), req *Req, each func(*Resp) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := call(ctx, connect.NewRequest(req))
	if err != nil {
		return rpc.FromWire(err)
	}
	defer func() { _ = stream.Close() }() // what was read stands; closing cannot change it
	for stream.Receive() {
		if err := each(stream.Msg()); err != nil {
			return err
		}
	}
	return rpc.FromWire(stream.Err())
}
