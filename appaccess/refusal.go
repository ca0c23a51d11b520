package appaccess

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

const (
	// sayWithin bounds how long somebody who is not let in may take to hear why.
	sayWithin = 10 * time.Second
	// leftUnread bounds what is read of the body of a request that is refused.
	leftUnread = 256 << 10
)

// turnedAway tells the audit log of a connection that came through the gate and goes
// no further, as what is shown inside does not fit. Whoever breaks off was not refused.
func (s *Service) turnedAway(ctx context.Context, in *dial.Inbound, why error) error {
	if errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF) || errors.Is(why, net.ErrClosed) || errors.Is(why, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return why
	}
	e := &event.AuthFail{Server: event.Server{Namespace: "default", ServerID: s.cfg.HostID, ServerHostname: s.cfg.Hostname},
		Connection: event.Connection{RemoteAddr: in.RemoteAddr().String(), Protocol: "app"}, Status: event.Status{Error: fault.Message(why)},
		ResourceKind: types.KindApp, ResourceName: in.Header.Name}
	e.Type, e.Code = event.TypeAuth, event.CodeAuthFail
	if g := in.Header.Gateway; g != nil {
		e.User = event.User{User: g.User, UserCluster: g.Cluster}
	}
	if cause := errors.Unwrap(why); cause != nil { // what is wrong with a certificate
		e.Error += ": " + cause.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitWithin)
	defer cancel()
	if err := s.cfg.Audit.Emit(ctx, e); err != nil {
		s.cfg.Log.Error("a refused connection was not recorded", "error", err)
	}
	return why
}

// unread tells of a request that the server refused by itself: the requests of a
// session are in the log, and so is what passes for one.
func (s *Service) unread(ctx context.Context, _ net.Conn, why error) {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok {
		return
	}
	x := &exchange{svc: s, visit: v}
	if err := x.note(ctx, http.StatusBadRequest, fault.New(fault.Invalid, "a request that cannot be read as one was refused: %s", fault.Message(why))); err != nil {
		s.cfg.Log.Error("a request that was refused could not be kept", "session", v.session.id, "error", err)
	}
}

// say answers the first request of a connection that is not let in: a tool of a cloud
// in its own form, everybody else as fail does. Those of HTTP/2 hear nothing, nor
// does who may find another agent that lets them in.
func (s *Service) say(v *visit, conn net.Conn, app *types.App, why error) {
	if fault.KindOf(why) != fault.Denied {
		return
	}
	if v.spoken != "http/1.1" || conn.SetDeadline(time.Now().Add(sayWithin)) != nil {
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(conn, maxHeader+leftUnread)))
	if err != nil {
		return
	}
	resp := ours(statusOf(fault.KindOf(why)), string(fault.KindOf(why)), fault.Message(why), "")
	if cloud, ok := s.cfg.Clouds[app.Spec.Cloud].(Refuser); ok && v.identity.Kind != types.IdentityBridge {
		resp = cloud.Refusal(r, &event.AppRequest{}, why)
	}
	resp.Request, resp.Close = r, true
	if resp.Write(conn) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, leftUnread) // so that the answer is read before the connection ends
}

// ours is an answer of the agent itself.
func ours(status int, word, message, id string) *http.Response {
	var body failure
	body.Error.Code, body.Error.Message, body.Error.RequestID = word, message, id
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte("{}")
	}
	return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(text)), Body: io.NopCloser(bytes.NewReader(text)),
		Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, HeaderError: {word}}}
}
