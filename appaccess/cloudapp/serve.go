package cloudapp

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"teleport/cloud/awscloud"
	"teleport/cloudhost"
	"teleport/fault"
)

// Tell puts a request into the audit log, before its answer is passed on. status is
// what the cloud answered, 0 where it was not asked; why is set then.
type Tell func(ctx context.Context, call *Call, status int, why error) error

// Serve does one request: proves it, sends it, tells of it, and passes the answer on.
// id finds the request in the log.
func (e *Engine) Serve(w http.ResponseWriter, r *http.Request, ask *Ask, id string, tell Tell) {
	ctx, cancel := context.WithDeadline(r.Context(), ask.Until)
	defer cancel()
	if e.console(r, ask) {
		e.enterConsole(ctx, w, ask, tell)
		return
	}
	out, call, err := e.Prepare(ctx, r, ask)
	if err != nil {
		refuse(ctx, w, r, ask, call, id, err, tell)
		return
	}
	resp, err := e.Send(ask, out)
	if err != nil {
		refuse(ctx, w, r, ask, call, id, err, tell)
		return
	}
	defer resp.Body.Close()
	if err := tell(ctx, call, resp.StatusCode, nil); err != nil {
		answer(w, wireOf(r, ask, call), err, id)
		return
	}
	head := w.Header()
	for name, values := range resp.Header {
		if !slices.Contains(hops, name) {
			head[name] = slices.Clone(values)
		}
	}
	w.WriteHeader(resp.StatusCode)
	stream(w, resp.Body)
}

// hops are headers of answers that are between two ends of one connection.
var hops = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// stream passes a body on as it comes. One that is cut ends the connection, so that
// its client notices.
func stream(w http.ResponseWriter, body io.Reader) {
	to := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			if n < len(buf) && to.Flush() != nil {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// refuse tells the audit log and the client of a request that had no answer.
func refuse(ctx context.Context, w http.ResponseWriter, r *http.Request, ask *Ask, call *Call, id string, why error, tell Tell) {
	// What was cut is still told.
	if err := tell(context.WithoutCancel(ctx), call, 0, why); err != nil {
		why = err
	}
	answer(w, wireOf(r, ask, call), why, id)
}

func answer(w http.ResponseWriter, form cloudhost.Wire, why error, id string) {
	a := cloudhost.Refuse(form, why, id)
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // it may be gone
}

// wireOf is the form in which the client reads errors.
func wireOf(r *http.Request, ask *Ask, call *Call) cloudhost.Wire {
	switch ask.Cloud {
	case cloudAzure:
		return cloudhost.AzureWire(r.Host)
	case cloudGCP:
		return cloudhost.WireGoogle
	}
	return cloudhost.AWSWire(call.Service, r.Header.Get("Content-Type"))
}

// console reports whether a request is a browser's, at the app's own address.
func (e *Engine) console(r *http.Request, ask *Ask) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return ask.Cloud == cloudAWS && ask.PublicAddr != "" && strings.EqualFold(host, ask.PublicAddr) && r.Header.Get("Authorization") == ""
}

// enterConsole sends a browser to AWS's console, as the role. No page of ours has
// the address, which is as good as a key for a while: not in a body, nor in a
// Referer, nor in a cache.
func (e *Engine) enterConsole(ctx context.Context, w http.ResponseWriter, ask *Ask, tell Tell) {
	call := &Call{Service: "signin", Action: "getSigninToken", As: ask.As}
	to, err := e.AWS.ConsoleURL(ctx, awscloud.SignIn{Role: awscloud.Role{ARN: ask.As, ExternalID: ask.ExternalID, SessionName: awscloud.SessionName(ask.Person)},
		Issuer: "https://" + ask.PublicAddr, Destination: ask.Console, Until: ask.Until, Endpoint: ask.Endpoints["signin"]})
	if err == nil {
		err = tell(ctx, call, http.StatusFound, nil)
	} else if terr := tell(context.WithoutCancel(ctx), call, 0, err); terr != nil {
		err = terr
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	if err != nil {
		status := http.StatusBadGateway
		if k := fault.KindOf(err); k == fault.Denied || k == fault.Unauthenticated {
			status = http.StatusForbidden
		}
		http.Error(w, fault.Message(err), status)
		return
	}
	h.Set("Location", to)
	w.WriteHeader(http.StatusFound)
}
