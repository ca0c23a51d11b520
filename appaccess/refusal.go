package appaccess

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"time"

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

// say answers the first request of a connection that is not let in: a tool of a cloud
// in its own form, everybody else as fail does. Those of HTTP/2 hear nothing, nor
// does who may find another agent that lets them in.
func (s *Service) say(v *visit, conn *tls.Conn, app *types.App, why error) {
	if fault.KindOf(why) != fault.Denied {
		return
	}
	if conn.ConnectionState().NegotiatedProtocol != "http/1.1" || conn.SetDeadline(time.Now().Add(sayWithin)) != nil {
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
