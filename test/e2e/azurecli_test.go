package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

const (
	azureReader  = "00000000-0000-0000-0000-000000000001" // client id of the identity reader
	blobHost     = "demo.blob.core.windows.net"
	blobAudience = "https://storage.azure.com/"
)

// azurite starts npm's emulator of Azure's storage, with the account demo, and returns
// what leads to it. It takes bearers over TLS alone, and looks at all of their tokens
// but the signature.
func azurite(t *testing.T) http.Handler {
	t.Helper()
	dir := cluster.NPM(t, "../../cloud/cloudtest/testdata/azurite", "--ignore-scripts")
	port := cluster.FreePort(t)
	cert, key := newAuthority(t).certificate(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, cluster.Need(t, "node", "nodejs"), "node_modules/azurite/dist/src/blob/main.js", "--silent", "--inMemoryPersistence", "--disableTelemetry",
		"--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", port, "--cert", cert, "--key", key, "--oauth", "basic")
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS=demo:"+base64.StdEncoding.EncodeToString(make([]byte, 64)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it is killed
	answers(t, "azurite", port)
	way := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(way.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: way, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", "127.0.0.1:"+port, r.In.Host
	}}
}

// azureWorld is a cluster whose agent is in Azure.
type azureWorld struct {
	*cloudWorld
	blob, manager *cloudtest.Gate
	outside       *cloudtest.Outside
}

func newAzureWorld(t *testing.T) *azureWorld {
	t.Helper()
	in := cloudtest.NewAzure(t)
	in.Assign("reader", azureReader)
	w := &azureWorld{blob: in.Gate(blobAudience, azurite(t)), manager: in.Manager()}
	w.outside = cloudtest.NewOutside(t, map[string]http.Handler{blobHost: w.blob, "management.azure.com": w.manager})
	env := append(w.outside.Environment(), "IDENTITY_ENDPOINT="+in.URL+"/msi/token", "IDENTITY_HEADER="+cloudtest.AzureIdentityHeader)
	w.cloudWorld = newCloudWorld(t, env, map[string]any{"name": "azure", "uri": "cloud://Azure", "labels": map[string]any{"env": "test"}}, "azure-reader",
		"/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/", cloudtest.AzureIdentities, "8444", cluster.FreePort(t))
	w.alice.MoreEnv = append(w.alice.MoreEnv, "AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_NO_COLOR=yes", "IDENTITY_ENDPOINT=http://127.0.0.1:1/of-another", "IDENTITY_HEADER=x")
	made := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+blobHost+"/box?restype=container", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+in.Token(t, azureReader, blobAudience))
	r.Header.Set("X-Ms-Version", "2021-06-08")
	if w.blob.ServeHTTP(made, r); made.Code != http.StatusCreated {
		t.Fatalf("the container: %d %s", made.Code, made.Body)
	}
	return w
}

// TestTheAzureCommand does what the guide says with the real az, and then what is
// refused, by us and by Azure.
func TestTheAzureCommand(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "/usr/bin/az", "azure-cli")
	w := newAzureWorld(t)
	az := func(begins string) cluster.Result {
		return w.tsh(t, w.guide.line("tsh az --app=azure --azure-identity=reader "+begins))
	}
	write(t, filepath.Join(w.alice.Home, "report.csv"), "a,b\n1,2\n")
	contains(t, az("login").OK(t), cloudtest.AzureSubscription, "Shop")
	contains(t, az("group list").OK(t), "orders", "westeurope")
	az("storage blob upload").OK(t)
	contains(t, az("storage blob list").OK(t), "report.csv")
	az("storage blob download").OK(t)
	if got, err := os.ReadFile(filepath.Join(w.alice.Home, "copy.csv")); err != nil || string(got) != "a,b\n1,2\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, g := range []*cloudtest.Gate{w.blob, w.manager} {
		if seen := g.Seen(); len(seen) < 2 || seen[0].Who != azureReader {
			t.Errorf("Azure saw %+v", seen)
		}
	}
	w.azureRefuses(t)
	w.refusedIdentity(t)
	w.proxyOfAzure(t)
	log := w.requests(t, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	contains(t, log, blobHost, "management.azure.com", cloudtest.AzureIdentities+"reader", "/box/report.csv", "T2009I")
	if strings.Contains(log, "eyJ") {
		t.Error("the log holds a token")
	}
	for _, asked := range w.outside.Asked() {
		if host, _, _ := strings.Cut(asked, ":"); host != blobHost && host != "management.azure.com" {
			t.Errorf("the agent asked for %s", asked)
		}
	}
}

