// Package azurecloud is how an agent proves itself to Azure: by tokens of the
// managed identities of its machine, or of the one workload identity of its pod.
package azurecloud

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"teleport/cloud/cloudcall"
	"teleport/cloud/renewal"
	"teleport/fault"
)

const (
	metadataEndpoint = "http://169.254.169.254"
	managerEndpoint  = "https://management.azure.com"
	// ResourceManager is the audience of tokens for the resource manager.
	ResourceManager = managerEndpoint + "/"
	// maxAssertion bounds the file of a workload's token, in bytes.
	maxAssertion = 16 << 10
)

// Identity names who a token is of. At most one field is set: none is the only
// identity of the machine, or that of the workload.
type Identity struct {
	ClientID   string
	ResourceID string // /subscriptions/…/userAssignedIdentities/NAME
	Name       string // of a user-assigned identity of this machine
}

// Options configure a Cloud. The zero value is Azure's.
type Options struct {
	// Metadata and Manager replace the endpoints of the machine's metadata and of
	// the resource manager, for tests.
	Metadata, Manager string
	// Transport calls services of the network; nil is cloudcall's.
	Transport http.RoundTripper
	// Getenv reads the environment; nil is os.Getenv.
	Getenv func(string) string
}

// Cloud gets tokens. Safe for concurrent use.
type Cloud struct {
	o                Options
	metadata, public *http.Client
	tokens           renewal.Cache[tokenKey, string]
	names            renewal.Cache[string, string] // client ids
}

type tokenKey struct {
	who      Identity
	resource string
}

// New makes a Cloud. It calls nobody.
func New(o Options) *Cloud {
	for p, usual := range map[*string]string{&o.Metadata: metadataEndpoint, &o.Manager: managerEndpoint} {
		if *p == "" {
			*p = usual
		}
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return &Cloud{o: o, metadata: cloudcall.Metadata(), public: cloudcall.Public(o.Transport)}
}

// Token returns an access token of an identity for a resource, its audience.
func (c *Cloud) Token(ctx context.Context, who Identity, resource string) (string, error) {
	return c.tokens.Get(ctx, tokenKey{who, resource}, func(ctx context.Context) (string, time.Time, error) {
		if file := c.o.Getenv("AZURE_FEDERATED_TOKEN_FILE"); file != "" {
			return c.workload(ctx, file, who, resource)
		}
		if who.Name != "" {
			id, err := c.clientID(ctx, who.Name)
			if err != nil {
				return "", time.Time{}, err
			}
			who = Identity{ClientID: id}
		}
		return c.managed(ctx, who, resource)
	})
}

// answer is a token as both services give it: one counts seconds as text, the
// other as a number.
type answer struct {
	Token     string `json:"access_token"`
	ExpiresIn number `json:"expires_in"`
	ExpiresOn number `json:"expires_on"` // of App Service, which does not say how long
}

type number int

// UnmarshalJSON takes both forms.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(b), `"`))
	*n = number(v)
	return err
}

func (a *answer) token(start time.Time) (string, time.Time, error) {
	if a.ExpiresIn <= 0 && a.ExpiresOn > 0 {
		a.ExpiresIn = number(time.Unix(int64(a.ExpiresOn), 0).Sub(start) / time.Second)
	}
	if a.Token == "" || a.ExpiresIn <= 0 {
		return "", time.Time{}, fault.New(fault.Unavailable, "Azure gave no token")
	}
	return a.Token, start.Add(time.Duration(a.ExpiresIn) * time.Second), nil
}

