package sigv4wire

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"teleport/fault"
)

// maxExpires is the longest life of a presigned URL.
const maxExpires = 7 * 24 * time.Hour

// ReadPresigned reads the signature of a presigned URL, unchecked.
func ReadPresigned(r *Request) (*Signed, error) {
	_, query, _ := strings.Cut(r.Target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, wrong(err)
	}
	for key, v := range values {
		if strings.HasPrefix(key, "X-Amz-") && len(v) != 1 {
			return nil, malformed()
		}
	}
	if values.Get("X-Amz-Algorithm") != algorithm {
		return nil, fault.New(fault.Unauthenticated, "the URL is not signed by "+algorithm)
	}
	s, err := signed(values.Get("X-Amz-Credential"), values.Get("X-Amz-SignedHeaders"), values.Get("X-Amz-Signature"), values.Get("X-Amz-Date"),
		values.Get("X-Amz-Security-Token"))
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseUint(values.Get("X-Amz-Expires"), 10, 32)
	if s.Expires = time.Duration(seconds) * time.Second; err != nil || s.Expires > maxExpires {
		return nil, malformed()
	}
	return s, nil
}

// VerifyPresigned checks a presigned URL, with the secret of the access key that
// it names. S3 leaves the body out of it.
func VerifyPresigned(r *Request, secret string, now time.Time) (*Signed, error) {
	s, err := ReadPresigned(r)
	if err != nil {
		return nil, err
	}
	if age := now.Sub(s.Time); age < -MaxSkew || age > s.Expires {
		return nil, fault.New(fault.Unauthenticated, "the signed URL is of another time")
	}
	if !slices.Contains(s.Headers, "host") {
		return nil, fault.New(fault.Unauthenticated, "the signature does not cover the host")
	}
	payload := hexHash(r.Body)
	if s.Service == "s3" {
		payload = "UNSIGNED-PAYLOAD"
	}
	return s, s.check(r, secret, payload, "X-Amz-Signature")
}
