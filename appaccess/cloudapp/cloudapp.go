// Package cloudapp is the engine for apps that are the API or the console of a
// cloud: requests of people's own tools, which the agent proves to the cloud as the
// role or the identity that was decided about.
//
// The line between the two ends is this. The person's local proxy holds credentials
// that it made for its own life, and verifies that what comes to its port was signed
// with them. What it lets through arrives here within the person's certificate,
// which alone says who they are: what proved it there proves nothing here, and is
// dropped. Where a request goes is computed from a closed table of the cloud's hosts,
// or named by the app's own document, and never what a client says.
package cloudapp

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"teleport/cloud/awscloud"
	"teleport/cloud/azurecloud"
	"teleport/fault"
	"teleport/types"
)

// AWS gets credentials of roles, and signs with them.
type AWS interface {
	SignPayload(ctx context.Context, r *http.Request, payload, service, region string, chain ...awscloud.Role) error
	ConsoleURL(ctx context.Context, s awscloud.SignIn) (string, error)
	Transport(ctx context.Context) (*http.Transport, error)
}

// Azure gets tokens of identities.
type Azure interface {
	Token(ctx context.Context, who azurecloud.Identity, resource string) (string, error)
}

// Google gets tokens of service accounts.
type Google interface {
	Token(ctx context.Context, account string, scopes ...string) (string, error)
}

// Ask is who asks, and for what it was decided that they may.
type Ask struct {
	Person string
	Cloud  string           // of the app
	As     string           // the role, the identity or the account
	Key    crypto.PublicKey // of the certificate that was shown
	Until  time.Time        // end of that certificate
	// ExternalID and Endpoints are the app's own. Endpoints are URLs by service.
	ExternalID string
	Endpoints  map[string]string
	// Console is the URL of the console that browsers are sent to; "" is its first page.
	Console string
	// PublicAddr is where browsers know the app.
	PublicAddr string
}

// Call is what a request does in the cloud, for the audit log.
type Call struct {
	Service string
	Region  string // of AWS
	Host    string // as the client named it
	Action  string // "" where the service does not name its actions
	As      string // the role, the identity or the account
}

// Engine proves requests to clouds. Its fields are set before its first use; it is
// safe for concurrent use.
type Engine struct {
	AWS    AWS
	Azure  Azure
	Google Google
	// Transport carries requests to Azure and Google; nil is the usual one, through
	// the environment's proxy.
	Transport http.RoundTripper

	lazy lazyTransport
}

const (
	// maxBody bounds a body that must be read whole to be signed. S3's are not.
	maxBody = 16 << 20
	// maxHead bounds what stands before an answer's body.
	maxHead = 64 << 10
	// answerTimeout bounds the wait for the beginning of an answer.
	answerTimeout = 2 * time.Minute
	idleTimeout   = time.Minute
)

// Prepare makes the request that is sent in place of r. The call says what it is,
// also where it is refused, as far as it was understood. The body of r is read by
// whoever sends the other.
func (e *Engine) Prepare(ctx context.Context, r *http.Request, ask *Ask) (*http.Request, *Call, error) {
	call := &Call{Host: cut(r.Host), As: ask.As}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if time.Now().After(ask.Until) {
		return nil, call, fault.New(fault.Unauthenticated, "your certificate has ended").WithHint("tsh login")
	}
	out, err := (*http.Request)(nil), openMethod(r)
	if err != nil {
		return nil, call, err
	}
	switch ask.Cloud {
	case types.CloudAWS:
		out, err = e.prepareAWS(ctx, r, ask, call)
	case types.CloudAzure:
		out, err = e.prepareAzure(ctx, r, ask, call)
	case types.CloudGCP:
		out, err = e.prepareGoogle(ctx, r, ask, call)
	default:
		err = fault.New(fault.Unimplemented, "the cloud %q is not known", ask.Cloud)
	}
	return out, call, err
}

// openMethod refuses a request that hides its method in a header, as the APIs of Google
// and Azure's tables take it: the log would have another. One that is GET hides nothing;
// libraries send it where a query is too long for a target.
func openMethod(r *http.Request) error {
	for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		for _, method := range r.Header[name] {
			if method != r.Method && method != http.MethodGet {
				return fault.New(fault.Denied, "a request of %s that says it is %.20q is not let through", r.Method, method).WithHint("send it as what it is")
			}
		}
	}
	return nil
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), 1024)], "") }

