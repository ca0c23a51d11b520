package azurecloud

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"teleport/cloud/cloudtest"
	"teleport/fault"
)

const (
	databases = "https://ossrdbms-aad.database.windows.net"
	ordersID  = "00000000-0000-0000-0000-000000000001"
)

func world(t *testing.T, env map[string]string) (*cloudtest.Azure, *Cloud) {
	t.Helper()
	a := cloudtest.NewAzure(t)
	a.Assign("orders", ordersID)
	c := New(Options{Metadata: a.URL, Transport: a, Getenv: func(k string) string { return env[k] }})
	t.Cleanup(c.Wait)
	return a, c
}

func TestTokenOfAnIdentity(t *testing.T) {
	a, c := world(t, nil)
	for want, who := range map[string]Identity{ordersID: {Name: "Orders"}, cloudtest.AzureAgent: {}} {
		for range 3 {
			token, err := c.Token(t.Context(), who, databases)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := a.Client(token, databases); err != nil || got != want {
				t.Errorf("the token is of %q, %v", got, err)
			}
			if _, err := a.Client(token, ResourceManager); err == nil {
				t.Error("the token is for the resource manager too")
			}
		}
	}
	if n := a.Made(); n != 3 { // one of them for the resource manager
		t.Errorf("%d tokens were made", n)
	}
}

func TestIdentitiesThatAreNotTheMachines(t *testing.T) {
	_, c := world(t, nil)
	if _, err := c.Token(t.Context(), Identity{Name: "admin"}, databases); !errors.Is(err, fault.NotFound) {
		t.Errorf("by name: %v", err)
	}
	if _, err := c.Token(t.Context(), Identity{ClientID: "00000000-0000-0000-0000-000000000002"}, databases); !errors.Is(err, fault.Denied) {
		t.Errorf("by client id: %v", err)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	env := map[string]string{"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_CLIENT_ID": cloudtest.AzureAgent, "AZURE_TENANT_ID": cloudtest.AzureTenant}
	a, c := world(t, env)
	write := func(audience string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(a.Assertion(t, audience)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("https://kubernetes.default.svc")
	if _, err := c.Token(t.Context(), Identity{Name: "orders"}, databases); !errors.Is(err, fault.Denied) {
		t.Errorf("a token for somebody else: %v", err)
	}
	write("api://AzureADTokenExchange")
	token, err := c.Token(t.Context(), Identity{Name: "orders"}, databases)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Client(token, databases); err != nil || got != cloudtest.AzureAgent {
		t.Errorf("the token is of %q, %v", got, err)
	}
	if _, err := c.Token(t.Context(), Identity{ClientID: ordersID}, databases); !errors.Is(err, fault.NotFound) {
		t.Errorf("another identity: %v", err)
	}
	env["AZURE_AUTHORITY_HOST"] = "https://login.example.com/"
	if _, err := c.Token(t.Context(), Identity{}, databases); !errors.Is(err, fault.Invalid) {
		t.Errorf("another authority: %v", err)
	}
}

// TestResourceIDs is an identity that a role names, on a machine, in App Service and
// in a pod.
func TestResourceIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	pod := map[string]string{"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_CLIENT_ID": cloudtest.AzureAgent, "AZURE_TENANT_ID": cloudtest.AzureTenant}
	service := map[string]string{"IDENTITY_HEADER": cloudtest.AzureIdentityHeader}
	for name, env := range map[string]map[string]string{"machine": {}, "service": service, "pod": pod} {
		t.Run(name, func(t *testing.T) {
			a, c := world(t, env)
			if name == "service" {
				env["IDENTITY_ENDPOINT"] = a.URL + "/msi/token"
			}
			if err := os.WriteFile(file, []byte(a.Assertion(t, "api://AzureADTokenExchange")), 0o600); err != nil {
				t.Fatal(err)
			}
			token, err := c.Token(t.Context(), Identity{ResourceID: cloudtest.AzureIdentities + "orders"}, databases)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := a.Client(token, databases); err != nil || got != ordersID {
				t.Errorf("the token is of %q, %v", got, err)
			}
			if token, err := c.Token(t.Context(), Identity{ResourceID: cloudtest.AzureIdentities + "admin"}, databases); err == nil {
				t.Errorf("a token of an identity that is not there: %q", token)
			}
		})
	}
	for _, id := range []string{"", "x", "/subscriptions/s/x", cloudtest.AzureIdentities, cloudtest.AzureIdentities + "a/b", cloudtest.AzureIdentities + "../x", cloudtest.AzureIdentities + "a?b"} {
		if err := CheckResourceID(id); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
