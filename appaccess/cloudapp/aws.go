package cloudapp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"teleport/cloud/awscloud"
	"teleport/cloud/cloudcall"
	"teleport/cloudhost"
	"teleport/fault"
	"teleport/sigv4wire"
	"teleport/types"
)

// prepareAWS signs a request as the role.
func (e *Engine) prepareAWS(ctx context.Context, r *http.Request, ask *Ask, call *Call) (*http.Request, error) {
	endpoint, scope, err := readAWS(r)
	if err != nil {
		return nil, err
	}
	call.Service, call.Region = scope.Service, scope.Region
	path, query, err := split(r)
	if err != nil {
		return nil, err
	}
	s3 := scope.Service == "s3"
	call.Action = actionOf(r, path, query, endpoint.Bucket, s3, nil)
	if s3 {
		if path, err = sigv4wire.CanonicalS3Path(path); err != nil {
			return nil, err
		}
	} else if climbs(path) {
		return nil, fault.New(fault.Invalid, "the path of the request leads out of itself")
	}
	payload, body, whole, err := payloadOf(r, s3)
	if err != nil {
		return nil, err
	}
	if len(whole) > 0 {
		call.Action = actionOf(r, path, query, endpoint.Bucket, s3, whole)
	}
	to, err := ask.target(scope.Service, endpoint.Host, endpoint.Bucket, path, query)
	if err != nil {
		return nil, err
	}
	out, err := renew(ctx, r, to, body, r.ContentLength)
	if err != nil {
		return nil, err
	}
	if whole != nil {
		out.ContentLength = int64(len(whole))
	}
	if s3 {
		out.Header.Set("X-Amz-Content-Sha256", payload)
	}
	role := awscloud.Role{ARN: ask.As, ExternalID: ask.ExternalID, SessionName: awscloud.SessionName(ask.Person)}
	return out, e.AWS.SignPayload(ctx, out, payload, scope.Service, scope.Region, role)
}

// readAWS finds out which service a request is for, where, and that its client
// meant the same: the region and the service that it signed for.
func readAWS(r *http.Request) (cloudhost.AWS, *sigv4wire.Signed, error) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, ""
	}
	endpoint, ok := cloudhost.ParseAWS(host)
	if !ok || port != "" && port != "443" {
		return endpoint, nil, foreign(r.Host, "AWS")
	}
	if sigv4wire.Presigned(targetOf(r)) {
		return endpoint, nil, fault.New(fault.Denied, "URLs that are signed ahead are not let through: they would outlive your session")
	}
	scope, err := sigv4wire.Read(&sigv4wire.Request{Header: r.Header})
	if err != nil {
		return endpoint, nil, err
	}
	if !endpoint.Signs(scope.Service, scope.Region) {
		return endpoint, scope, fault.New(fault.Denied, "the request is signed for %.100s in %.100s, and %s is %s in %s", scope.Service, scope.Region, host, endpoint.Service, endpoint.Region)
	}
	return endpoint, scope, nil
}

// payloadOf says what is signed of a body. One that the client has not hashed is read
// whole for it.
func payloadOf(r *http.Request, s3 bool) (payload string, body io.Reader, whole []byte, err error) {
	switch said := r.Header.Values("X-Amz-Content-Sha256"); {
	case len(said) > 1:
		return "", nil, nil, fault.New(fault.Invalid, "the request says twice what its body is")
	case len(said) == 1 && s3:
		sum, err := hex.DecodeString(said[0])
		if (err != nil || len(sum) != sha256.Size) && said[0] != sigv4wire.Unsigned && said[0] != sigv4wire.UnsignedTrailer {
			return "", nil, nil, fault.New(fault.Unimplemented, "bodies of the form %.100q are not let through", said[0])
		}
		if r.ContentLength < 0 && (said[0] != sigv4wire.UnsignedTrailer || r.Header.Get("X-Amz-Decoded-Content-Length") == "") {
			return "", nil, nil, fault.New(fault.Invalid, "the length of the body is not said")
		}
		return said[0], r.Body, nil, nil
	}
	whole, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return "", nil, nil, fault.New(fault.Limit, "the request is longer than %d MiB", maxBody>>20)
	case err != nil:
		return "", nil, nil, fault.Wrap(err, fault.Invalid, "the request did not arrive whole")
	}
	sum := sha256.Sum256(whole)
	return hex.EncodeToString(sum[:]), bytes.NewReader(whole), append([]byte{}, whole...), nil
}

