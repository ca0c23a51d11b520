// Package chain is the form of the audit log and its proof: how an event's
// bytes become a leaf, leaves a chain per writer, the writers' runs one log, and
// the log a series of signed checkpoints. It is pure, so that anybody with an
// export and the public keys can verify, offline.
//
//	commit    = H("audit commit v1\n" ‖ len(salt) ‖ salt ‖ sensitive)
//	leaf      = H("audit leaf v1\n" ‖ commit ‖ public)
//	genesis   = H("audit writer v1\n" ‖ generation ‖ writer)
//	chain(n)  = H("audit chain v1\n" ‖ chain(n-1) ‖ n ‖ leaf(n)), n from 1, chain(0) = genesis
//	log(0)    = H("audit log v1\n" ‖ cluster)
//	log(b)    = H("audit block v1\n" ‖ log(b-1) ‖ b ‖ received ‖ runs), b from 1
//	run       = generation ‖ len(writer) ‖ writer ‖ first ‖ last ‖ chain(first-1) ‖ chain(last)
//
// H is SHA-256, integers are 8 bytes big-endian, received is Unix nanoseconds.
// A checkpoint signs log(b). As leaves hold only a salted commitment to the
// sensitive half, that half and its salt can be taken away (redaction) and all
// else still verifies.
package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"teleport/fault"
	"teleport/types/event"
)

// SaltSize is the length of a record's salt in bytes.
const SaltSize = 16

// MaxWriter bounds a writer's name in bytes.
const MaxWriter = 64

// Hash is a SHA-256 value. Its text form is lower-case hex.
type Hash [sha256.Size]byte

// String returns the text form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return fault.New(fault.Invalid, "a hash has %d hex digits", 2*len(h))
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return fault.New(fault.Invalid, "a hash has %d hex digits", 2*len(h))
	}
	return nil
}

// Writer is one life of one process: its host UUID and the generation, which
// is used once.
type Writer struct {
	UUID       string `json:"writer"`
	Generation uint64 `json:"generation"`
}

// Genesis is the chain value before a writer's first record.
func Genesis(w Writer) Hash {
	b := append([]byte("audit writer v1\n"), u64(w.Generation)...)
	return sha256.Sum256(append(b, w.UUID...))
}

// Commit binds the sensitive half of an event under its salt.
func Commit(salt, sensitive []byte) Hash {
	h := sha256.New()
	h.Write([]byte("audit commit v1\n"))
	h.Write([]byte{byte(len(salt))})
	h.Write(salt)
	h.Write(sensitive)
	var out Hash
	h.Sum(out[:0])
	return out
}

// Leaf binds an event: the commitment to its sensitive half, and its public
// bytes.
func Leaf(commit Hash, public []byte) Hash {
	h := sha256.New()
	h.Write([]byte("audit leaf v1\n"))
	h.Write(commit[:])
	h.Write(public)
	var out Hash
	h.Sum(out[:0])
	return out
}

// Next is the chain value after the record with this sequence and leaf.
func Next(prev Hash, sequence uint64, leaf Hash) Hash {
	b := make([]byte, 0, 96)
	b = append(b, "audit chain v1\n"...)
	b = append(b, prev[:]...)
	b = binary.BigEndian.AppendUint64(b, sequence)
	return sha256.Sum256(append(b, leaf[:]...))
}

// Record is one event in its writer's chain.
type Record struct {
	Sequence uint64 // 1 for a writer's first
	Event    []byte // event.Encoded.Bytes, hashed as they are
	Salt     []byte // SaltSize random bytes
	Chain    Hash   // after this record
}

// Batch is a run of one writer's records in sequence.
type Batch struct {
	Writer
	Previous Hash // chain value before the first record
	Records  []Record
}

// First returns the sequence of the first record, 0 for an empty batch.
func (b Batch) First() uint64 {
	if len(b.Records) == 0 {
		return 0
	}
	return b.Records[0].Sequence
}

// Last returns the sequence of the last record, 0 for an empty batch.
func (b Batch) Last() uint64 {
	if len(b.Records) == 0 {
		return 0
	}
	return b.Records[len(b.Records)-1].Sequence
}

// Head returns the chain value after the last record.
func (b Batch) Head() Hash {
	if len(b.Records) == 0 {
		return b.Previous
	}
	return b.Records[len(b.Records)-1].Chain
}

// Check recomputes the whole batch: sequences without a hole, event bytes that
// are two JSON objects, every chain value. It returns the parsed events, or
// fault.Invalid with the sequence that is wrong.
func (b Batch) Check() ([]event.Encoded, error) {
	if b.UUID == "" || len(b.UUID) > MaxWriter || len(b.Records) == 0 {
		return nil, fault.New(fault.Invalid, "audit batch without a writer or without records")
	}
	first := b.First()
	if first == 0 || first+uint64(len(b.Records)) < first || (first == 1 && b.Previous != Genesis(b.Writer)) {
		return nil, fault.New(fault.Invalid, "audit batch does not start where its writer's chain does")
	}
	events := make([]event.Encoded, len(b.Records))
	prev := b.Previous
	for i, r := range b.Records {
		if r.Sequence != first+uint64(i) {
			return nil, fault.New(fault.Invalid, "audit record %d follows %d", r.Sequence, first+uint64(i)-1)
		}
		if len(r.Salt) != SaltSize {
			return nil, fault.New(fault.Invalid, "audit record %d has no proper salt", r.Sequence)
		}
		e, err := event.ParseEncoded(r.Event)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "audit record %d is malformed", r.Sequence)
		}
		prev = Next(prev, r.Sequence, Leaf(Commit(r.Salt, e.Sensitive), e.Public))
		if prev != r.Chain {
			return nil, fault.New(fault.Invalid, "audit record %d does not match its chain value", r.Sequence)
		}
		events[i] = e
	}
	return events, nil
}

// After returns the part of the batch behind a sequence; its Previous is the
// chain value of that sequence.
func (b Batch) After(sequence uint64) Batch {
	for len(b.Records) > 0 && b.Records[0].Sequence <= sequence {
		b.Previous = b.Records[0].Chain
		b.Records = b.Records[1:]
	}
	return b
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