// azureRefuses shows what az says where Azure refuses.
func (w *azureWorld) azureRefuses(t *testing.T) {
	t.Helper()
	own := []string{"az", "--app=azure", "--azure-identity=reader"}
	blob := []string{"rest", "--method=get", "--url=https://" + blobHost + "/?comp=list", "--resource=" + blobAudience, "--headers", "x-ms-version=2021-06-08"}
	groups := []string{"rest", "--method=get", "--url=https://management.azure.com/subscriptions/" + cloudtest.AzureSubscription + "/resourcegroups?api-version=2021-04-01"}
	list := strings.Fields(w.guide.line("tsh az --app=azure --azure-identity=reader storage blob list"))[4:]
	for _, c := range []struct {
		gate   *cloudtest.Gate
		status int
		args   []string
		want   string
	}{
		{w.blob, http.StatusForbidden, list, "You do not have the required permissions"},
		{w.blob, http.StatusServiceUnavailable, blob, "ServerBusy"},
		{w.manager, http.StatusForbidden, groups, "AuthorizationFailed"},
		{w.manager, http.StatusTooManyRequests, groups, "TooManyRequests"},
	} {
		c.gate.Answer(c.status)
		if r := w.alice.Tsh(append(own, c.args...)...); r.Code == 0 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("Azure answers %d: %s", c.status, r)
		}
		c.gate.Answer(0)
	}
}

// refusedIdentity is who one may not be, which tsh says before az starts.
func (w *azureWorld) refusedIdentity(t *testing.T) {
	t.Helper()
	before := len(w.manager.Seen())
	for as, want := range map[string]string{cloudtest.AzureIdentities + "admin": "azure_identities", "admin": "your roles do not allow"} {
		if r := w.alice.Tsh("az", "--app=azure", "--azure-identity="+as, "group", "list"); r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, want) {
			t.Errorf("as %s: %s", as, r)
		}
	}
	if len(w.manager.Seen()) != before {
		t.Error("a request as another went through")
	}
}

// proxyOfAzure opens tsh proxy azure, and does what a program does with what it
// prints, and what one does that was not given it.
func (w *azureWorld) proxyOfAzure(t *testing.T) {
	t.Helper()
	env, c := w.openProxy(t, w.guide.line("tsh proxy azure"), "REQUESTS_CA_BUNDLE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER")
	own := func(audience string) string {
		status, text := askCloud(t, c, env["IDENTITY_ENDPOINT"]+"?api-version=2019-08-01&resource="+url.QueryEscape(audience), "X-IDENTITY-HEADER", env["IDENTITY_HEADER"])
		var given struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(text), &given); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
		return "Bearer " + given.Token
	}
	token := own(blobAudience)
	api := "https://" + blobHost + "/box/report.csv"
	if status, text := askCloud(t, c, api, "Authorization", token, "X-Ms-Version", "2021-06-08"); status != http.StatusOK || text != "a,b\n1,2\n" {
		t.Errorf("%d %s", status, text)
	}
	before := len(w.blob.Seen())
	for name, wrong := range map[string]string{"no token": "", "another's": token + "A", "for another API": own("https://vault.azure.net")} {
		if status, text := askCloud(t, c, api, "Authorization", wrong, "X-Ms-Version", "2021-06-08"); status != http.StatusForbidden || !strings.Contains(text, "AccessDenied") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := askCloud(t, c, env["IDENTITY_ENDPOINT"]+"?resource="+blobAudience, "X-IDENTITY-HEADER", "guessed"); status != http.StatusForbidden || strings.Contains(text, "eyJ") {
		t.Errorf("a token for a stranger: %d %s", status, text)
	}
	if len(w.blob.Seen()) != before {
		t.Error("a stranger's request went through")
	}
}