// actionOf names what a request does: by its header, its form or its query, and for
// S3 by its method and what it names. Which of them a service goes by is the service's
// to know: where they differ, all are named, so that none hides another.
func actionOf(r *http.Request, path, query, bucket string, s3 bool, body []byte) string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	if s3 {
		return s3Action(r.Method, path, bucket, values, r.Header)
	}
	var names []string
	add := func(name string) {
		name = cut(name[:min(len(name), longestAction)])
		switch {
		case name == "" || slices.Contains(names, name) || len(names) > mostActions:
		case len(names) == mostActions:
			names = append(names, "…")
		default:
			names = append(names, name)
		}
	}
	for _, target := range r.Header["X-Amz-Target"] {
		add(target[strings.LastIndexByte(target, '.')+1:])
	}
	for _, name := range values["Action"] {
		add(name)
	}
	if media := strings.ToLower(r.Header.Get("Content-Type")); !strings.Contains(media, "json") && !strings.Contains(media, "cbor") {
		formActions(body, add)
	}
	return strings.Join(names, ",")
}

// Bounds of what is named of one request: its one action, mostly.
const (
	mostActions   = 8
	longestAction = 100
)

// formActions tells add of each action that a form names, however long what else it is.
func formActions(body []byte, add func(string)) {
	const longest = len("%41") * len("Action")
	for part := range bytes.SplitSeq(body, []byte("&")) {
		key, value, _ := bytes.Cut(part, []byte("="))
		if len(key) > longest {
			continue
		}
		name, err := url.QueryUnescape(string(key))
		if err != nil || name != "Action" {
			continue
		}
		action, err := url.QueryUnescape(string(value))
		if err != nil {
			action = string(value)
		}
		add(action)
	}
}

// s3Action names a request to S3 as its policies do, for what is common; others are
// their method and what it is done to.
func s3Action(method, path, bucket string, query url.Values, header http.Header) string {
	path = strings.TrimPrefix(path, "/")
	if bucket == "" {
		bucket, path, _ = strings.Cut(path, "/")
	}
	for _, sub := range []string{"acl", "policy", "tagging", "versioning", "versions", "lifecycle", "cors", "encryption", "location", "logging", "notification",
		"publicAccessBlock", "object-lock", "retention", "legal-hold", "replication", "website", "restore", "select", "attributes", "uploads", "delete"} {
		if query.Has(sub) {
			return method + " " + sub
		}
	}
	what := "Object"
	if path == "" {
		what = "Bucket"
	}
	switch {
	case method == http.MethodGet && bucket == "":
		return "ListBuckets"
	case method == http.MethodGet && path == "" && query.Get("list-type") == "2":
		return "ListObjectsV2"
	case method == http.MethodGet && path == "":
		return "ListObjects"
	case query.Has("uploadId") && method == http.MethodPut:
		return "UploadPart"
	case query.Has("uploadId"):
		return method + " uploadId"
	case method == http.MethodPut && path == "":
		return "CreateBucket"
	case method == http.MethodPut && header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	}
	verbs := map[string]string{http.MethodGet: "Get", http.MethodHead: "Head", http.MethodPut: "Put", http.MethodDelete: "Delete", http.MethodPost: "Post"}
	return verbs[method] + what
}

// lazyTransport makes a transport when it is first wanted: it reads the environment.
type lazyTransport struct {
	mu  sync.Mutex
	way http.RoundTripper
}

// way is the transport to a cloud.
func (e *Engine) way(ctx context.Context, cloud string) (http.RoundTripper, error) {
	if cloud != types.CloudAWS && e.Transport != nil {
		return e.Transport, nil
	}
	e.lazy.mu.Lock()
	defer e.lazy.mu.Unlock()
	if e.lazy.way != nil {
		return e.lazy.way, nil
	}
	t, ok := cloudcall.Public(nil).Transport.(*http.Transport)
	if e.AWS != nil {
		own, err := e.AWS.Transport(ctx)
		if err != nil {
			return nil, err
		}
		t, ok = own, true
	}
	if !ok {
		return nil, fault.New(fault.Internal, "there is no transport to %s", cloud)
	}
	t.DisableCompression, t.ResponseHeaderTimeout, t.MaxResponseHeaderBytes, t.IdleConnTimeout = true, answerTimeout, maxHead, idleTimeout
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 64, 8
	e.lazy.way = t
	return t, nil
}

// Close closes connections that nobody uses.
func (e *Engine) Close() {
	e.lazy.mu.Lock()
	defer e.lazy.mu.Unlock()
	if t, ok := e.lazy.way.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}
