package cloudapp

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/cloud/azurecloud"
	"teleport/cloud/gcpcloud"
	"teleport/cloudhost"
	"teleport/fault"
)

// maxToken bounds such a token, in bytes; skew is how far clocks may be apart.
const (
	maxToken = 8 << 10
	skew     = time.Minute
)

// prepareAzure gives a request the token of the identity, for the API that its host
// is. The client's own token must be for the same.
func (e *Engine) prepareAzure(ctx context.Context, r *http.Request, ask *Ask, call *Call) (*http.Request, error) {
	api, ok := cloudhost.ParseAzure(strings.TrimSuffix(r.Host, ":443"))
	if !ok {
		return nil, foreign(r.Host, "Azure")
	}
	call.Service = api.Audience
	resource, err := localResource(r, ask.Key)
	if err != nil {
		return nil, err
	}
	if !api.Takes(resource) {
		return nil, fault.New(fault.Denied, "the token is for %.200q, and %s takes those for %s", resource, api.Host, api.Audience)
	}
	service := "manager"
	if api.Instance != "" {
		service, _, _ = strings.Cut(strings.TrimPrefix(api.Host, api.Instance+"."), ".")
	}
	out, err := bearerRequest(ctx, r, ask, service, api.Host, api.Instance)
	if err != nil {
		return nil, err
	}
	token, err := e.Azure.Token(ctx, azurecloud.Identity{ResourceID: ask.As}, api.Audience)
	if err != nil {
		return nil, err
	}
	out.Header.Set("Authorization", "Bearer "+token)
	return out, nil
}

// localResource returns the audience of the token that a local proxy has made, which
// must be signed with the key of the certificate that was shown.
func localResource(r *http.Request, key crypto.PublicKey) (string, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(r.Header.Values("Authorization")) != 1 || len(text) > maxToken {
		return "", fault.New(fault.Unauthenticated, "the request carries no token").WithHint("az login --identity")
	}
	wrong := func(err error) error {
		return fault.Advise(fault.Wrap(err, fault.Unauthenticated, "the request's token is not one that your tsh has made"), "az login --identity")
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		return "", wrong(err)
	}
	var claims jwt.Claims
	if err := token.Claims(key, &claims); err != nil {
		return "", wrong(err)
	}
	if claims.Expiry == nil || len(claims.Audience) != 1 {
		return "", wrong(errors.New("it has no end, or not one audience"))
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: cloudhost.LocalIssuer, Time: time.Now()}, skew); err != nil {
		return "", wrong(err)
	}
	return claims.Audience[0], nil
}

// prepareGoogle gives a request the token of the service account.
func (e *Engine) prepareGoogle(ctx context.Context, r *http.Request, ask *Ask, call *Call) (*http.Request, error) {
	api, ok := cloudhost.ParseGoogle(strings.TrimSuffix(r.Host, ":443"))
	if !ok {
		return nil, foreign(r.Host, "Google Cloud")
	}
	call.Service = api.Service
	out, err := bearerRequest(ctx, r, ask, api.Service, api.Host, api.Bucket)
	if err != nil {
		return nil, err
	}
	token, err := e.Google.Token(ctx, ask.As, gcpcloud.ScopePlatform)
	if err != nil {
		return nil, err
	}
	out.Header.Set("Authorization", "Bearer "+token)
	return out, nil
}

// bearerRequest is a request whose body nothing is signed of.
func bearerRequest(ctx context.Context, r *http.Request, ask *Ask, service, host, before string) (*http.Request, error) {
	path, query, err := split(r)
	if err != nil {
		return nil, err
	}
	if climbs(path) {
		return nil, fault.New(fault.Invalid, "the path of the request leads out of itself")
	}
	to, err := ask.target(service, host, before, path, query)
	if err != nil {
		return nil, err
	}
	return renew(ctx, r, to, r.Body, r.ContentLength)
}
