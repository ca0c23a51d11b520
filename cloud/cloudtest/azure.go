package cloudtest

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Names of Azure's world.
const (
	AzureTenant = "11111111-2222-3333-4444-555555555555"
	AzureAgent  = "00000000-0000-0000-0000-00000000a9e7" // client id of the agent's own identity
	// AzureIdentities is what the resource ids of its identities begin with.
	AzureIdentities = "/subscriptions/s1/resourceGroups/g2/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	AzureVM         = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Compute/virtualMachines/agent"
	// AzureIdentityHeader is what App Service wants of its own.
	AzureIdentityHeader = "of-the-service"
	AzureSubscription   = "99999999-0000-0000-0000-000000000001"
	azureManager        = "https://management.azure.com/"
	azureIssuer         = "https://sts.windows.net/" + AzureTenant + "/"
	clusterIssuer       = "https://oidc.example.test/"
)

// Azure is the fake: the metadata service of a machine, the login service, and as
// much of the resource manager as tells which identities the machine has. Tokens
// are JWTs that it signs. Safe for concurrent use.
type Azure struct {
	URL        string
	mu         sync.Mutex
	identities map[string]string // client id by name
	made       int
	key        *rsa.PrivateKey
	cluster    *rsa.PrivateKey // of the cluster that workloads live in
}

// NewAzure starts one that ends with the test.
func NewAzure(t testing.TB) *Azure {
	t.Helper()
	a := &Azure{identities: map[string]string{}}
	for _, p := range []**rsa.PrivateKey{&a.key, &a.cluster} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		*p = key
	}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

// Assign gives the machine an identity.
func (a *Azure) Assign(name, clientID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.identities[name] = clientID
}

// Made is how many tokens were made.
func (a *Azure) Made() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made
}

