package tshcmd

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"teleport/client"
	"teleport/client/cloudproxy"
	"teleport/client/localproxy"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

// cloudAs is the role or identity that is meant: the named one, else that by which
// one is logged in to the app, else the only one.
func (a *app) cloudAs(ctx context.Context, c *client.Client, s *session, tool cloudTool, app *types.App, named string) (string, types.AppRoute, error) {
	active, err := a.activeApps(s)
	if err != nil {
		return "", types.AppRoute{}, err
	}
	var f appFlags
	if i := slices.IndexFunc(active, func(p *profile.App) bool { return p.Name == app.Metadata.Name }); i >= 0 && named == "" {
		f.aws, f.azure, f.gcp = active[i].AWSRoleARN, active[i].AzureIdentity, active[i].GCPServiceAccount
	}
	as := map[string]*string{types.CloudAWS: &f.aws, types.CloudAzure: &f.azure, types.CloudGCP: &f.gcp}[tool.cloud]
	if named != "" {
		*as = named
	}
	route, err := a.appRoute(ctx, c, s, f, app)
	return cmp.Or(route.AWSRoleARN, route.AzureIdentity, route.GCPServiceAccount), route, err
}

// caFile is PEM of whom tools trust, in the folder of a local proxy.
const caFile = "ca.pem"

// cloudEnv makes the credentials of a local proxy, and the environment by which tools
// find both. Files are in the folder that is removed at the end, but for what tools
// keep for themselves.
func (a *app) cloudEnv(s *session, tool cloudTool, l *cloudLocal, authority *cloudproxy.Authority, key crypto.Signer) (cloudproxy.Cloud, error) {
	trusted := map[string]string{types.CloudAWS: "AWS_CA_BUNDLE", types.CloudAzure: "REQUESTS_CA_BUNDLE", types.CloudGCP: "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"}[tool.cloud]
	bundle, err := authority.Bundle(a.getenv(trusted))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.folder, caFile)
	if err := os.WriteFile(file, bundle, 0o600); err != nil {
		return nil, fault.Unwritable(err, file)
	}
	proxy := "http://" + l.ln.Addr().String()
	l.env = []string{trusted + "=" + file, "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy}
	switch tool.cloud {
	case types.CloudAWS:
		keys := localproxy.NewKeys()
		l.env = append(l.env, "AWS_ACCESS_KEY_ID="+keys.ID, "AWS_SECRET_ACCESS_KEY="+keys.Secret)
		return cloudproxy.AWS{Keys: keys}, nil
	case types.CloudAzure:
		cloud := &cloudproxy.Azure{Secret: cloudproxy.NewSecret(), Key: key, Identity: l.as}
		l.env = append(append(l.env, cloud.Environment()...), "AZURE_CONFIG_DIR="+cloudFolder(s, l, "azure"))
		return cloud, nil
	}
	cloud := cloudproxy.Google{Secret: cloudproxy.NewSecret()}
	boto, err := writeBoto(l, cloud.Secret)
	if err != nil {
		return nil, err
	}
	l.env = append(l.env, "CLOUDSDK_AUTH_ACCESS_TOKEN="+cloud.Secret, "CLOUDSDK_CONFIG="+cloudFolder(s, l, "gcloud"), "BOTO_CONFIG="+boto,
		"REQUESTS_CA_BUNDLE="+file, "http_proxy=") // both for gsutil, which prefers the latter
	if project := projectOf(l.as); project != "" {
		l.env = append(l.env, "CLOUDSDK_CORE_PROJECT="+project)
	}
	return cloud, nil
}

// projectOf is the project of a service account; "" where its address does not say.
func projectOf(account string) string {
	_, domain, _ := strings.Cut(account, "@")
	project, ok := strings.CutSuffix(domain, ".iam.gserviceaccount.com")
	if !ok {
		return ""
	}
	return project
}

// writeBoto writes what gsutil reads: it exchanges the proxy's secret for a token, at
// the proxy. Where that is does not stand here: gsutil would forget its environment,
// which the library that exchanges the secret knows the proxy from.
func writeBoto(l *cloudLocal, secret string) (string, error) {
	subject, account, boto := filepath.Join(l.folder, "subject"), filepath.Join(l.folder, "account.json"), filepath.Join(l.folder, "boto")
	external, err := json.Marshal(map[string]any{"type": "external_account", "audience": "//iam.googleapis.com/locations/global/workforcePools/tsh/providers/tsh",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
		"credential_source": map[string]string{"file": subject}})
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("[Credentials]\ngs_external_account_file = %s\n[Boto]\nhttps_validate_certificates = True\nca_certificates_file = %s\n"+
		"[GSUtil]\nstate_dir = %s\ndefault_project_id = %s\n[OAuth2]\ntoken_cache = in_memory\n", account, filepath.Join(l.folder, caFile), l.folder, projectOf(l.as))
	for name, data := range map[string][]byte{subject: []byte(secret), account: external, boto: []byte(text)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return "", fault.Unwritable(err, name)
		}
	}
	return boto, nil
}
