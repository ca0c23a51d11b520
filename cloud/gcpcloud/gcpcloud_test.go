package gcpcloud

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"teleport/cloud/cloudtest"
	"teleport/fault"
)

const database = "orders@project-1.iam.gserviceaccount.com"

func world(t *testing.T) (*cloudtest.Google, *Cloud) {
	t.Helper()
	g := cloudtest.NewGoogle(t)
	g.Grant(cloudtest.GoogleAgent, database)
	t.Setenv("HOME", t.TempDir()) // with nobody's own credentials
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("GCE_METADATA_HOST", g.MetadataHost())
	c := New(Options{Endpoint: g.URL})
	t.Cleanup(c.Wait)
	return g, c
}

func TestTokenOfAnAccount(t *testing.T) {
	for _, from := range []string{"instance", "key file"} {
		t.Run(from, func(t *testing.T) {
			g, c := world(t)
			if from == "key file" {
				file := filepath.Join(t.TempDir(), "key.json")
				if err := os.WriteFile(file, g.KeyFile(t), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
				t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
			}
			for range 3 {
				token, err := c.Token(t.Context(), database, ScopeSQLLogin)
				if err != nil {
					t.Fatal(err)
				}
				if who := g.Account(token, ScopeSQLLogin); who != database {
					t.Errorf("the token is of %q", who)
				}
				if who := g.Account(token, ScopePlatform); who != "" {
					t.Error("the token may do more than log in")
				}
			}
			if g.Made() != 1 {
				t.Errorf("%d tokens were made", g.Made())
			}
		})
	}
}

func TestAccountsThatMayNotBeImpersonated(t *testing.T) {
	g, c := world(t)
	_, err := c.Token(t.Context(), "admin@project-1.iam.gserviceaccount.com", ScopeSQLLogin)
	if !errors.Is(err, fault.Denied) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "orders", "orders@project-1.iam", "orders@example.com", "a/../b@p.iam.gserviceaccount.com", "a@b@p.iam.gserviceaccount.com",
		"a%2f@p.iam.gserviceaccount.com", "a?b@p.iam.gserviceaccount.com", "A@p.iam.gserviceaccount.com"} {
		if _, err := c.Token(t.Context(), bad, ScopeSQLLogin); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if g.Made() != 0 {
		t.Error("a token was made")
	}
}
