package dynamodb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"teleport/dbaccess"
	"teleport/dbaccess/dynamodb/dynamowire"
	"teleport/fault"
	"teleport/sigv4wire"
	"teleport/types"
	"teleport/types/event"
)

// request is one request, as far as it is understood.
type request struct {
	http   *http.Request
	body   []byte
	call   *dynamowire.Call // nil: not at all
	region string
	url    string
}

// understand reads a request. What could mean two things is refused.
func (c *conversation) understand(r *http.Request, body []byte) (*request, error) {
	if r.Method != http.MethodPost || r.RequestURI != "/" {
		return nil, fault.New(fault.Unimplemented, "only POST / is let through")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, fault.New(fault.Unimplemented, "encoded requests are not let through")
	}
	target := r.Header.Values("X-Amz-Target")
	if len(target) != 1 {
		return nil, fault.New(fault.Invalid, "the request does not say what it wants").WithHint("X-Amz-Target")
	}
	call, err := dynamowire.Parse(target[0], body)
	if err != nil {
		return nil, err
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-amz-json-1.0" && media != "application/x-amz-json-1.1" {
		return nil, fault.New(fault.Invalid, "the request is not of the JSON protocol").WithHint("Content-Type")
	}
	q := &request{http: r, body: body, call: call, region: c.s.Database().Spec.AWSRegion()}
	if err := q.meant(); err != nil {
		return nil, err
	}
	q.url, err = c.url(call.Service)
	return q, err
}

// meant holds the region and the service for which the client signed, where it
// did, against those that its request will reach: it may think it is elsewhere.
func (q *request) meant() error {
	if len(q.http.Header.Values("Authorization")) == 0 {
		return nil
	}
	s, err := sigv4wire.Read(&sigv4wire.Request{Header: q.http.Header})
	switch {
	case err != nil:
		return err
	case s.Region != q.region:
		return fault.New(fault.Denied, "the request is for the region %s, and this database is in %s", s.Region, q.region).WithHint("AWS_REGION=%s", q.region)
	case s.Service != q.call.Service.Signing:
		return fault.New(fault.Denied, "the request was signed for %s, and is one to %s", s.Service, q.call.Service.Signing)
	}
	return nil
}

// url is where a service is, by the database's document alone.
func (c *conversation) url(s *dynamowire.Service) (string, error) {
	spec := &c.s.Database().Spec
	address, err := spec.Address()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	host, err := spec.AWSEndpoint(s.Host)
	if port != "443" {
		host = net.JoinHostPort(host, port)
	}
	return "https://" + host + "/", err
}

// pass tells the audit log of a request, sends it, and passes the answer back.
func (c *conversation) pass(ctx context.Context, w http.ResponseWriter, q *request) {
	if err := c.tell(ctx, q, event.Status{Success: true}, event.CodeDynamoDBRequest, 0, ""); err != nil {
		writeError(w, err)
		return
	}
	resp, err := c.send(ctx, q)
	if err != nil {
		c.fail(ctx, w, q, err)
		return
	}
	defer resp.Body.Close()
	head := w.Header()
	for _, name := range []string{"Content-Type", "Content-Length", "X-Amz-Crc32", "X-Amzn-Requestid", "X-Amzn-Errortype"} {
		if v := resp.Header.Get(name); v != "" {
			head.Set(name, v)
		}
	}
	beginning, err := c.result(ctx, q, resp)
	if err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.MultiReader(bytes.NewReader(beginning), resp.Body)) // an answer that is cut is noticed by its length
}

// send signs a request, made from what was understood, and sends it once.
func (c *conversation) send(ctx context.Context, q *request) (*http.Response, error) {
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the request cannot be made")
	}
	s := q.call.Service
	out.Header.Set("Content-Type", "application/x-amz-json-"+s.JSON)
	out.Header.Set("X-Amz-Target", q.http.Header.Get("X-Amz-Target"))
	out.Header.Set("Accept-Encoding", "identity")
	out.Header.Set("User-Agent", "teleport")
	if err := c.engine.Signer.Sign(ctx, out, sha256.Sum256(q.body), s.Signing, q.region, c.chain...); err != nil {
		return nil, err
	}
	transport, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, f
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the database %s does not answer", c.s.Database().Metadata.Name)
	}
	return resp, nil
}

// maxRefusal bounds what is read of an answer that refuses, to tell why.
const maxRefusal = 64 << 10

// result tells the audit log how a request ended. It returns what it has read of
// the answer.
func (c *conversation) result(ctx context.Context, q *request, resp *http.Response) ([]byte, error) {
	if resp.StatusCode < http.StatusBadRequest {
		return nil, c.s.Emit(ctx, &event.DBResult{Status: event.Status{Success: true}, Command: q.call.Operation}, event.TypeDBResult, event.CodeDBResult)
	}
	beginning, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the answer of the database did not arrive whole")
	}
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(beginning, &said) // whatever it is, it goes to the client
	code := said.Type[strings.LastIndexByte(said.Type, '#')+1:]
	return beginning, c.tell(ctx, q, event.Status{Error: cut(said.Message)}, event.CodeDynamoDBRequestFail, resp.StatusCode, cut(code))
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), 1024)], "") }

// told is what the log has of a body: values of attributes are parameters, and told
// where roles say so. Of what is no JSON it has the length and the hash.
func (c *conversation) told(body []byte) event.Statement {
	level := c.s.Captures()
	if level == types.DBParametersValues || len(body) == 0 {
		return dbaccess.StatementOf(body)
	}
	shown, err := dynamowire.Hide(body, level == types.DBParametersTypes)
	if err != nil {
		s := event.Statement{Bytes: len(body)}
		sum := sha256.Sum256(body)
		s.SHA256 = hex.EncodeToString(sum[:])
		return s
	}
	return dbaccess.StatementOf(shown)
}

// tell puts a request into the audit log.
func (c *conversation) tell(ctx context.Context, q *request, status event.Status, code string, answer int, name string) error {
	e := &event.DynamoDBRequest{Statement: c.told(q.body), Status: status, Method: q.http.Method, Path: cut(q.http.URL.Path), Query: cut(q.http.URL.RawQuery),
		Target: cut(q.http.Header.Get("X-Amz-Target")), Region: q.region, StatusCode: answer, ErrorCode: name}
	if q.call != nil {
		e.Operation, e.Tables, e.Service = q.call.Operation, q.call.Tables, q.call.Service.Host
	}
	return c.s.Emit(ctx, e, event.TypeDynamoDBRequest, code)
}

// fail tells the audit log and the client of a request that had no answer.
func (c *conversation) fail(ctx context.Context, w http.ResponseWriter, q *request, why error) {
	if cause := context.Cause(c.ctx); cause != nil {
		why = cause // a cut from outside
	}
	status, name, _ := dynamowire.Error(why)
	// What was cut is still told.
	if err := c.tell(context.WithoutCancel(ctx), q, event.Status{Error: fault.Message(why)}, event.CodeDynamoDBRequestFail, status, name); err != nil {
		why = err
	}
	writeError(w, why)
}

// writeError answers in AWS's form.
func writeError(w http.ResponseWriter, why error) {
	status, name, body := dynamowire.Error(why)
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", dynamowire.ErrorType)
	h.Set("X-Amzn-Errortype", name)
	w.WriteHeader(status)
	_, _ = w.Write(body) // it may be gone
}
