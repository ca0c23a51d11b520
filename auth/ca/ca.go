// Package ca is the certificate authority of a cluster: it makes the authorities
// at the first start, and its Issuer is the only way to a certificate, whoever
// asks. An issue goes through one order: check the request and the subject's own
// credential, decide what the certificate may say (never more than the credential,
// the account and the profile allow), lint it, record the intent in the audit log,
// sign.
package ca

import (
	"context"
	"crypto"
	"errors"
	"time"

	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore"
	"teleport/types"
	"teleport/types/event"
)

// Emitter takes audit events; an error means that the event is not recorded.
type Emitter interface {
	Emit(ctx context.Context, events ...event.Event) error
}

// Authorities is where authority documents live.
// store.Collection[*types.CertAuthority] is one.
type Authorities interface {
	GetSub(ctx context.Context, caType, cluster string) (*types.CertAuthority, error)
	Create(ctx context.Context, doc *types.CertAuthority) (*types.CertAuthority, error)
}

// purposes lists the authorities of a cluster with the keys that each has.
var purposes = []struct {
	caType        types.CAType
	ssh, tls, jwt keys.Purpose
}{
	{caType: types.CAUser, ssh: keys.UserCASSH, tls: keys.UserCATLS},
	{caType: types.CAHost, ssh: keys.HostCASSH, tls: keys.HostCATLS},
	{caType: types.CADB, tls: keys.DBCA},
	{caType: types.CADBClient, tls: keys.DBClientCA},
	{caType: types.CAOpenSSH, ssh: keys.OpenSSHCASSH},
	{caType: types.CAJWT, jwt: keys.JWTCA},
}

// Ensure returns a cluster's authorities, making those that do not exist. It may
// run at several auth processes at once: the first document written wins, keys of
// the others are never used. Each authority made is audited once.
func Ensure(ctx context.Context, docs Authorities, store keystore.Keystore, events Emitter, cluster string, suite keys.Suite, now time.Time) ([]*types.CertAuthority, error) {
	var out []*types.CertAuthority
	for _, p := range purposes {
		doc, err := docs.GetSub(ctx, string(p.caType), cluster)
		if errors.Is(err, fault.NotFound) {
			m := maker{store: store, suite: suite, cluster: cluster, now: now}
			doc, err = m.make(ctx, p.caType, p.ssh, p.tls, p.jwt)
			if err == nil {
				doc, err = create(ctx, docs, events, doc)
			}
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.KindOf(err), "the %s authority of cluster %q: %s", p.caType, cluster, fault.Message(err))
		}
		out = append(out, doc)
	}
	return out, nil
}

// create writes a new authority, or returns the one that another process wrote.
func create(ctx context.Context, docs Authorities, events Emitter, doc *types.CertAuthority) (*types.CertAuthority, error) {
	made, err := docs.Create(ctx, doc)
	if errors.Is(err, fault.AlreadyExists) {
		return docs.GetSub(ctx, string(doc.Spec.Type), doc.Spec.Cluster)
	}
	if err != nil {
		return nil, err
	}
	e, err := createdEvent(made)
	if err != nil {
		return nil, err
	}
	return made, events.Emit(ctx, e)
}

type maker struct {
	store   keystore.Keystore
	suite   keys.Suite
	cluster string
	now     time.Time
}

func (m maker) make(ctx context.Context, caType types.CAType, sshP, tlsP, jwtP keys.Purpose) (*types.CertAuthority, error) {
	doc := &types.CertAuthority{
		Header: types.Header{Kind: types.KindCertAuthority, SubKind: string(caType), Version: "v2", Metadata: types.Metadata{Name: m.cluster}},
		Spec:   types.CertAuthoritySpec{Type: caType, Cluster: m.cluster, Phase: "standby"},
	}
	k := &doc.Spec.Active
	k.CreatedAt = m.now.UTC().Truncate(time.Second)
	if sshP != "" {
		id, key, err := m.generate(ctx, sshP, k)
		if err != nil {
			return nil, err
		}
		if k.SSHPublic, err = keys.MarshalSSHPublic(key.Public()); err != nil {
			return nil, err
		}
		k.SSHKeyID = id
	}
	if tlsP != "" {
		id, key, err := m.generate(ctx, tlsP, k)
		if err != nil {
			return nil, err
		}
		pem, err := tlscert.NewAuthority(key, caType, m.cluster, m.now)
		if err != nil {
			return nil, err
		}
		k.TLSCert, k.TLSKeyID = string(pem), id
	}
	if jwtP != "" {
		id, key, err := m.generate(ctx, jwtP, k)
		if err != nil {
			return nil, err
		}
		pem, err := keys.MarshalPublic(key.Public())
		if err != nil {
			return nil, err
		}
		k.JWTPublic, k.JWTKeyID = string(pem), id
	}
	return doc, doc.Validate()
}

// generate makes a key of a purpose and notes its algorithm: of several keys, all
// algorithms that are not alike, joined by "+".
func (m maker) generate(ctx context.Context, p keys.Purpose, k *types.CAKeys) (string, crypto.Signer, error) {
	alg, err := keys.AlgorithmFor(m.suite, p)
	if err != nil {
		return "", nil, err
	}
	switch k.Algorithm {
	case "", string(alg):
		k.Algorithm = string(alg)
	default:
		k.Algorithm += "+" + string(alg)
	}
	return m.store.Generate(ctx, alg)
}