// managed asks the machine for a token of one of its identities.
func (c *Cloud) managed(ctx context.Context, who Identity, resource string) (string, time.Time, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {resource}}
	own, byResource := c.o.Getenv("IDENTITY_ENDPOINT"), "msi_res_id"
	if own != "" {
		query.Set("api-version", "2019-08-01")
		byResource = "mi_res_id"
	}
	if who.ClientID != "" {
		query.Set("client_id", who.ClientID)
	}
	if who.ResourceID != "" {
		query.Set(byResource, who.ResourceID)
	}
	var out answer
	start := time.Now()
	ask := func() error { return c.ask(ctx, "/metadata/identity/oauth2/token", query, &out) }
	if own != "" {
		ask = func() error { return c.askService(ctx, own, query, &out) }
	}
	if err := ask(); err != nil {
		return "", time.Time{}, fault.Advise(fault.Wrap(err, fault.KindOf(err), "this agent gets no token of the Azure identity %s", who),
			"the identity must be one of its machine's")
	}
	return out.token(start)
}

// String names an identity for people.
func (i Identity) String() string {
	for _, s := range []string{i.Name, i.ClientID, i.ResourceID} {
		if s != "" {
			return strconv.Quote(s)
		}
	}
	return "of this machine"
}

func (c *Cloud) ask(ctx context.Context, path string, query url.Values, out any) error {
	r, err := http.NewRequest(http.MethodGet, c.o.Metadata+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Metadata", "true")
	_, err = cloudcall.JSON(ctx, c.metadata, r, "this machine's metadata service", out)
	return err
}

// askService asks what stands for the metadata service where the agent is no
// machine: in App Service and in container apps.
func (c *Cloud) askService(ctx context.Context, endpoint string, query url.Values, out any) error {
	r, err := http.NewRequest(http.MethodGet, endpoint+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "IDENTITY_ENDPOINT is no URL")
	}
	r.Header.Set("X-IDENTITY-HEADER", c.o.Getenv("IDENTITY_HEADER"))
	_, err = cloudcall.JSON(ctx, c.metadata, r, "this service's identity endpoint", out)
	return err
}

