package sqlitekv_test

import (
	"path/filepath"
	"testing"
	"time"

	"teleport/backend"
	"teleport/backend/backendtest"
	"teleport/backend/sqlitekv"
)

func open(t *testing.T, o sqlitekv.Options) *sqlitekv.KV {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "data", "store.db")
	}
	k, err := sqlitekv.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestConformance(t *testing.T) {
	backendtest.Test(t, func(t *testing.T) backend.Backend {
		return open(t, sqlitekv.Options{
			Sync: sqlitekv.SyncNormal, Now: time.Now, History: backendtest.Retain, Deletions: backendtest.Retain,
		})
	})
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	backendtest.TestReopen(t, func(t *testing.T) backend.Backend {
		return open(t, sqlitekv.Options{Path: path})
	})
}
