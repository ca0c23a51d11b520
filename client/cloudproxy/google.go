package cloudproxy

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"

	"teleport/cloudhost"
	"teleport/fault"
)

// GoogleDomains are those that the authority for Google's tools speaks for.
var GoogleDomains = []string{"googleapis.com"}

// Google is for tools that show a token, which is the proxy's own.
type Google struct{ Secret string }

var _ Cloud = Google{}

// NewSecret makes the secret of one local proxy.
func NewSecret() string { return rand.Text() + rand.Text() }

// Takes implements Cloud.
func (Google) Takes(host string) bool {
	_, ok := cloudhost.ParseGoogle(host)
	return ok
}

// Wire implements Cloud.
func (Google) Wire(*http.Request) cloudhost.Wire { return cloudhost.WireGoogle }

func (g Google) is(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(secret), []byte(g.Secret)) == 1
}

// Answer implements Cloud: tools that exchange what they have been given for a token
// do so here.
func (g Google) Answer(w http.ResponseWriter, r *http.Request) bool {
	if r.Host != "sts.googleapis.com" || r.Method != http.MethodPost || r.URL.Path != "/v1/token" {
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("Content-Type", "application/json")
	if !g.is(r.PostFormValue("subject_token")) {
		w.WriteHeader(http.StatusUnauthorized)
		writeJSON(w, map[string]string{"error": "invalid_grant", "error_description": "the token is not this proxy's"})
		return true
	}
	writeJSON(w, map[string]any{"access_token": g.Secret, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
	return true
}

func writeJSON(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // the tool may be gone

// Admit implements Cloud. The token goes no further.
func (g Google) Admit(r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || len(r.Header.Values("Authorization")) != 1 || !g.is(token) {
		return fault.New(fault.Unauthenticated, "the request does not carry this proxy's token").WithHint("use the CLOUDSDK_AUTH_ACCESS_TOKEN that tsh has given")
	}
	r.Header.Del("Authorization")
	return nil
}
