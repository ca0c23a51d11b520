package chain

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"sort"
	"time"

	"teleport/fault"
)

// checkpointDomain keeps a checkpoint's signature from passing as anything else.
const checkpointDomain = "audit checkpoint v1\n"

// MaxCheckpoint bounds the body of a checkpoint in bytes.
const MaxCheckpoint = 16 << 20

// Head is how far one writer's chain reaches.
type Head struct {
	Writer
	Sequence uint64 `json:"sequence"`
	Chain    Hash   `json:"chain"`
}

// Checkpoint says what the log was at one moment. Checkpoints form one linear
// chain by Previous. Changed lists the writers that wrote since the previous
// checkpoint; Heads binds the whole list of writers, so that none can be left
// out.
type Checkpoint struct {
	Version  int       `json:"version"`
	Cluster  string    `json:"cluster"`
	Number   uint64    `json:"number"` // 1 for the first
	Time     time.Time `json:"time"`
	Block    uint64    `json:"block"` // the last block covered
	Log      Hash      `json:"log"`   // the log's chain value after it
	Writers  int       `json:"writers"`
	Heads    Hash      `json:"heads"` // HashHeads of all writers
	Changed  []Head    `json:"changed,omitempty"`
	Previous Hash      `json:"previous"` // hash of the previous checkpoint's body; zero for the first
}

// Signed is a checkpoint as it is stored and published: the very bytes that
// were signed.
type Signed struct {
	Body      []byte `json:"body"`
	Key       string `json:"key"` // KeyID of the signer
	Signature []byte `json:"signature"`
}

// Hash identifies the checkpoint in its successor.
func (s Signed) Hash() Hash { return sha256.Sum256(s.Body) }

// Open parses the body without verifying it: for one's own checkpoints, and
// after Verify.
func (s Signed) Open() (Checkpoint, error) {
	var c Checkpoint
	if len(s.Body) > MaxCheckpoint {
		return c, fault.New(fault.Limit, "checkpoint of %d bytes is too long", len(s.Body))
	}
	if err := json.Unmarshal(s.Body, &c); err != nil {
		return c, fault.Wrap(err, fault.Invalid, "checkpoint is malformed")
	}
	if c.Version != 1 {
		return c, fault.New(fault.Invalid, "checkpoint has version %d, this program reads 1", c.Version)
	}
	return c, nil
}

// KeyID names a public key: the hex SHA-256 of its bytes.
func KeyID(k ed25519.PublicKey) string { return Hash(sha256.Sum256(k)).String() }

// Sign signs a checkpoint with the log's key, an Ed25519 one.
func Sign(c Checkpoint, signer crypto.Signer) (Signed, error) {
	public, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return Signed{}, fault.New(fault.Invalid, "the audit log is signed with an Ed25519 key")
	}
	body, err := json.Marshal(c)
	if err != nil {
		return Signed{}, fault.Wrap(err, fault.Internal, "checkpoint cannot be written")
	}
	sig, err := signer.Sign(rand.Reader, append([]byte(checkpointDomain), body...), crypto.Hash(0))
	if err != nil {
		return Signed{}, fault.Wrap(err, fault.Unavailable, "the key of the audit log does not sign")
	}
	return Signed{Body: body, Key: KeyID(public), Signature: sig}, nil
}

// Verify checks the signature against the given keys and returns the
// checkpoint. It returns fault.Untrusted when none of them made it.
func (s Signed) Verify(keys []ed25519.PublicKey) (Checkpoint, error) {
	signed := append([]byte(checkpointDomain), s.Body...)
	for _, k := range keys {
		if len(k) == ed25519.PublicKeySize && KeyID(k) == s.Key && ed25519.Verify(k, signed, s.Signature) {
			return s.Open()
		}
	}
	return Checkpoint{}, fault.New(fault.Untrusted, "checkpoint is not signed by a key of this audit log")
}

// HashHeads binds a list of heads, in any order: it is sorted by writer.
func HashHeads(heads []Head) Hash {
	sorted := append([]Head(nil), heads...)
	SortHeads(sorted)
	h := sha256.New()
	h.Write([]byte("audit heads v1\n"))
	for _, x := range sorted {
		h.Write(u64(x.Generation))
		h.Write(u64(uint64(len(x.UUID))))
		h.Write([]byte(x.UUID))
		h.Write(u64(x.Sequence))
		h.Write(x.Chain[:])
	}
	return Hash(h.Sum(nil))
}

// SortHeads sorts by writer and generation.
func SortHeads(heads []Head) {
	sort.Slice(heads, func(i, j int) bool {
		if heads[i].UUID != heads[j].UUID {
			return heads[i].UUID < heads[j].UUID
		}
		return heads[i].Generation < heads[j].Generation
	})
}

// Equal reports whether two signed checkpoints are the same bytes.
func (s Signed) Equal(o Signed) bool { return bytes.Equal(s.Body, o.Body) }