// Assertion is the token that a cluster gives to a pod, for an audience.
func (a *Azure) Assertion(t testing.TB, audience string) string {
	t.Helper()
	text, err := sign(a.cluster, jwt.Claims{Issuer: clusterIssuer, Subject: "system:serviceaccount:teleport:agent", Audience: jwt.Audience{audience},
		Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Client verifies a token as a service of Azure does, and returns whose it is.
func (a *Azure) Client(token, audience string) (string, error) {
	who, err := verify(&a.key.PublicKey, token, azureIssuer, audience)
	if err != nil { // APIs take either form of their own name
		other := strings.TrimSuffix(audience, "/")
		if other == audience {
			other += "/"
		}
		return verify(&a.key.PublicKey, token, azureIssuer, other)
	}
	return who, nil
}

func sign(key *rsa.PrivateKey, claims jwt.Claims) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

func verify(key *rsa.PublicKey, token, issuer, audience string) (subject string, err error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	if err := parsed.Claims(key, &claims); err != nil {
		return "", err
	}
	if claims.Expiry == nil {
		return "", errors.New("a token without an end")
	}
	return claims.Subject, claims.Validate(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()})
}

// RoundTrip lets the fake stand where Azure's public hosts do.
func (a *Azure) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = u.Scheme, u.Host, r.URL.Host
	return http.DefaultTransport.RoundTrip(out)
}

// ServeHTTP implements http.Handler.
func (a *Azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	machine := r.Header.Get("Metadata") == "true" && r.Header.Get("X-Forwarded-For") == ""
	switch {
	case r.URL.Path == "/metadata/instance/compute" && machine:
		writeJSON(w, map[string]string{"resourceId": AzureVM, "vmId": "v1"})
	case r.URL.Path == "/msi/token" && r.Header.Get("X-Identity-Header") == AzureIdentityHeader:
		a.managed(w, r.URL.Query())
	case r.URL.Path == "/metadata/identity/oauth2/token" && machine:
		a.managed(w, r.URL.Query())
	case strings.HasPrefix(r.URL.Path, AzureIdentities) && r.Host == "management.azure.com":
		a.identity(w, r)
	case r.URL.Path == AzureVM && r.Host == "management.azure.com":
		a.machine(w, r)
	case r.URL.Path == "/"+AzureTenant+"/oauth2/v2.0/token" && r.Host == "login.microsoftonline.com":
		a.login(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Token is one of an identity, for an audience.
func (a *Azure) Token(t testing.TB, client, audience string) string {
	t.Helper()
	token, err := a.token(client, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (a *Azure) token(client, audience string) (string, error) {
	now := time.Now()
	return sign(a.key, jwt.Claims{Issuer: azureIssuer, Subject: client, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
		NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), IssuedAt: jwt.NewNumericDate(now)})
}

// hand writes a token. The caller holds a.mu.
func (a *Azure) hand(w http.ResponseWriter, client, audience string, text bool) {
	token, err := a.token(client, audience)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a.made++
	var life any = 3599
	if text {
		life = strconv.Itoa(3599)
	}
	writeJSON(w, map[string]any{"access_token": token, "expires_in": life, "token_type": "Bearer"})
}

func (a *Azure) managed(w http.ResponseWriter, q url.Values) {
	client, service := q.Get("client_id"), q.Get("api-version") == "2019-08-01"
	if id := q.Get(map[bool]string{true: "mi_res_id", false: "msi_res_id"}[service]); id != "" {
		if client = a.identities[strings.TrimPrefix(id, AzureIdentities)]; client == "" {
			client = "unknown"
		}
	}
	known := client == "" || client == AzureAgent
	for _, id := range a.identities {
		known = known || id == client
	}
	if version := q.Get("api-version"); !known || q.Get("resource") == "" || version != "2018-02-01" && !service {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
		return
	}
	if client == "" {
		client = AzureAgent
	}
	a.hand(w, client, q.Get("resource"), true)
}

func (a *Azure) machine(w http.ResponseWriter, r *http.Request) {
	who, err := a.Client(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), azureManager)
	if err != nil || who != AzureAgent {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	assigned := map[string]any{}
	for name, id := range a.identities {
		assigned[AzureIdentities+name] = map[string]string{"clientId": id}
	}
	writeJSON(w, map[string]any{"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": assigned}})
}

// identity tells the client id of one.
func (a *Azure) identity(w http.ResponseWriter, r *http.Request) {
	who, err := a.Client(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), azureManager)
	if err != nil || who != AzureAgent {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	writeJSON(w, map[string]any{"properties": map[string]string{"clientId": a.identities[strings.TrimPrefix(r.URL.Path, AzureIdentities)]}})
}

// Manager is the part of the resource manager that people use: subscriptions, and the
// groups of one.
func (a *Azure) Manager() *Gate {
	return a.Gate(azureManager, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const id = "/subscriptions/" + AzureSubscription
		switch strings.ToLower(r.Method + " " + r.URL.Path) {
		case "get /subscriptions":
			writeJSON(w, map[string]any{"value": []any{map[string]any{"id": id, "subscriptionId": AzureSubscription, "tenantId": AzureTenant, "displayName": "Shop", "state": "Enabled",
				"authorizationSource": "RoleBased"}}})
		case "get " + id + "/resourcegroups":
			writeJSON(w, map[string]any{"value": []any{map[string]any{"id": id + "/resourceGroups/orders", "name": "orders", "type": "Microsoft.Resources/resourceGroups",
				"location": "westeurope", "properties": map[string]string{"provisioningState": "Succeeded"}}}})
		default:
			refuseAsManager(w, http.StatusNotFound, "there is no "+r.URL.Path)
		}
	}))
}

// trusts reports whether an identity lets the pod become it: all that are assigned
// do, and the agent's own.
func (a *Azure) trusts(client string) bool {
	for _, id := range a.identities {
		if id == client {
			return true
		}
	}
	return client == AzureAgent
}

// login exchanges a pod's token.
func (a *Azure) login(w http.ResponseWriter, r *http.Request) {
	who, err := verify(&a.cluster.PublicKey, r.PostFormValue("client_assertion"), clusterIssuer, "api://AzureADTokenExchange")
	scope, ok := strings.CutSuffix(r.PostFormValue("scope"), "/.default")
	if err != nil || !ok || who != "system:serviceaccount:teleport:agent" || !a.trusts(r.PostFormValue("client_id")) ||
		r.PostFormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		writeJSON(w, map[string]string{"error": "invalid_client", "error_description": "AADSTS700213"})
		return
	}
	a.hand(w, r.PostFormValue("client_id"), scope, false)
}
