package authapi

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"connectrpc.com/connect"

	"teleport/api/gen/resourcev1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Put writes one document.
func (s resourceService) Put(ctx context.Context, req *connect.Request[resourcev1.PutRequest]) (*connect.Response[resourcev1.PutResponse], error) {
	c := rpc.CallerFrom(ctx)
	doc, err := s.a.d.Store.Decode(ctx, req.Msg.Document)
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(doc.Head().Kind)
	if err != nil {
		return nil, err
	}
	h := doc.Head()
	old, err := s.a.existing(ctx, kind.Name, h.SubKind, h.Metadata.Name)
	if err != nil {
		return nil, err
	}
	mode, verb, err := putMode(req.Msg.Mode, old)
	if err != nil {
		return nil, err
	}
	if err := s.a.mayWrite(ctx, c, kind, verb, old, doc); err != nil {
		return nil, err
	}
	stored, err := s.a.write(ctx, c, mode, old, doc)
	if err != nil {
		return nil, err
	}
	if err := s.a.emit(ctx, changeEvent(c, old, stored)); err != nil {
		return nil, err
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the document cannot be encoded")
	}
	return connect.NewResponse(&resourcev1.PutResponse{Document: b}), nil
}

// existing returns the document of that name, nil when there is none.
func (a *API) existing(ctx context.Context, kind, subKind, name string) (types.Resource, error) {
	doc, err := a.d.Store.GetAny(ctx, kind, subKind, name)
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readable(kind, subKind, name, doc), nil
}

// readable is a document as decisions and events see it: of one that this
// version cannot read, no more than its name.
func readable(kind, subKind, name string, doc store.Document) types.Resource {
	if doc.Resource != nil {
		return doc.Resource
	}
	for _, k := range types.Kinds() {
		if k.Name == kind {
			r := k.New()
			*r.Head() = types.Header{Kind: kind, SubKind: subKind, Metadata: types.Metadata{Name: name}}
			return r
		}
	}
	return nil
}

// putMode translates a mode, and names the verb that it takes: what an upsert
// does depends on whether there is a document.
func putMode(m resourcev1.PutMode, old types.Resource) (store.Mode, string, error) {
	switch m {
	case resourcev1.PutMode_PUT_MODE_CREATE:
		return store.Create, "create", nil
	case resourcev1.PutMode_PUT_MODE_UPDATE:
		return store.Update, "update", nil
	case resourcev1.PutMode_PUT_MODE_UPSERT:
		if old == nil {
			return store.Upsert, "create", nil
		}
		return store.Upsert, "update", nil
	}
	return 0, "", fault.New(fault.Invalid, "say whether to create, upsert or update")
}

// mayWrite decides a write. A where clause must hold for the document as it is
// and as it will be.
func (a *API) mayWrite(ctx context.Context, c rpc.Caller, kind types.KindInfo, verb string, old, doc types.Resource) error {
	if kind.ReadOnly {
		return fault.New(fault.Denied, "documents of the kind %s are written by the cluster itself", kind.Name)
	}
	if kind.Name == types.KindToken {
		return a.mayWriteToken(ctx, c, verb, old, doc)
	}
	if err := a.rule(ctx, c, kind.Name, verb, doc); err != nil {
		return err
	}
	if old != nil {
		if err := a.rule(ctx, c, kind.Name, verb, old); err != nil {
			return err
		}
	}
	if err := mayWriteSettings(kind.Name, old, doc); err != nil {
		return err
	}
	if r, ok := doc.(*types.RecordingConfig); ok {
		return a.mayWriteStatus(r)
	}
	if u, ok := doc.(*types.User); ok {
		had, _ := old.(*types.User)
		return a.mayGrant(c, u, had)
	}
	return nil
}

// mayWriteSettings keeps what the configuration file of the auth service fixes: a
// change would hold until its next start, and then be gone. That a document comes
// from the file is for the auth service to say.
func mayWriteSettings(kind string, old, doc types.Resource) error {
	switch kind {
	case types.KindAuthPreference, types.KindNetworkingConfig, types.KindRecordingConfig:
	default:
		return nil
	}
	if old != nil && old.Head().Metadata.Labels[types.OriginLabel] == types.OriginFile {
		return fault.New(fault.Denied, "the %s is set in the configuration file of the auth service", kind).
			WithHint("change auth_service in that file and restart the auth service")
	}
	if doc.Head().Metadata.Labels[types.OriginLabel] == types.OriginFile {
		return fault.New(fault.Denied, "the label %s=%s is for the auth service to set", types.OriginLabel, types.OriginFile).
			WithHint("leave the label out")
	}
	return nil
}

// mayWriteStatus keeps the recording keys of the cluster: whoever could publish
// another key could read what is recorded from then on. A document may come back
// as it was read.
func (a *API) mayWriteStatus(r *types.RecordingConfig) error {
	if keys := r.Status.EncryptionKeys; len(keys) > 0 && !slices.Equal(keys, a.d.RecordingKeys.Published()) {
		return fault.New(fault.Denied, "status.encryption_keys is for the auth service to set").WithHint("leave status out")
	}
	return nil
}

