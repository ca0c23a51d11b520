package authserver

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/healthcheck"
	"teleport/join/tokenjoin"
	"teleport/store"
	"teleport/types"
)

// bootstrap makes what a cluster cannot be without. It may run again, and at
// several auth services at once; the document of the cluster's name is written
// last, so that an interrupted first start is taken up again.
func bootstrap(ctx context.Context, c *Config, st *store.Store) (cluster string, authorities []*types.CertAuthority, err error) {
	names := store.Of[*types.ClusterName](st)
	cluster, first, err := clusterName(ctx, c, names)
	if err != nil {
		return "", nil, err
	}
	if first {
		for _, role := range access.Presets() {
			if err := createOnce(ctx, st, role); err != nil {
				return "", nil, err
			}
		}
		if err := createOnce(ctx, st, healthcheck.Default()); err != nil {
			return "", nil, err
		}
	}
	if err := settings(ctx, c, st); err != nil {
		return "", nil, err
	}
	authorities, err = ca.Ensure(ctx, store.Of[*types.CertAuthority](st), c.Keystore, c.Events, cluster, c.Suite, c.Now())
	if err != nil {
		return "", nil, err
	}
	if err := staticTokens(ctx, c, st); err != nil {
		return "", nil, err
	}
	if first {
		doc := &types.ClusterName{Header: types.Header{Kind: types.KindClusterName, Version: "v2",
			Metadata: types.Metadata{Name: "cluster-name"}}}
		doc.Spec.ClusterName, doc.Spec.ClusterID = cluster, uuid.NewString()
		if _, err := names.Create(ctx, doc); err != nil && !errors.Is(err, fault.AlreadyExists) {
			return "", nil, err
		}
		// Another auth service may have been first, under another name.
		cluster, _, err = clusterName(ctx, c, names)
	}
	return cluster, authorities, err
}

// clusterName returns the name fixed at the first start, or the one to fix now.
func clusterName(ctx context.Context, c *Config, names store.Collection[*types.ClusterName]) (name string, first bool, err error) {
	doc, err := names.Get(ctx, "")
	if errors.Is(err, fault.NotFound) {
		name = c.ClusterName
		if name == "" {
			name = c.Hostname
		}
		return name, true, types.CheckHostname(name)
	}
	if err != nil {
		return "", false, err
	}
	name = doc.Spec.ClusterName
	if c.ClusterName != "" && c.ClusterName != name {
		return "", false, fault.New(fault.Invalid, "this cluster is called %q since its first start; the configuration calls it %q", name, c.ClusterName).
			WithHint("set cluster_name to %q, or start a new cluster with an empty data directory", name)
	}
	return name, false, nil
}

// settings writes the configured singletons, and defaults for those that are
// missing.
func settings(ctx context.Context, c *Config, st *store.Store) error {
	configured := map[string]bool{}
	for _, doc := range c.Settings {
		h := doc.Head()
		configured[h.Kind] = true
		if r, ok := doc.(*types.RecordingConfig); ok {
			r.Status.EncryptionKeys = c.recordingKeys
		}
		mark(h, types.OriginFile)
		h.Metadata.Revision = ""
		if _, err := st.Put(ctx, store.Upsert, doc); err != nil {
			return fault.Wrap(err, fault.KindOf(err), "the configured %s: %s", h.Kind, fault.Message(err))
		}
	}
	for _, doc := range []types.Resource{
		&types.AuthPreference{Header: singleton(types.KindAuthPreference, "cluster-auth-preference")},
		&types.NetworkingConfig{Header: singleton(types.KindNetworkingConfig, "cluster-networking-config")},
		&types.RecordingConfig{Header: singleton(types.KindRecordingConfig, "session-recording-config"),
			Status: types.RecordingConfigStatus{EncryptionKeys: c.recordingKeys}},
	} {
		if configured[doc.Head().Kind] {
			continue
		}
		mark(doc.Head(), "defaults")
		if err := createOnce(ctx, st, doc); err != nil {
			return err
		}
		if err := unfix(ctx, st, doc.Head().Kind); err != nil {
			return err
		}
	}
	return publishKeys(ctx, c.recordingKeys, st)
}

// publishKeys names the newest recording key in settings that do not name it yet.
func publishKeys(ctx context.Context, keys []types.RecordingPublicKey, st *store.Store) error {
	docs := store.Of[*types.RecordingConfig](st)
	for {
		doc, err := docs.Get(ctx, "")
		if err != nil || slices.Equal(doc.Status.EncryptionKeys, keys) {
			return err
		}
		doc.Status.EncryptionKeys = keys
		if _, err = docs.Update(ctx, doc); !errors.Is(err, fault.Conflict) {
			return err
		}
	}
}

// unfix gives settings that the file no longer fixes back to the API, with the
// values that they have.
func unfix(ctx context.Context, st *store.Store, kind string) error {
	doc, err := st.GetAny(ctx, kind, "", "")
	if err != nil {
		return err
	}
	if doc.Resource == nil || doc.Resource.Head().Metadata.Labels[types.OriginLabel] != types.OriginFile {
		return nil
	}
	mark(doc.Resource.Head(), "dynamic")
	_, err = st.Put(ctx, store.Update, doc.Resource)
	return err
}

func singleton(kind, name string) types.Header {
	return types.Header{Kind: kind, Version: "v2", Metadata: types.Metadata{Name: name}}
}

func mark(h *types.Header, origin string) {
	labels := map[string]string{types.OriginLabel: origin}
	for k, v := range h.Metadata.Labels {
		if k != types.OriginLabel {
			labels[k] = v
		}
	}
	h.Metadata.Labels = labels
}

func createOnce(ctx context.Context, st *store.Store, doc types.Resource) error {
	_, err := st.Put(ctx, store.Create, doc)
	if errors.Is(err, fault.AlreadyExists) {
		return nil
	}
	return err
}

// staticTokens makes the stored static tokens those of the configuration.
func staticTokens(ctx context.Context, c *Config, st *store.Store) error {
	tokens := store.Of[*types.Token](st)
	var keep []string
	for _, s := range c.StaticTokens {
		doc, err := tokenjoin.NewToken(s.Secret, tokenjoin.Options{Roles: s.Roles, Static: true})
		if err != nil {
			return fault.Wrap(err, fault.KindOf(err), "a static join token of the configuration: %s", fault.Message(err))
		}
		keep = append(keep, doc.Metadata.Name)
		if _, err := tokens.Upsert(ctx, doc); err != nil {
			return err
		}
	}
	all, err := tokens.All(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if !t.Spec.Static || slices.Contains(keep, t.Metadata.Name) {
			continue
		}
		if err := tokens.Delete(ctx, t.Metadata.Name, ""); err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