// foreign is a host that no credentials are sent to.
func foreign(host, cloud string) error {
	return fault.New(fault.Denied, "%.200q is no host of %s's APIs, and nothing is sent to it", host, cloud)
}

// notPassed are headers that end here: those between two ends of one connection,
// those by which the local proxy was convinced, and those that say whence.
var notPassed = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Expect", "Authorization", "Cookie", "Date", "Forwarded", "Via", "X-Amz-Date", "X-Amz-Security-Token", "X-Real-Ip", "Teleport-Jwt-Assertion", "Cf-Access-Token"}

// passes reports whether a header of a request goes on.
func passes(name string) bool {
	return !slices.Contains(notPassed, name) && !strings.HasPrefix(name, "X-Forwarded-") && !strings.HasPrefix(name, "X-Teleport-") && !strings.HasPrefix(name, "Proxy-")
}

// renew makes the request to a target, with the headers of r that go on.
func renew(ctx context.Context, r *http.Request, target *url.URL, body io.Reader, length int64) (*http.Request, error) {
	out, err := http.NewRequestWithContext(ctx, r.Method, "https://"+target.Host, body)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the request cannot be read")
	}
	out.URL, out.Host, out.ContentLength = target, target.Host, length
	if length == 0 {
		out.Body = http.NoBody
	}
	named := strings.Split(strings.Join(r.Header.Values("Connection"), ","), ",")
	for name, values := range r.Header {
		hop := slices.ContainsFunc(named, func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) })
		if passes(name) && !hop {
			out.Header[name] = slices.Clone(values)
		}
	}
	if r.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "")
	}
	return out, nil
}

// target is where a request goes: the host, or the endpoint that the app's document
// names for the service. before is put before the path there, as such an endpoint
// has no names of its own for buckets and accounts.
func (a *Ask) target(service, host, before, rawPath, query string) (*url.URL, error) {
	u := &url.URL{Scheme: "https", Host: host}
	if own := a.Endpoints[service]; own != "" {
		named, err := url.Parse(own)
		if err != nil || named.Host == "" {
			return nil, fault.New(fault.Invalid, "the app's endpoint for %s is no URL", service)
		}
		u.Scheme, u.Host = named.Scheme, named.Host
		if before != "" {
			rawPath = "/" + before + rawPath
		}
		rawPath = strings.TrimSuffix(named.EscapedPath(), "/") + rawPath
	}
	plain, err := url.PathUnescape(rawPath)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the path of the request cannot be read")
	}
	u.Path, u.RawPath, u.RawQuery = plain, rawPath, query
	return u, nil
}

// targetOf is the target of a request as it came.
func targetOf(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// split takes the target of a request apart, as it came.
func split(r *http.Request) (path, query string, err error) {
	target := targetOf(r)
	if !strings.HasPrefix(target, "/") {
		return "", "", fault.New(fault.Invalid, "the target of the request is no path")
	}
	path, query, _ = strings.Cut(target, "?")
	if _, err := url.ParseQuery(query); err != nil {
		return "", "", fault.Wrap(err, fault.Invalid, "the query of the request cannot be read")
	}
	return path, query, nil
}

// climbs reports whether a path has segments that lead out of where it begins.
func climbs(path string) bool {
	plain, err := url.PathUnescape(path)
	return err != nil || slices.ContainsFunc(strings.FieldsFunc(plain, func(c rune) bool { return c == '/' || c == '\\' }), func(seg string) bool { return seg == "." || seg == ".." })
}

// Send sends what Prepare made, once.
func (e *Engine) Send(ask *Ask, out *http.Request) (*http.Response, error) {
	way, err := e.way(out.Context(), ask.Cloud)
	if err != nil {
		return nil, err
	}
	resp, err := way.RoundTrip(out)
	if err == nil {
		return resp, nil
	}
	if cause := context.Cause(out.Context()); cause != nil {
		return nil, cause
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return nil, f // the body's own
	}
	return nil, fault.Wrap(err, fault.Unavailable, "%s does not answer", out.URL.Host)
}
