// Package join admits processes to a cluster: a method is a folder with both
// halves, prove (the process that joins) and verify (the auth service). What holds
// for every method stands here once: the token resource, its expiry, uses, roles
// and scope, and the audit event of every attempt. Which methods a binary knows is
// the list that it passes to NewGate.
package join

import (
	"context"
	"time"

	"teleport/types"
)

// Prover is a method's half in the process that joins.
type Prover interface {
	// Name is the method as tokens and configurations spell it.
	Name() string
	// Prove makes the proof that is sent beside the token's name. Methods whose
	// token name is the proof return nil.
	Prove(ctx context.Context, p ProveRequest) ([]byte, error)
}

// ProveRequest is what a proof is made from.
type ProveRequest struct {
	Token     types.Secret
	Challenge []byte // what the auth service answered to Challenge, where the method asks for one
}

// Method is the whole of a join method.
type Method interface {
	Prover
	// TokenName turns what the process sent as token into the name under which
	// the token resource is stored.
	TokenName(sent types.Secret) (string, error)
	// Secret tells that the token's name as sent is a secret, to be masked.
	Secret() bool
	// Verify checks the proof against the token's rules. Expiry, uses, method and
	// roles were checked before.
	Verify(ctx context.Context, v VerifyRequest) (Claims, error)
}

// VerifyRequest is one attempt to join.
type VerifyRequest struct {
	Token     *types.Token
	Sent      types.Secret
	Proof     []byte
	Challenge []byte
	Now       time.Time
}

// Claims is what a method found to be true of the process.
type Claims struct {
	// Renewable certificates renew with themselves; others join again.
	Renewable bool
	// HostID fixes the host's UUID where the method knows one; "" leaves it free.
	HostID string
	// Attributes go into the audit event: what was proven, never a secret.
	Attributes map[string]string
}
