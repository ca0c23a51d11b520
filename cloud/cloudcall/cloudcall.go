// Package cloudcall makes the short calls to identity services of clouds: bounded
// in time and size, without redirects, and an answer that is not theirs is an
// error.
package cloudcall

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"teleport/fault"
)

const (
	timeout   = 10 * time.Second
	maxAnswer = 256 << 10
)

// Public returns a client for services on the network, through the environment's
// proxy if it names one. rt replaces the transport; nil is the usual one.
func Public(rt http.RoundTripper) *http.Client {
	if rt == nil {
		rt = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: time.Minute}
	}
	return &http.Client{Transport: rt, Timeout: timeout, CheckRedirect: noRedirect}
}

// Metadata returns a client for the service by which a cloud's machine learns
// who it is. It goes through no proxy, and does not wait long for what is not
// there.
func Metadata() *http.Client {
	return &http.Client{Timeout: timeout, CheckRedirect: noRedirect, Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConns: 1, IdleConnTimeout: 10 * time.Second}}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Status is an answer that is not the wanted one. Text is what the service says,
// cut; it holds nothing secret.
type Status struct {
	Code int
	Text string
}

// Error implements error.
func (s *Status) Error() string { return http.StatusText(s.Code) + ": " + s.Text }

// JSON sends a request and decodes the answer. service names who is called, for
// the error: fault.Denied where it refuses, fault.Unavailable otherwise. An answer
// other than 200 is a *Status within it.
func JSON(ctx context.Context, c *http.Client, r *http.Request, service string, out any) (http.Header, error) {
	resp, err := c.Do(r.WithContext(ctx))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s does not answer", service)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the answer of %s cannot be read", service)
	}
	if resp.StatusCode != http.StatusOK {
		kind := fault.Unavailable
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusBadRequest {
			kind = fault.Denied
		}
		return nil, fault.Wrap(&Status{resp.StatusCode, said(body)}, kind, "%s refuses (%d)", service, resp.StatusCode)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fault.Wrap(errors.New("no JSON of the expected form"), fault.Unavailable, "the answer of %s cannot be read", service)
	}
	return resp.Header, nil
}

// said is the message within an error of OAuth's form or of Google's, "" else:
// no other part of an answer goes into a log.
func said(body []byte) string {
	var oauth struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	var google struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	text := ""
	if json.Unmarshal(body, &oauth) == nil {
		text = oauth.Error + " " + oauth.Description
	} else if json.Unmarshal(body, &google) == nil {
		text = google.Error.Status + " " + google.Error.Message
	}
	return text[:min(len(text), 512)]
}
