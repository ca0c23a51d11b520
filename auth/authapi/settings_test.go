package authapi_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"teleport/api/authclient"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// What the configuration file fixes, the API does not change, and nobody but the
// auth service says that something comes from the file.
func TestSettingsOfTheFileAreNotChanged(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	ref := authclient.Ref{Kind: types.KindNetworkingConfig}
	n, err := authclient.Get[types.NetworkingConfig](t.Context(), admin, ref)
	must(t, err)
	n.Spec.WebIdleTimeout = types.Duration(time.Minute)
	n, err = authclient.Put(t.Context(), admin, authclient.Update, n)
	must(t, err) // it is not the file's
	n.Metadata.Labels = map[string]string{types.OriginLabel: types.OriginFile}
	if _, err := authclient.Put(t.Context(), admin, authclient.Update, n); !errors.Is(err, fault.Denied) {
		t.Errorf("a label that is not the caller's to set: %v", err)
	}
	_, err = store.Of[*types.NetworkingConfig](w.server.Store()).Upsert(t.Context(), n)
	must(t, err)
	n, err = authclient.Get[types.NetworkingConfig](t.Context(), admin, ref)
	must(t, err)
	for name, labels := range map[string]map[string]string{"as it is": n.Metadata.Labels, "without the label": nil} {
		n.Spec.WebIdleTimeout, n.Metadata.Labels = types.Duration(time.Hour), labels
		for _, mode := range []authclient.PutMode{authclient.Update, authclient.Upsert} {
			if _, err := authclient.Put(t.Context(), admin, mode, n); !errors.Is(err, fault.Denied) || !strings.Contains(fault.Message(err), "configuration file") {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
		}
	}
}
