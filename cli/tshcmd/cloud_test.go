package tshcmd_test

import (
	"slices"
	"strings"
	"testing"

	"teleport/types"
)

// withClouds is a world with apps of clouds, by name.
func withClouds(t *testing.T, apps map[string]string) *world {
	t.Helper()
	w := newWorld(t)
	for name, cloud := range apps {
		s := &types.AppServer{Header: types.Header{Kind: types.KindAppServer, Version: "v3", Metadata: types.Metadata{Name: name}}}
		s.Spec.HostID, s.Spec.App = "30000000-0000-4000-8000-000000000001", types.App{Header: types.Header{Kind: types.KindApp, Version: "v3", Metadata: types.Metadata{Name: name}},
			Spec: types.AppSpec{URI: "cloud://" + cloud, Cloud: cloud}}
		w.apps = append(w.apps, s)
	}
	w.mustLogIn()
	return w
}

func TestCloudCommandsExplainThemselves(t *testing.T) {
	w := newWorld(t)
	for args, want := range map[string]string{
		"aws --help": "--aws-role", "az --help": "--azure-identity", "gcloud --help": "--gcp-service-account", "gsutil --help": "--gcp-service-account",
		"proxy aws --help": "athena-odbc", "proxy azure --help": "powershell", "proxy gcloud --help": "--port",
	} {
		if r := w.tsh("", strings.Fields(args)...); r.code != 0 || !strings.Contains(r.out, want) || !strings.Contains(r.out, "--app") || !strings.Contains(r.out, "no\ncredentials of the cloud") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

func TestCloudCompletion(t *testing.T) {
	w := withClouds(t, map[string]string{"buckets": types.CloudAWS, "machines": types.CloudAWS, "azure": types.CloudAzure, "gcp": types.CloudGCP})
	for args, want := range map[string][]string{
		"aws --app": {"buckets", "machines"}, "proxy aws --app": {"buckets", "machines"}, "az --app": {"azure"}, "proxy azure --app": {"azure"},
		"gcloud --app": {"gcp"}, "gsutil --app": {"gcp"}, "proxy gcloud --app": {"gcp"},
		"proxy azure --format": {"command-prompt", "powershell", "text", "unix"},
		"proxy aws --format":   {"athena-jdbc", "athena-odbc", "command-prompt", "powershell", "text", "unix"},
	} {
		r := w.tsh("", append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		got := strings.Fields(strings.Split(r.out, ":")[0])
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q of %+v", args, got, r)
		}
	}
}

func TestCloudCommandsSayWhatIsWrong(t *testing.T) {
	w := withClouds(t, map[string]string{"buckets": types.CloudAWS, "machines": types.CloudAWS})
	for args, want := range map[string]string{
		"proxy aws":                         "there are several apps of AWS",
		"proxy aws --app=azure":             `there is no app "azure" of AWS`,
		"proxy gcloud":                      "there is no app of GCP",
		"proxy aws --format=xml":            "--format=xml is not known",
		"proxy azure --format=athena-odbc":  "--format=athena-odbc is not known",
		"proxy gcloud --format=athena-jdbc": "formats: text, unix, command-prompt, powershell",
		"proxy aws argument":                "argument",
		"aws --exec=of-no-machine s3 ls":    "of-no-machine is not installed",
		"az --format=json":                  "--format",
	} {
		if r := w.tsh("", strings.Fields(args)...); r.code == 0 || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
