package cloudapp

import (
	"context"
	"net"
	"net/http"
	"strings"

	"teleport/cloud/awscloud"
	"teleport/types"
	"teleport/types/event"
)

// answer answers one request, and fills in what it learns about it, also where it is
// refused. Nothing of it goes on beyond the end of the certificate.
func (e *Engine) answer(r *http.Request, ask *Ask, told *event.AppRequest) (*http.Response, error) {
	if e.console(r, ask) {
		call := &Call{Service: "signin", Action: "getSigninToken", As: ask.As}
		call.tell(told, ask.Cloud)
		to, err := e.enter(r.Context(), ask)
		if err != nil {
			return nil, err
		}
		return made(r, http.StatusFound, to, nil), nil
	}
	out, call, err := e.Prepare(r.Context(), r, ask)
	call.tell(told, ask.Cloud)
	if err != nil {
		return nil, err
	}
	return e.Send(ask, out)
}

// console reports whether a request is a browser's, at the app's own address.
func (e *Engine) console(r *http.Request, ask *Ask) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	public, _, err := net.SplitHostPort(ask.PublicAddr)
	if err != nil {
		public = ask.PublicAddr
	}
	return ask.Cloud == types.CloudAWS && public != "" && strings.EqualFold(host, public) && r.Header.Get("Authorization") == ""
}

// enter returns where a browser enters AWS's console as the role. No page of ours has
// the address, which is as good as a key for a while: not in a body, nor in a
// Referer, nor in a cache.
func (e *Engine) enter(ctx context.Context, ask *Ask) (string, error) {
	return e.AWS.ConsoleURL(ctx, awscloud.SignIn{Role: awscloud.Role{ARN: ask.As, ExternalID: ask.ExternalID, SessionName: awscloud.SessionName(ask.Person)},
		Issuer: "https://" + ask.PublicAddr, Destination: ask.Console, Until: ask.Until, Endpoint: ask.Endpoints["signin"]})
}
