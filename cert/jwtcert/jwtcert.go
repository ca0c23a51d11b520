// Package jwtcert signs and verifies the tokens of a cluster's jwt authority:
// what is added to requests for protected web applications, and the key set that
// those applications fetch to check it (RFC 7515, 7517, 7519). Time is passed in.
package jwtcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
)

// MaxTTL is the longest life of a token.
const MaxTTL = 30 * time.Hour

// maxToken bounds a token that Verify looks at, in bytes.
const maxToken = 32 << 10

// Claims is what a token says.
type Claims struct {
	Issuer   string // cluster name
	Subject  string // user name
	Audience string // the one receiver
	Roles    []string
	Traits   map[string][]string
	IssuedAt time.Time
	Expires  time.Time
}

type wireClaims struct {
	jwt.Claims
	Username string              `json:"username"`
	Roles    []string            `json:"roles,omitempty"`
	Traits   map[string][]string `json:"traits,omitempty"`
}

// algorithmOf picks the signature algorithm that belongs to a key.
func algorithmOf(pub crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	if err := keys.CheckPublic(pub); err != nil {
		return "", err
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return jose.ES384, nil
		}
		return jose.ES256, nil
	case *rsa.PublicKey:
		return jose.RS256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", fault.New(fault.Invalid, "a key of type %T signs no tokens", pub)
}

// KeyID names a public key in tokens and key sets: its RFC 7638 thumbprint.
func KeyID(pub crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "the key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// Sign makes a compact token. Issuer, subject, audience and both times must be set
// and the life be within MaxTTL.
func Sign(c Claims, key crypto.Signer) (string, error) {
	life := c.Expires.Sub(c.IssuedAt)
	if c.Issuer == "" || c.Subject == "" || c.Audience == "" || c.IssuedAt.IsZero() || life <= 0 || life > MaxTTL {
		return "", fault.New(fault.Invalid, "a token names issuer, subject and audience and lives for at most %s", MaxTTL)
	}
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return "", err
	}
	kid, err := KeyID(key.Public())
	if err != nil {
		return "", err
	}
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(key)}, opts)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the jwt authority cannot sign")
	}
	token, err := jwt.Signed(signer).Claims(wireClaims{
		Claims: jwt.Claims{
			Issuer: c.Issuer, Subject: c.Subject, Audience: jwt.Audience{c.Audience},
			IssuedAt: jwt.NewNumericDate(c.IssuedAt), NotBefore: jwt.NewNumericDate(c.IssuedAt.Add(-cert.ClockSkew)),
			Expiry: jwt.NewNumericDate(c.Expires),
		},
		Username: c.Subject, Roles: c.Roles, Traits: c.Traits,
	}).Serialize()
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the jwt authority did not sign")
	}
	return token, nil
}

// Verify checks a token of a cluster for one audience. The algorithm must be the
// one of the key that the token names: the token does not choose.
func Verify(token string, trust *cert.Trust, cluster, audience string, now time.Time) (Claims, error) {
	refused := fault.New(fault.Untrusted, "the token is not one of cluster %q for %q", cluster, audience)
	if len(token) > maxToken || audience == "" || cluster == "" {
		return Claims{}, refused
	}
	for _, pub := range trust.JWTKeys(cluster) {
		alg, err := algorithmOf(pub)
		if err != nil {
			return Claims{}, err
		}
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{alg})
		if err != nil {
			continue
		}
		var w wireClaims
		if parsed.Claims(pub, &w) != nil {
			continue
		}
		return checkClaims(w, cluster, audience, now, refused)
	}
	return Claims{}, refused
}

func checkClaims(w wireClaims, cluster, audience string, now time.Time, refused error) (Claims, error) {
	if w.Expiry == nil || w.IssuedAt == nil || w.NotBefore == nil || len(w.Audience) != 1 || w.Subject == "" || w.Username != w.Subject {
		return Claims{}, refused
	}
	if w.Issuer != cluster || w.Audience[0] != audience {
		return Claims{}, refused
	}
	if err := cert.CheckTime(w.NotBefore.Time(), w.Expiry.Time(), now); err != nil {
		return Claims{}, err
	}
	return Claims{
		Issuer: w.Issuer, Subject: w.Subject, Audience: audience, Roles: w.Roles, Traits: w.Traits,
		IssuedAt: w.IssuedAt.Time().UTC(), Expires: w.Expiry.Time().UTC(),
	}, nil
}

// KeySet writes the public keys of a cluster as a JSON Web Key Set.
func KeySet(trust *cert.Trust, cluster string) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, pub := range trust.JWTKeys(cluster) {
		alg, err := algorithmOf(pub)
		if err != nil {
			return nil, err
		}
		kid, err := KeyID(pub)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: pub, KeyID: kid, Algorithm: string(alg), Use: "sig"})
	}
	return json.Marshal(set)
}
