package assembly

import (
	"context"
	"crypto"
	"errors"

	"teleport/audit/chain"
	"teleport/backend"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore"
	"teleport/store"
	"teleport/types"
)

// witness publishes checkpoints as the one document that every replica holds.
type witness struct {
	docs store.Collection[*types.AuditCheckpoint]
}

// headName is the document's name: only the newest checkpoint is published.
const headName = "head"

func (w witness) published(ctx context.Context) (*chain.Signed, error) {
	doc, err := w.docs.Get(ctx, headName)
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &chain.Signed{Body: doc.Spec.Body, Key: doc.Spec.KeyID, Signature: doc.Spec.Signature}, nil
}

// publish replaces the published checkpoint by its successor and by nothing else.
func (w witness) publish(ctx context.Context, s chain.Signed) error {
	c, err := s.Open()
	if err != nil {
		return err
	}
	doc := &types.AuditCheckpoint{Header: types.Header{Kind: types.KindCheckpoint, Version: "v1", Metadata: types.Metadata{Name: headName}},
		Spec: types.AuditCheckpointSpec{Number: c.Number, Time: c.Time, Previous: c.Previous.String(), Body: s.Body, Signature: s.Signature, KeyID: s.Key}}
	old, err := w.docs.Get(ctx, headName)
	switch {
	case errors.Is(err, fault.NotFound):
		_, err = w.docs.Create(ctx, doc)
		return err
	case err != nil:
		return err
	case old.Spec.Number >= c.Number:
		return fault.New(fault.Conflict, "checkpoint %d is already published", old.Spec.Number)
	}
	doc.Metadata.Revision = old.Metadata.Revision
	_, err = w.docs.Update(ctx, doc)
	return err
}

// logKeyPath is where the backend names the audit log's signing key.
const logKeyPath = "/audit/signing-key"

// logSigner returns the Ed25519 key of the audit log, made at the first start.
func logSigner(ctx context.Context, b backend.Backend, ks keystore.Keystore) (crypto.Signer, error) {
	for range 2 {
		item, err := b.Get(ctx, logKeyPath)
		if err == nil {
			return ks.Signer(ctx, string(item.Value))
		}
		if !errors.Is(err, fault.NotFound) {
			return nil, err
		}
		id, signer, err := ks.Generate(ctx, keys.Ed25519)
		if err != nil {
			return nil, err
		}
		_, err = b.Apply(ctx, backend.Op{Type: backend.OpCreate, Item: backend.Item{Key: logKeyPath, Value: []byte(id)}})
		if err == nil {
			return signer, nil
		}
		if !errors.Is(err, fault.AlreadyExists) {
			return nil, err
		}
	}
	return nil, fault.New(fault.Internal, "the audit log has no signing key")
}
