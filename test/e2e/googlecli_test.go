package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

const googleReader = "reader@project-1.iam.gserviceaccount.com"

// googleWorld is a cluster whose agent is in Google Cloud.
type googleWorld struct {
	*cloudWorld
	storage *cloudtest.Gate
	outside *cloudtest.Outside
}

func newGoogleWorld(t *testing.T) *googleWorld {
	t.Helper()
	in := cloudtest.NewGoogle(t)
	in.Grant(cloudtest.GoogleAgent, googleReader)
	w := &googleWorld{storage: in.Gate(cloudtest.NewBuckets("demo"))}
	w.outside = cloudtest.NewOutside(t, map[string]http.Handler{"storage.googleapis.com": w.storage, "iamcredentials.googleapis.com": in})
	env := append(w.outside.Environment(), "GCE_METADATA_HOST="+in.MetadataHost(), "HOME="+t.TempDir())
	w.cloudWorld = newCloudWorld(t, env, map[string]any{"name": "gcp", "uri": "cloud://GCP", "labels": map[string]any{"env": "test"}}, "gcp-reader", "8445", cluster.FreePort(t))
	w.alice.MoreEnv = append(w.alice.MoreEnv, "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true", "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true",
		"GOOGLE_APPLICATION_CREDENTIALS=/of/another", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT=of-another")
	return w
}

// TestTheGoogleCommands does what the guide says with the real gcloud and gsutil, and
// then what is refused, by us and by Google.
func TestTheGoogleCommands(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "/usr/bin/gcloud", "google-cloud-cli")
	w := newGoogleWorld(t)
	const as = "--app=gcp --gcp-service-account=" + googleReader + " "
	run := func(begins string) cluster.Result { return w.tsh(t, w.guide.line("tsh "+begins)) }
	write(t, filepath.Join(w.alice.Home, "report.csv"), "a,b\n1,2\n")
	run("gcloud " + as + "storage cp").OK(t)
	contains(t, run("gcloud "+as+"storage ls").OK(t), "gs://demo/dir/report.csv")
	contains(t, run("gsutil "+as+"cat").OK(t), "a,b\n1,2\n")
	seen := w.storage.Seen()
	if len(seen) < 3 || seen[0].Who != googleReader {
		t.Errorf("Google saw %+v", seen)
	}
	w.googleRefuses(t)
	before := len(w.storage.Seen())
	if r := w.alice.Tsh("gcloud", "--app=gcp", "--gcp-service-account=admin@project-1.iam.gserviceaccount.com", "storage", "ls"); r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "gcp_service_accounts") {
		t.Errorf("as another account: %s", r)
	}
	if len(w.storage.Seen()) != before {
		t.Error("a request as another went through")
	}
	w.proxyOfGoogle(t)
	log := w.requests(t, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	contains(t, log, "storage.googleapis.com", googleReader, "/storage/v1/b/demo/o", "T2009I")
	if strings.Contains(log, "ya29.") {
		t.Error("the log holds a token")
	}
}

// proxyOfGoogle opens tsh proxy gcloud, and does what a program does with what it
// prints, and what one does that was not given it.
func (w *googleWorld) proxyOfGoogle(t *testing.T) {
	t.Helper()
	env, c := w.openProxy(t, w.guide.line("tsh proxy gcloud"), "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "CLOUDSDK_AUTH_ACCESS_TOKEN")
	const api = "https://storage.googleapis.com/storage/v1/b/demo/o"
	if status, text := askCloud(t, c, api, "Authorization", "Bearer "+env["CLOUDSDK_AUTH_ACCESS_TOKEN"]); status != http.StatusOK || !strings.Contains(text, "report.csv") {
		t.Errorf("%d %s", status, text)
	}
	before := len(w.storage.Seen())
	for name, token := range map[string]string{"no token": "", "another's": "Bearer ya29.of-another"} {
		if status, text := askCloud(t, c, api, "Authorization", token); status != http.StatusForbidden || !strings.Contains(text, "UNAUTHENTICATED") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if len(w.storage.Seen()) != before {
		t.Error("a stranger's request went through")
	}
}

// googleRefuses shows what the tools say where Google refuses.
func (w *googleWorld) googleRefuses(t *testing.T) {
	t.Helper()
	w.alice.MoreEnv = append(w.alice.MoreEnv, "CLOUDSDK_STORAGE_MAX_RETRIES=0")
	for _, c := range []struct {
		status int
		args   string
		want   string
	}{
		{http.StatusForbidden, "gcloud --app=gcp storage ls gs://demo/", "as the test wants"},
		{http.StatusTooManyRequests, "gcloud --app=gcp storage ls gs://demo/", "429"},
		{http.StatusServiceUnavailable, "gsutil --app=gcp -- -o Boto:num_retries=0 ls gs://demo/", "503"},
	} {
		w.storage.Answer(c.status)
		if r := w.alice.Tsh(strings.Fields(c.args)...); r.Code == 0 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("Google answers %d: %s", c.status, r)
		}
		w.storage.Answer(0)
	}
}
