package cloudapp

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"teleport/appaccess"
	"teleport/cloudhost"
	"teleport/types"
	"teleport/types/event"
)

// app answers for the apps of one cloud.
type app struct {
	engine *Engine
	cloud  string
}

var _ appaccess.Cloud = app{}

// Clouds are what answers for the apps of each cloud.
func (e *Engine) Clouds() map[string]appaccess.Cloud {
	out := map[string]appaccess.Cloud{}
	for _, cloud := range []string{types.CloudAWS, types.CloudAzure, types.CloudGCP} {
		out[cloud] = app{e, cloud}
	}
	return out
}

// Send implements appaccess.Cloud.
func (a app) Send(r *http.Request, u appaccess.Use, told *event.AppRequest) (*http.Response, error) {
	ask := &Ask{Person: u.Identity.Name, Cloud: a.cloud, Key: u.Certificate.PublicKey, Until: u.Identity.Authority.Ends(), Endpoints: u.App.Spec.CloudEndpoints}
	switch a.cloud {
	case types.CloudAWS:
		ask.As = u.Route.AWSRoleARN
	case types.CloudAzure:
		ask.As = u.Route.AzureIdentity
	case types.CloudGCP:
		ask.As = u.Route.GCPServiceAccount
	}
	if u.App.Spec.AWS != nil {
		ask.ExternalID = u.App.Spec.AWS.ExternalID
	}
	if u.Identity.Kind == types.IdentityBridge {
		ask.PublicAddr = r.Host // a browser is there
	}
	return a.engine.answer(r, ask, told)
}

// tell puts a call into the event of its request.
func (c *Call) tell(e *event.AppRequest, cloud string) {
	switch cloud {
	case types.CloudAWS:
		e.AWSService, e.AWSRegion, e.AWSHost, e.AWSAction, e.AWSAssumedRole = c.Service, c.Region, c.Host, c.Action, c.As
	case types.CloudAzure:
		e.CloudHost, e.AzureIdentity = c.Host, c.As
	case types.CloudGCP:
		e.CloudHost, e.GCPAccount = c.Host, c.As
	}
}

// Refusal implements appaccess.Refuser: tools of a cloud hear of a refusal in its own
// form.
func (a app) Refusal(r *http.Request, told *event.AppRequest, why error) *http.Response {
	form := cloudhost.WireGoogle
	switch a.cloud {
	case types.CloudAWS:
		service := told.AWSService
		if service == "" {
			endpoint, _ := cloudhost.ParseAWS(r.Host)
			service = endpoint.Service
		}
		form = cloudhost.AWSWire(service, r.Header.Get("Content-Type"))
	case types.CloudAzure:
		form = cloudhost.AzureWire(r.Host)
	}
	said := cloudhost.Refuse(form, why, told.RequestID)
	return made(r, said.Status, "", &said)
}

// made is an answer of the agent's own.
func made(r *http.Request, status int, location string, said *cloudhost.Refusal) *http.Response {
	resp := &http.Response{Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"}}, Body: http.NoBody, Request: r}
	if location != "" {
		resp.Header.Set("Location", location)
	}
	if said != nil {
		for name, value := range said.Header {
			resp.Header.Set(name, value)
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(said.Body)), int64(len(said.Body))
	}
	return resp
}
