package cloudtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// GoogleAgent is the service account of the agent.
const GoogleAgent = "agent@project-1.iam.gserviceaccount.com"

// googleToken is an access token that was handed out.
type googleToken struct {
	account string
	scopes  []string
	expires time.Time
}

// Google is the fake: the metadata service of an instance, the token service for
// keys of accounts, and the IAM credentials service. Safe for concurrent use.
type Google struct {
	URL    string
	mu     sync.Mutex
	tokens map[string]googleToken
	grants map[string][]string // who may be impersonated by whom
	made   int
	key    *rsa.PrivateKey // of the agent's account
}

// NewGoogle starts one that ends with the test.
func NewGoogle(t testing.TB) *Google {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &Google{tokens: map[string]googleToken{}, grants: map[string][]string{}, key: key}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	g.URL = s.URL
	return g
}

// MetadataHost is what GCE_METADATA_HOST must be.
func (g *Google) MetadataHost() string { return strings.TrimPrefix(g.URL, "http://") }

// KeyFile is a key of the agent's account, as it is downloaded.
func (g *Google) KeyFile(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(g.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "client_email": GoogleAgent, "private_key_id": "k1", "token_uri": g.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Grant lets one account impersonate another.
func (g *Google) Grant(who, account string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.grants[account] = append(g.grants[account], who)
}

// Made is how many tokens of impersonated accounts were made.
func (g *Google) Made() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.made
}

// Account returns whose token it is, as Cloud SQL asks: it must have a scope that
// lets one log in. It is "" for others.
func (g *Google) Account(token string, scopes ...string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	k, ok := g.tokens[token]
	if !ok || time.Now().After(k.expires) || !slices.ContainsFunc(k.scopes, func(s string) bool { return slices.Contains(scopes, s) }) {
		return ""
	}
	return k.account
}

// hand hands out a token. The caller holds g.mu.
func (g *Google) hand(account string, scopes []string) string {
	token := "ya29." + rand.Text()
	g.tokens[token] = googleToken{account, scopes, time.Now().Add(time.Hour)}
	return token
}

// ServeHTTP implements http.Handler.
func (g *Google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/computeMetadata/v1/"):
		g.metadata(w, r)
	case r.URL.Path == "/token":
		g.exchange(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"):
		g.impersonate(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

const platformScope = "https://www.googleapis.com/auth/cloud-platform"

func (g *Google) metadata(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata-Flavor") != "Google" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("Metadata-Flavor", "Google")
	switch strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/") {
	case "instance/service-accounts/default/token":
		writeJSON(w, map[string]any{"access_token": g.hand(GoogleAgent, []string{platformScope}), "expires_in": 3599, "token_type": "Bearer"})
	case "instance/service-accounts/default/email":
		fmt.Fprint(w, GoogleAgent)
	case "project/project-id":
		fmt.Fprint(w, "project-1")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// exchange takes an assertion that the key of the agent's account has signed for
// this service.
func (g *Google) exchange(w http.ResponseWriter, r *http.Request) {
	var claims struct {
		jwt.Claims
		Scope string `json:"scope"`
	}
	token, err := jwt.ParseSigned(r.PostFormValue("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err == nil {
		err = token.Claims(g.key.Public(), &claims)
	}
	if err == nil {
		err = claims.Validate(jwt.Expected{Issuer: GoogleAgent, AnyAudience: jwt.Audience{g.URL + "/token"}, Time: time.Now()})
	}
	if err != nil || r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_grant"})
		return
	}
	writeJSON(w, map[string]any{"access_token": g.hand(claims.Issuer, strings.Fields(claims.Scope)), "expires_in": 3599, "token_type": "Bearer"})
}

func (g *Google) impersonate(w http.ResponseWriter, r *http.Request) {
	account, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"), ":generateAccessToken")
	who := g.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	var in struct {
		Scope    []string `json:"scope"`
		Lifetime string   `json:"lifetime"`
	}
	err := json.NewDecoder(r.Body).Decode(&in)
	life, lerr := time.ParseDuration(in.Lifetime)
	switch {
	case !ok || r.Method != http.MethodPost || err != nil || lerr != nil || life > time.Hour || len(in.Scope) == 0:
		w.WriteHeader(http.StatusBadRequest)
	case !slices.Contains(who.scopes, platformScope) || !slices.Contains(g.grants[account], who.account):
		w.WriteHeader(http.StatusForbidden)
		writeJSON(w, map[string]any{"error": map[string]any{"code": 403, "status": "PERMISSION_DENIED",
			"message": "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."}})
	default:
		g.made++
		writeJSON(w, map[string]any{"accessToken": g.hand(account, in.Scope), "expireTime": time.Now().Add(life).UTC().Format(time.RFC3339)})
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}
