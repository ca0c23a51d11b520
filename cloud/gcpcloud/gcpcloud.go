// Package gcpcloud is how an agent proves itself to Google Cloud: by the access
// token of its own service account (that of its instance, of its environment or
// of a file), or of one that it may impersonate.
package gcpcloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"teleport/cloud/cloudcall"
	"teleport/cloud/renewal"
	"teleport/fault"
)

// Scopes of tokens.
const (
	// ScopeSQLLogin lets its bearer log in to Cloud SQL, and nothing else.
	ScopeSQLLogin = "https://www.googleapis.com/auth/sqlservice.login"
	// ScopePlatform is everything that the account may do.
	ScopePlatform = "https://www.googleapis.com/auth/cloud-platform"
)

const (
	iamEndpoint = "https://iamcredentials.googleapis.com"
	tokenLife   = "3600s"
)

// Options configure a Cloud. The zero value is Google's.
type Options struct {
	// Endpoint replaces that of the IAM credentials service, for tests.
	Endpoint string
	// Transport makes the calls; nil is cloudcall's.
	Transport http.RoundTripper
}

// Cloud gets tokens. Safe for concurrent use.
type Cloud struct {
	o      Options
	client *http.Client
	mu     sync.Mutex
	own    oauth2.TokenSource
	tokens renewal.Cache[string, string]
}

// New makes a Cloud. It calls nobody.
func New(o Options) *Cloud {
	if o.Endpoint == "" {
		o.Endpoint = iamEndpoint
	}
	return &Cloud{o: o, client: cloudcall.Public(o.Transport)}
}

// source finds the agent's own credentials, once.
func (c *Cloud) source() (oauth2.TokenSource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		return c.own, nil
	}
	// The source outlives this call, and so must its context.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, c.client)
	found, err := google.FindDefaultCredentials(ctx, ScopePlatform)
	if err != nil {
		return nil, noCredentials(err)
	}
	c.own = found.TokenSource
	return c.own, nil
}

func noCredentials(err error) error {
	return fault.Advise(fault.Wrap(err, fault.Unavailable, "this agent has no Google Cloud credentials"),
		"give its machine a service account, or set GOOGLE_APPLICATION_CREDENTIALS of its process")
}

// Token returns an access token of a service account, which the agent
// impersonates. It has the scopes and no others.
func (c *Cloud) Token(ctx context.Context, account string, scopes ...string) (string, error) {
	if err := CheckAccount(account); err != nil {
		return "", err
	}
	if len(scopes) == 0 {
		return "", fault.New(fault.Internal, "a token without a scope is for nothing")
	}
	key := account + " " + strings.Join(scopes, " ")
	return c.tokens.Get(ctx, key, func(ctx context.Context) (string, time.Time, error) { return c.impersonate(ctx, account, scopes) })
}

// impersonate asks for a token of another account.
func (c *Cloud) impersonate(ctx context.Context, account string, scopes []string) (string, time.Time, error) {
	source, err := c.source()
	if err != nil {
		return "", time.Time{}, err
	}
	own, err := source.Token()
	if err != nil {
		return "", time.Time{}, noCredentials(withoutAnswer(err))
	}
	body, err := json.Marshal(map[string]any{"scope": scopes, "lifetime": tokenLife})
	if err != nil {
		return "", time.Time{}, err
	}
	r, err := http.NewRequest(http.MethodPost, c.o.Endpoint+"/v1/projects/-/serviceAccounts/"+url.PathEscape(account)+":generateAccessToken", bytes.NewReader(body))
	if err != nil {
		return "", time.Time{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	own.SetAuthHeader(r)
	var out struct {
		Token   string    `json:"accessToken"`
		Expires time.Time `json:"expireTime"`
	}
	if _, err := cloudcall.JSON(ctx, c.client, r, "Google's IAM", &out); err != nil {
		if errors.Is(err, fault.Denied) {
			err = fault.Advise(fault.Wrap(err, fault.Denied, "Google does not let this agent be the service account %s", account),
				"the agent's own account needs roles/iam.serviceAccountTokenCreator on it; a new grant takes some minutes")
		}
		return "", time.Time{}, err
	}
	if out.Token == "" || out.Expires.IsZero() {
		return "", time.Time{}, fault.New(fault.Unavailable, "Google's IAM gave no token")
	}
	return out.Token, out.Expires, nil
}

// withoutAnswer drops what an identity service answered: it could hold anything.
func withoutAnswer(err error) error {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) {
		return errors.New("the token service says " + r.ErrorCode)
	}
	return err
}

// CheckAccount checks the e-mail address of a service account.
func CheckAccount(account string) error {
	name, domain, ok := strings.Cut(account, "@")
	good := func(s string) bool {
		return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && !strings.Contains(s, "..")
	}
	if !ok || !good(name) || !good(domain) || !strings.HasSuffix(domain, ".gserviceaccount.com") {
		return fault.New(fault.Invalid, "%q is no service account", account)
	}
	return nil
}

// Wait returns when nothing is being renewed.
func (c *Cloud) Wait() { c.tokens.Wait() }
