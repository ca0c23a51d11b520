// Package tokenjoin is the join method "token": whoever knows the secret may join.
// Ephemeral tokens are made with an expiry; static ones stand in the auth service's
// configuration. The cluster stores only the hash of a secret, as the name of the
// token resource, so that neither the store nor the time of a lookup tells it.
package tokenjoin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"teleport/fault"
	"teleport/join"
	"teleport/types"
)

// Name of the method.
const Name = "token"

// Bounds of a secret, in characters. The lower one keeps tokens that an
// administrator made up out of reach of guessing.
const (
	MinSecret = 16
	MaxSecret = 512
)

// DefaultTTL is how long a token lives that was made without a TTL.
const DefaultTTL = 30 * time.Minute

// Method is the join method; its zero value is ready.
type Method struct{}

var _ join.Method = Method{}

// Name implements join.Prover.
func (Method) Name() string { return Name }

// Prove implements join.Prover: the token's name is the proof.
func (Method) Prove(context.Context, join.ProveRequest) ([]byte, error) { return nil, nil }

// Secret implements join.Method.
func (Method) Secret() bool { return true }

// TokenName implements join.Method: the hex SHA-256 of the secret.
func (Method) TokenName(sent types.Secret) (string, error) {
	if err := CheckSecret(sent); err != nil {
		return "", err
	}
	return hashName(sent), nil
}

// Verify implements join.Method. The lookup was by hash; comparing the whole hash
// again, in constant time, keeps that true whatever the store did.
func (Method) Verify(_ context.Context, v join.VerifyRequest) (join.Claims, error) {
	if subtle.ConstantTimeCompare([]byte(hashName(v.Sent)), []byte(v.Token.Metadata.Name)) != 1 {
		return join.Claims{}, fault.New(fault.Denied, "the join token is not valid")
	}
	return join.Claims{Renewable: true}, nil
}

// CheckSecret refuses secrets that are too short to be safe or too long to be one.
func CheckSecret(secret types.Secret) error {
	switch n := len(secret.Reveal()); {
	case n == 0:
		return fault.New(fault.Invalid, "no join token given").
			WithHint("make one with: tctl tokens add --type=node, and set teleport.join_params.token_name")
	case n < MinSecret:
		return fault.New(fault.Invalid, "a join token has at least %d characters, this one has %d", MinSecret, n).
			WithHint("make one with: openssl rand -hex 16")
	case n > MaxSecret:
		return fault.New(fault.Invalid, "a join token has at most %d characters", MaxSecret)
	}
	return nil
}

// hashName is the name under which a secret's token resource is stored.
func hashName(secret types.Secret) string {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	return hex.EncodeToString(sum[:])
}

// NewSecret makes the secret of a new token: 128 random bits in hex.
func NewSecret() (types.Secret, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return types.Secret{}, err
	}
	return types.NewSecret(hex.EncodeToString(b)), nil
}

// Options of a new token resource.
type Options struct {
	Roles   []types.SystemRole
	Expires time.Time // zero: never, for static tokens only
	MaxUses int       // 0: any number until expiry
	Scope   *types.JoinScope
	Labels  map[string][]string // suggested to whoever joins
	Static  bool
}

// NewToken makes the resource of a secret: it holds the hash, never the secret.
func NewToken(secret types.Secret, o Options) (*types.Token, error) {
	if err := CheckSecret(secret); err != nil {
		return nil, err
	}
	if o.Expires.IsZero() != o.Static {
		return nil, fault.New(fault.Invalid, "a join token expires, unless it is a static one")
	}
	t := &types.Token{Header: types.Header{Kind: types.KindToken, Version: "v2", Metadata: types.Metadata{Name: hashName(secret)}}}
	if !o.Expires.IsZero() {
		at := o.Expires.UTC()
		t.Metadata.Expires = &at
	}
	t.Spec = types.TokenSpec{
		Roles: o.Roles, JoinMethod: Name, SuggestedLabels: o.Labels, Scope: o.Scope,
		Prefix: t.Metadata.Name[:join.PrefixLen], MaxUses: o.MaxUses, Static: o.Static,
	}
	return t, t.Validate()
}