// clientID finds an identity of this machine by its name: the resource manager
// tells which the machine has.
func (c *Cloud) clientID(ctx context.Context, name string) (string, error) {
	return c.names.Get(ctx, name, func(ctx context.Context) (string, time.Time, error) {
		var machine struct {
			ResourceID string `json:"resourceId"`
		}
		if err := c.ask(ctx, "/metadata/instance/compute", url.Values{"api-version": {"2021-02-01"}}, &machine); err != nil {
			return "", time.Time{}, err
		}
		token, err := c.Token(ctx, Identity{}, ResourceManager)
		if err != nil {
			return "", time.Time{}, err
		}
		r, err := http.NewRequest(http.MethodGet, c.o.Manager+machine.ResourceID+"?api-version=2024-03-01", http.NoBody)
		if err != nil {
			return "", time.Time{}, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		var vm struct {
			Identity struct {
				Assigned map[string]struct {
					ClientID string `json:"clientId"`
				} `json:"userAssignedIdentities"`
			} `json:"identity"`
		}
		if _, err := cloudcall.JSON(ctx, c.public, r, "Azure's resource manager", &vm); err != nil {
			return "", time.Time{}, fault.Advise(err, "the agent's identity needs Microsoft.Compute/virtualMachines/read on its own machine")
		}
		var found []string
		for id, v := range vm.Identity.Assigned {
			if strings.EqualFold(id[strings.LastIndexByte(id, '/')+1:], name) {
				found = append(found, v.ClientID)
			}
		}
		if len(found) != 1 {
			return "", time.Time{}, fault.New(fault.NotFound, "this machine has no Azure identity %q, or several", name).WithHint("assign the identity of the database user to the agent's machine")
		}
		return found[0], time.Now().Add(time.Hour), nil
	})
}

// CheckResourceID checks the id of a user-assigned identity.
func CheckResourceID(id string) error {
	const kind = "/providers/microsoft.managedidentity/userassignedidentities/"
	low := strings.ToLower(id)
	before, name, ok := strings.Cut(low, kind)
	good := strings.Trim(low, "abcdefghijklmnopqrstuvwxyz0123456789/.-_()") == "" && !strings.Contains(low, "..") && !strings.Contains(low, "//")
	if !ok || !good || len(id) > 512 || !strings.HasPrefix(before, "/subscriptions/") || name == "" || strings.Contains(name, "/") {
		return fault.New(fault.Invalid, "%.200q is not the resource id of a managed identity", id).
			WithHint("/subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME")
	}
	return nil
}

// clientOf asks the resource manager for the client id of an identity. A workload
// becomes those that trust its pod.
func (c *Cloud) clientOf(ctx context.Context, resourceID string) (string, error) {
	if err := CheckResourceID(resourceID); err != nil {
		return "", err
	}
	return c.names.Get(ctx, resourceID, func(ctx context.Context) (string, time.Time, error) {
		token, err := c.Token(ctx, Identity{}, ResourceManager)
		if err != nil {
			return "", time.Time{}, err
		}
		r, err := http.NewRequest(http.MethodGet, c.o.Manager+resourceID+"?api-version=2023-01-31", http.NoBody)
		if err != nil {
			return "", time.Time{}, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		var out struct {
			Properties struct {
				ClientID string `json:"clientId"`
			} `json:"properties"`
		}
		if _, err := cloudcall.JSON(ctx, c.public, r, "Azure's resource manager", &out); err != nil {
			return "", time.Time{}, fault.Advise(err, "the agent's identity needs Microsoft.ManagedIdentity/userAssignedIdentities/read on it")
		}
		if out.Properties.ClientID == "" {
			return "", time.Time{}, fault.New(fault.NotFound, "there is no Azure identity %q", resourceID)
		}
		return out.Properties.ClientID, time.Now().Add(time.Hour), nil
	})
}

// authorities are the hosts that the environment may name.
var authorities = []string{"https://login.microsoftonline.com/", "https://login.microsoftonline.us/", "https://login.partner.microsoftonline.cn/"}

// workload exchanges the pod's own token for one of its identity.
func (c *Cloud) workload(ctx context.Context, file string, who Identity, resource string) (string, time.Time, error) {
	client, tenant, authority := c.o.Getenv("AZURE_CLIENT_ID"), c.o.Getenv("AZURE_TENANT_ID"), c.o.Getenv("AZURE_AUTHORITY_HOST")
	if who.ClientID != "" && who.ClientID != client {
		return "", time.Time{}, fault.New(fault.NotFound, "this agent is one workload identity, and not %s", who)
	}
	if who.ResourceID != "" {
		id, err := c.clientOf(ctx, who.ResourceID)
		if err != nil {
			return "", time.Time{}, err
		}
		client = id
	}
	if authority == "" {
		authority = authorities[0]
	}
	if !slices.Contains(authorities, authority) {
		return "", time.Time{}, fault.New(fault.Invalid, "AZURE_AUTHORITY_HOST is no authority of Azure")
	}
	assertion, err := os.ReadFile(file)
	if err != nil {
		return "", time.Time{}, fault.Unreadable(err, file)
	}
	if len(assertion) > maxAssertion || client == "" || tenant == "" {
		return "", time.Time{}, fault.New(fault.Invalid, "the workload identity of this agent is incomplete").WithHint("AZURE_CLIENT_ID and AZURE_TENANT_ID belong to AZURE_FEDERATED_TOKEN_FILE")
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_assertion": {strings.TrimSpace(string(assertion))},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "scope": {strings.TrimSuffix(resource, "/") + "/.default"}}
	r, err := http.NewRequest(http.MethodPost, authority+url.PathEscape(tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", time.Time{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var out answer
	start := time.Now()
	if _, err := cloudcall.JSON(ctx, c.public, r, "Azure's login service", &out); err != nil {
		return "", time.Time{}, err
	}
	return out.token(start)
}

// Wait returns when nothing is being renewed.
func (c *Cloud) Wait() { c.tokens.Wait(); c.names.Wait() }
