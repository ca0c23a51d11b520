package cloudapp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/cloud/azurecloud"
	"teleport/cloud/cloudtest"
	"teleport/cloud/gcpcloud"
	"teleport/cloudhost"
	"teleport/types"
)

const (
	account  = "reader@project-1.iam.gserviceaccount.com"
	readerID = "00000000-0000-0000-0000-000000000001"
	identity = cloudtest.AzureIdentities + "reader"
	storage  = "https://storage.azure.com/"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// local is a token as a local proxy makes it.
func local(t *testing.T, alg jose.SignatureAlgorithm, key any, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claims(audience ...string) jwt.Claims {
	return jwt.Claims{Issuer: cloudhost.LocalIssuer, Audience: audience, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
}

// bearerAPI is an API that answers with who the bearer is, and where it was asked.
func bearerAPI(t *testing.T, who func(token string) string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := who(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if name == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(name + " " + r.Method + " " + r.RequestURI + " " + r.Header.Get("Cookie"))) // the client may be gone
	}))
	t.Cleanup(s.Close)
	return s
}

func azureWorld(t *testing.T) (*world, *ecdsa.PrivateKey, *cloudtest.Azure) {
	t.Helper()
	a := cloudtest.NewAzure(t)
	a.Assign("reader", readerID)
	cloud := azurecloud.New(azurecloud.Options{Metadata: a.URL, Transport: a, Getenv: func(string) string { return "" }})
	t.Cleanup(cloud.Wait)
	blob := bearerAPI(t, func(token string) string {
		who, err := a.Client(token, storage)
		if err != nil {
			return ""
		}
		return who
	})
	key := newKey(t)
	w := serve(t, &Engine{Azure: cloud, Transport: http.DefaultTransport}, Ask{Person: "alice", Cloud: types.CloudAzure, As: identity, Key: key.Public(),
		Endpoints: map[string]string{"blob": blob.URL}})
	return w, key, a
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Cookie", "mine")
	}
}

func TestAzureSeesTheIdentity(t *testing.T) {
	w, key, a := azureWorld(t)
	token := local(t, jose.ES256, key, claims(storage))
	for range 3 {
		resp, body := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/box/a%20b?comp=list", bearer(token))
		if resp.StatusCode != http.StatusOK || body != readerID+" GET /demo/box/a%20b?comp=list " {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if n := a.Made(); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
	if log := w.told(); len(log) != 3 || log[0].AzureIdentity != identity || log[0].CloudHost != "demo.blob.core.windows.net" || log[0].status != 200 {
		t.Errorf("told %+v", log)
	}
}

// TestTokensOfOthersAreRefused shows every token that is not the person's own, for
// that API.
func TestTokensOfOthersAreRefused(t *testing.T) {
	w, key, a := azureWorld(t)
	late, stranger, forever := claims(storage), claims(storage), claims(storage)
	late.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour))
	stranger.Issuer = "another"
	forever.Expiry = nil
	secret := make([]byte, 32)
	good := local(t, jose.ES256, key, claims(storage))
	for name, token := range map[string]string{
		"another key":        local(t, jose.ES256, newKey(t), claims(storage)),
		"another API":        local(t, jose.ES256, key, claims("https://vault.azure.net")),
		"no API":             local(t, jose.ES256, key, claims("https://evil.test")),
		"two APIs":           local(t, jose.ES256, key, claims(storage, "https://vault.azure.net")),
		"an old one":         local(t, jose.ES256, key, late),
		"one without an end": local(t, jose.ES256, key, forever),
		"another issuer":     local(t, jose.ES256, key, stranger),
		"a shared secret":    local(t, jose.HS256, secret, claims(storage)),
		"no signature":       good[:strings.LastIndexByte(good, '.')+1],
		"not one":            "x",
		"a long one":         strings.Repeat("x", maxToken+1),
	} {
		if resp, body := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/", bearer(token)); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "AccessDenied") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	for name, host := range map[string]string{"a foreign host": "evil.test", "a tenant's": "x.azurewebsites.net", "another API": "v.vault.azure.net"} {
		if resp, body := request(t, w, http.MethodGet, host, "/", bearer(good)); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if resp, _ := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("no token: %d", resp.StatusCode)
	}
	if resp, _ := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/../other/", bearer(good)); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a path out of the account: %d", resp.StatusCode)
	}
	w.ask.Key = crypto.PublicKey(nil)
	if resp, _ := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/", bearer(good)); resp.StatusCode != http.StatusForbidden {
		t.Errorf("without a certificate: %d", resp.StatusCode)
	}
	if n := a.Made(); n != 0 {
		t.Errorf("%d tokens were made", n)
	}
	w.ask.Key, w.ask.As = key.Public(), cloudtest.AzureIdentities+"admin"
	if resp, body := request(t, w, http.MethodGet, "demo.blob.core.windows.net", "/", bearer(good)); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "admin") {
		t.Errorf("an identity that the machine lacks: %d %s", resp.StatusCode, body)
	}
}

func TestGoogleSeesTheAccount(t *testing.T) {
	g := cloudtest.NewGoogle(t)
	g.Grant(cloudtest.GoogleAgent, account)
	t.Setenv("GCE_METADATA_HOST", g.MetadataHost())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	cloud := gcpcloud.New(gcpcloud.Options{Endpoint: g.URL})
	t.Cleanup(cloud.Wait)
	api := bearerAPI(t, func(token string) string { return g.Account(token, gcpcloud.ScopePlatform) })
	w := serve(t, &Engine{Google: cloud, Transport: http.DefaultTransport}, Ask{Person: "alice", Cloud: types.CloudGCP, As: account, Endpoints: map[string]string{"storage": api.URL}})
	for host, want := range map[string]string{"storage.googleapis.com": account + " GET /b?project=p ", "photos.storage.googleapis.com": account + " GET /photos/b?project=p "} {
		if resp, body := request(t, w, http.MethodGet, host, "/b?project=p", bearer("anything")); resp.StatusCode != http.StatusOK || body != want {
			t.Errorf("%s: %d %s", host, resp.StatusCode, body)
		}
	}
	if n := g.Made(); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
	if resp, body := request(t, w, http.MethodGet, "evil.test", "/", bearer("anything")); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "PERMISSION_DENIED") {
		t.Errorf("a foreign host: %d %s", resp.StatusCode, body)
	}
	w.ask.As = "other@project-1.iam.gserviceaccount.com"
	if resp, body := request(t, w, http.MethodGet, "storage.googleapis.com", "/b", bearer("anything")); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "other@project-1") {
		t.Errorf("an account without a grant: %d %s", resp.StatusCode, body)
	}
}

// TestNoMethodHidesInAnother: the log has the method of the request's first line.
func TestNoMethodHidesInAnother(t *testing.T) {
	w, key, _ := azureWorld(t)
	token := local(t, jose.ES256, key, claims(storage))
	for said, want := range map[string]int{"DELETE": http.StatusForbidden, "delete": http.StatusForbidden, "GET": http.StatusOK, "POST": http.StatusOK} {
		for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
			resp, body := request(t, w, http.MethodPost, "demo.blob.core.windows.net", "/box", and(bearer(token), header, said))
			if resp.StatusCode != want {
				t.Errorf("%s: %s: %d %s", header, said, resp.StatusCode, body)
			}
		}
	}
}
