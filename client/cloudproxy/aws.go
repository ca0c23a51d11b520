package cloudproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"teleport/client/localproxy"
	"teleport/cloudhost"
	"teleport/fault"
	"teleport/sigv4wire"
)

// AWSDomains are those that the authority for AWS's tools speaks for.
var AWSDomains = []string{"amazonaws.com", "amazonaws.com.cn", "api.aws", "api.amazonwebservices.com.cn"}

// maxBody bounds a body that must be read whole to be verified. S3's are not.
const maxBody = 16 << 20

// AWS is for tools that sign their requests, with keys that are the proxy's own.
type AWS struct{ Keys localproxy.Keys }

var _ Cloud = AWS{}

// Takes implements Cloud.
func (AWS) Takes(host string) bool {
	_, ok := cloudhost.ParseAWS(host)
	return ok
}

// Answer implements Cloud.
func (AWS) Answer(http.ResponseWriter, *http.Request) bool { return false }

// Wire implements Cloud.
func (AWS) Wire(r *http.Request) cloudhost.Wire {
	endpoint, _ := cloudhost.ParseAWS((&url.URL{Host: r.Host}).Hostname())
	return cloudhost.AWSWire(endpoint.Service, r.Header.Get("Content-Type"))
}

const useKeys = "use the AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that tsh has given"

// Admit implements Cloud: a request is signed with the proxy's keys, as is all that
// it means.
func (a AWS) Admit(r *http.Request) error {
	if sigv4wire.Presigned(r.RequestURI) {
		return fault.New(fault.Denied, "URLs that are signed ahead are not let through: they would outlive your session")
	}
	in := &sigv4wire.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Length: max(r.ContentLength, 0)}
	if len(r.TransferEncoding) > 0 { // which some tools sign
		in.Header = r.Header.Clone()
		in.Header["Transfer-Encoding"] = r.TransferEncoding
	}
	signed, err := sigv4wire.Read(in) // before the body: a stranger costs nothing
	switch {
	case err != nil:
		return fault.Advise(err, useKeys)
	case signed.AccessKey != a.Keys.ID:
		return fault.New(fault.Unauthenticated, "the request is signed with keys that are not this proxy's").WithHint(useKeys)
	}
	if signed.Service == "s3" && r.Header.Get("X-Amz-Content-Sha256") != "" {
		return a.stream(r, in)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return fault.New(fault.Limit, "the request is longer than %d MiB", maxBody>>20)
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "the request did not arrive whole")
	}
	in.Body, in.Length = body, 0
	if _, err := sigv4wire.Verify(in, a.Keys.Secret, time.Now()); err != nil {
		return err
	}
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	return nil
}

// stream admits a request by its head, and verifies the body on its way.
func (a AWS) stream(r *http.Request, in *sigv4wire.Request) error {
	// Tools that put a checksum behind a body frame it in two ways at once, and say the
	// length of what is within alone.
	if r.ContentLength < 0 && r.Header.Get("X-Amz-Decoded-Content-Length") == "" {
		return fault.New(fault.Invalid, "the length of the body is not said")
	}
	st, err := sigv4wire.VerifyHead(in, a.Keys.Secret, time.Now())
	if err != nil {
		return err
	}
	if r.ContentLength != 0 {
		r.Body = struct {
			io.Reader
			io.Closer
		}{st.Body(r.Body), r.Body}
	}
	if st.Length > 0 || r.ContentLength >= 0 {
		r.ContentLength, r.TransferEncoding = st.Length, nil
	}
	st.Rewrite(r.Header)
	return nil
}
