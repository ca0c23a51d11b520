package cloudtest

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Gate stands before an API of a cloud and lets in who shows the token of one of the
// cloud's identities, which it verifies as the cloud does. It can be made to refuse.
// Safe for concurrent use.
type Gate struct {
	next   http.Handler
	verify func(token string) (who string, err error)
	refuse func(w http.ResponseWriter, status int, message string)
	mu     sync.Mutex
	answer int // instead of the API, 0 is none
	seen   []Seen
}

// Seen is a request that was let in.
type Seen struct{ Who, Method, Path string }

// Gate is one before an API of Azure, which has an audience of its own.
func (a *Azure) Gate(audience string, next http.Handler) *Gate {
	g := &Gate{next: next, verify: func(token string) (string, error) { return a.Client(token, audience) }, refuse: refuseAsManager}
	if audience != azureManager {
		g.refuse = refuseAsBlob
	}
	return g
}

// Gate is one before an API of Google Cloud.
func (g *Google) Gate(next http.Handler) *Gate {
	return &Gate{next: next, refuse: refuseAsGoogle, verify: func(token string) (string, error) { return g.Account(token, platformScope), nil }}
}

// Answer makes it refuse all requests with a status; 0 ends that.
func (g *Gate) Answer(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = status
}

// Seen returns the requests that were let in so far.
func (g *Gate) Seen() []Seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.seen)
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := "", error(nil)
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		who, err = g.verify(token)
	}
	if err != nil || who == "" {
		g.refuse(w, http.StatusUnauthorized, "no valid token")
		return
	}
	g.mu.Lock()
	g.seen = append(g.seen, Seen{who, r.Method, r.URL.Path})
	status := g.answer
	g.mu.Unlock()
	if status != 0 {
		g.refuse(w, status, "as the test wants")
		return
	}
	g.next.ServeHTTP(w, r)
}

func refuseAsManager(w http.ResponseWriter, status int, message string) {
	code := map[int]string{http.StatusUnauthorized: "InvalidAuthenticationToken", http.StatusForbidden: "AuthorizationFailed", http.StatusTooManyRequests: "TooManyRequests"}[status]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func refuseAsBlob(w http.ResponseWriter, status int, message string) {
	code := map[int]string{http.StatusUnauthorized: "InvalidAuthenticationInfo", http.StatusForbidden: "AuthorizationPermissionMismatch", http.StatusServiceUnavailable: "ServerBusy"}[status]
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct { // it may be gone
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: message})
}

func refuseAsGoogle(w http.ResponseWriter, status int, message string) {
	reason := map[int]string{http.StatusUnauthorized: "authError", http.StatusForbidden: "forbidden", http.StatusTooManyRequests: "rateLimitExceeded",
		http.StatusServiceUnavailable: "backendError"}[status]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": message, // it may be gone
		"errors": []map[string]string{{"message": message, "domain": "global", "reason": reason}}}})
}
