package cloudhost

import "strings"

// azureAPI is an API of Azure: a host, or what the hosts of its instances end
// with, and the audience of tokens for it.
type azureAPI struct{ suffix, audience string }

// azureAPIs are those that a person's requests are taken to. An instance is one
// label before the suffix, which begins with a dot. Who owns one sees no token of its
// callers: servicebus.windows.net is left out, as Azure's relays are there too, and one
// that lets anybody in hands the whole request to whoever listens, Authorization and all.
var azureAPIs = []azureAPI{
	{"management.azure.com", "https://management.azure.com/"},
	{"management.core.windows.net", "https://management.core.windows.net/"},
	{"management.usgovcloudapi.net", "https://management.usgovcloudapi.net/"},
	{"management.chinacloudapi.cn", "https://management.chinacloudapi.cn/"},
	{"graph.microsoft.com", "https://graph.microsoft.com/"},
	{"api.loganalytics.io", "https://api.loganalytics.io"},
	{".blob.core.windows.net", "https://storage.azure.com/"},
	{".queue.core.windows.net", "https://storage.azure.com/"},
	{".table.core.windows.net", "https://storage.azure.com/"},
	{".file.core.windows.net", "https://storage.azure.com/"},
	{".dfs.core.windows.net", "https://storage.azure.com/"},
	{".vault.azure.net", "https://vault.azure.net"},
	{".managedhsm.azure.net", "https://managedhsm.azure.net"},
	{".azconfig.io", "https://azconfig.io"},
}

// LocalIssuer is the issuer of the tokens by which a local proxy tells the agent for
// which API of Azure its tool wants one. They are signed with the person's own key.
const LocalIssuer = "teleport-local-proxy"

// Azure is an API of Azure.
type Azure struct {
	Host     string
	Audience string // of tokens for it
	Instance string // the account, vault or namespace that the host names
}

// ParseAzure reads a host, without its port.
func ParseAzure(host string) (Azure, bool) {
	for _, api := range azureAPIs {
		if host == api.suffix && api.suffix[0] != '.' {
			return Azure{Host: host, Audience: api.audience}, true
		}
		if name, ok := strings.CutSuffix(host, api.suffix); ok && api.suffix[0] == '.' && label(name) {
			return Azure{Host: host, Audience: api.audience, Instance: name}, true
		}
	}
	return Azure{}, false
}

// managers are the audiences by which the resource manager was called before.
var managers = map[string]string{
	"https://management.core.windows.net": "https://management.azure.com", "https://management.core.usgovcloudapi.net": "https://management.usgovcloudapi.net",
	"https://management.core.chinacloudapi.cn": "https://management.chinacloudapi.cn",
}

// AzureAudience is an audience in the one form that is compared: its slashes at
// the end are left out, and the older name of the resource manager is the newer.
// ok is false for what is the audience of no API in the table.
func AzureAudience(resource string) (audience string, ok bool) {
	audience = strings.TrimRight(resource, "/")
	if now, old := managers[audience]; old {
		audience = now
	}
	for _, api := range azureAPIs {
		if known := strings.TrimRight(api.audience, "/"); known == audience || managers[known] == audience {
			return audience, true
		}
	}
	return "", false
}

// Takes reports whether tokens for an audience are for this API.
func (a Azure) Takes(resource string) bool {
	want, _ := AzureAudience(a.Audience)
	got, ok := AzureAudience(resource)
	return ok && got == want
}
