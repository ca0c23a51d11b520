package cloudproxy

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/cloudhost"
	"teleport/fault"
)

// AzureDomains are those that the authority for Azure's tools speaks for.
var AzureDomains = []string{"azure.com", "windows.net", "usgovcloudapi.net", "chinacloudapi.cn", "graph.microsoft.com", "loganalytics.io", "azure.net", "azconfig.io", azureMSI}

// azureMSI stands for the identity service of a machine: tools ask there for tokens.
const azureMSI = "azure-msi.teleport.dev"

// tokenLife is how long such a token is taken.
const tokenLife = time.Hour

// Azure is for tools that ask their machine for the token of its identity. What they
// get is a token for this app alone, signed with the person's key.
type Azure struct {
	Secret   string        // part of the path where tools ask
	Key      crypto.Signer // of the certificate that goes to the agent
	Identity string        // resource id
}

var _ Cloud = (*Azure)(nil)

// Endpoint is where tools ask.
func (a *Azure) Endpoint() string { return "https://" + azureMSI + "/" + a.Secret }

// Environment is by which tools find it: the first variable is that of older ones, and
// the others are those of App Service, by which newer ones and SDKs ask.
func (a *Azure) Environment() []string {
	return []string{"MSI_ENDPOINT=" + a.Endpoint(), "IDENTITY_ENDPOINT=" + a.Endpoint(), "IDENTITY_HEADER=" + a.Secret}
}

// asks reports whether a request for a token is from a tool that was given the secret,
// and not from a page of a browser, which cannot send such headers.
func (a *Azure) asks(r *http.Request) bool {
	is := func(text string) bool { return subtle.ConstantTimeCompare([]byte(text), []byte(a.Secret)) == 1 }
	return is(strings.TrimPrefix(r.URL.Path, "/")) && (r.Header.Get("Metadata") == "true" || is(r.Header.Get("X-Identity-Header")))
}

// Takes implements Cloud.
func (a *Azure) Takes(host string) bool {
	_, ok := cloudhost.ParseAzure(host)
	return ok || host == azureMSI
}

// Wire implements Cloud.
func (a *Azure) Wire(r *http.Request) cloudhost.Wire { return cloudhost.AzureWire(r.Host) }

// Answer implements Cloud.
func (a *Azure) Answer(w http.ResponseWriter, r *http.Request) bool {
	if (&url.URL{Host: r.Host}).Hostname() != azureMSI {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	if !a.asks(r) {
		w.WriteHeader(http.StatusForbidden)
		writeJSON(w, map[string]string{"error": "access_denied", "error_description": "this is another's endpoint, or the header by which tools ask is missing"})
		return true
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	resource := r.FormValue("resource")
	token, err := a.token(resource)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_resource", "error_description": fault.Message(err)})
		return true
	}
	end := strconv.FormatInt(time.Now().Add(tokenLife).Unix(), 10)
	writeJSON(w, map[string]string{"access_token": token, "expires_in": strconv.Itoa(int(tokenLife / time.Second)), "expires_on": end,
		"not_before": strconv.FormatInt(time.Now().Unix(), 10), "resource": resource, "token_type": "Bearer"})
	return true
}

// token makes one for an API. Tools read who they are from it.
func (a *Azure) token(resource string) (string, error) {
	if _, ok := cloudhost.AzureAudience(resource); !ok {
		return "", fault.New(fault.Denied, "%.200q is no API of Azure that is let through", resource)
	}
	alg := jose.ES256
	switch a.Key.Public().(type) {
	case ed25519.PublicKey:
		alg = jose.EdDSA
	case *rsa.PublicKey:
		alg = jose.RS256
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(a.Key)}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := struct {
		jwt.Claims
		Tenant   string `json:"tid"`
		Object   string `json:"oid"`
		App      string `json:"appid"`
		Resource string `json:"xms_mirid"`
	}{jwt.Claims{Issuer: cloudhost.LocalIssuer, Audience: jwt.Audience{resource}, Subject: nobody, Expiry: jwt.NewNumericDate(now.Add(tokenLife)),
		NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), IssuedAt: jwt.NewNumericDate(now)}, nobody, nobody, nobody, a.Identity}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// nobody stands for ids that the tools want and only Azure knows.
const nobody = "00000000-0000-0000-0000-000000000000"

// Admit implements Cloud: it is signed here, and verified here and at the agent.
func (a *Azure) Admit(r *http.Request) error {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	wrong := fault.New(fault.Unauthenticated, "the request does not carry a token of this proxy").WithHint("az login --identity")
	if !ok || len(r.Header.Values("Authorization")) != 1 {
		return wrong
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		return wrong
	}
	var claims jwt.Claims
	if token.Claims(a.Key.Public(), &claims) != nil || claims.ValidateWithLeeway(jwt.Expected{Issuer: cloudhost.LocalIssuer, Time: time.Now()}, time.Minute) != nil {
		return wrong
	}
	return nil
}