// mayWriteToken lets a join token be edited, not made: its secret is made, and
// shown once, by CreateToken.
func (a *API) mayWriteToken(ctx context.Context, c rpc.Caller, verb string, old, doc types.Resource) error {
	if err := a.rule(ctx, c, types.KindToken, verb, doc); err != nil {
		return err
	}
	if t, ok := doc.(*types.Token); ok && old == nil && t.Spec.JoinMethod == "token" {
		return fault.New(fault.Invalid, "a join token is made with: tctl tokens add").
			WithHint("a document holds only the hash of the token's secret")
	}
	if t, ok := doc.(*types.Token); ok {
		return a.mayAdmit(c, t)
	}
	return nil
}

// mayGrant keeps people from giving roles or traits that they do not have
// themselves: that is for those who may write roles.
func (a *API) mayGrant(c rpc.Caller, u, had *types.User) error {
	if a.may(c, types.KindRole, "update", nil) {
		return nil
	}
	id := c.Identity
	for _, r := range u.Spec.Roles {
		if !slices.Contains(id.Authority.Roles, r) && (had == nil || !slices.Contains(had.Spec.Roles, r)) {
			return beyond("the role " + r)
		}
	}
	for k, values := range u.Spec.Traits {
		for _, v := range values {
			if !slices.Contains(id.Authority.Traits[k], v) && (had == nil || !slices.Contains(had.Spec.Traits[k], v)) {
				return beyond("the trait " + k)
			}
		}
	}
	return nil
}

// mayAdmit keeps tokens for auth and proxy processes, which see everything, to
// those who may write roles.
func (a *API) mayAdmit(c rpc.Caller, t *types.Token) error {
	if a.may(c, types.KindRole, "update", nil) {
		return nil
	}
	for _, r := range t.Spec.Roles {
		if r == types.RoleAuth || r == types.RoleProxy || r == types.RoleAdmin {
			return beyond("joining as " + string(r))
		}
	}
	return nil
}

func beyond(what string) error {
	return fault.New(fault.Denied, "you may not grant %s: you do not have it yourself", what).
		WithHint("somebody with the right to update roles (preset role editor) can")
}

// write stores a document, and with a user the epoch that tells agents of it.
func (a *API) write(ctx context.Context, c rpc.Caller, mode store.Mode, old, doc types.Resource) (types.Resource, error) {
	if r, ok := doc.(*types.RecordingConfig); ok {
		r.Status.EncryptionKeys = a.d.RecordingKeys.Published()
	}
	u, ok := doc.(*types.User)
	if !ok {
		return a.d.Store.Put(ctx, mode, doc)
	}
	had, _ := old.(*types.User)
	return a.writeUser(ctx, c, mode, had, u)
}

// Delete removes one document.
func (s resourceService) Delete(ctx context.Context, req *connect.Request[resourcev1.DeleteRequest]) (*connect.Response[resourcev1.DeleteResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	kind, err := kindOf(m.Kind)
	if err != nil {
		return nil, err
	}
	// A lookup that failed says nothing to somebody who may not delete.
	old, err := s.a.existing(ctx, kind.Name, m.SubKind, m.Name)
	if denied := s.a.rule(ctx, c, kind.Name, "delete", old); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, fault.New(fault.NotFound, "there is no %s called %q", kind.Name, shownName(kind.Name, m.Name))
	}
	if err := s.a.deletable(ctx, kind, m.Name); err != nil {
		return nil, err
	}
	switch kind.Name {
	case types.KindUser:
		err = s.a.deleteUser(ctx, m.Name, m.Revision)
	case types.KindRecordingConfig:
		err = s.a.resetRecording(ctx, old.Head(), m.Revision)
	default:
		err = s.a.d.Store.Delete(ctx, kind.Name, m.SubKind, m.Name, m.Revision)
	}
	if err != nil {
		return nil, err
	}
	if err := s.a.emit(ctx, deleteEvent(c, old)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&resourcev1.DeleteResponse{}), nil
}

// resetRecording is what deleting the recording settings means: they go back to
// their defaults. The keys that they publish stay, as recorders wait for them.
func (a *API) resetRecording(ctx context.Context, old *types.Header, revision string) error {
	doc := &types.RecordingConfig{Header: *old}
	doc.Metadata = types.Metadata{Name: old.Metadata.Name, Revision: revision}
	doc.Status.EncryptionKeys = a.d.RecordingKeys.Published()
	mode := store.Upsert
	if revision != "" {
		mode = store.Update
	}
	_, err := a.d.Store.Put(ctx, mode, doc)
	return err
}

// deletable refuses what the cluster cannot be without.
func (a *API) deletable(ctx context.Context, kind types.KindInfo, name string) error {
	switch kind.Name {
	case types.KindCertAuthority, types.KindClusterName, types.KindUserEpoch, types.KindCheckpoint, types.KindAuthServer:
		return fault.New(fault.Denied, "documents of the kind %s are kept by the cluster itself", kind.Name)
	case types.KindRole:
		users, err := a.users.All(ctx)
		if err != nil {
			return err
		}
		for _, u := range users {
			if slices.Contains(u.Spec.Roles, name) {
				return fault.New(fault.Conflict, "the role %q is in use by the user %q", name, u.Metadata.Name).
					WithHint("take it from its users first: tctl users update")
			}
		}
	}
	return nil
}
