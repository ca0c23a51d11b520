package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"teleport/fault"
	"teleport/types"
)

// Bounds of what is typed. Longer input never reaches a hash.
const (
	minPassword = 12 // characters
	maxPassword = 256
	maxUser     = 255
	maxOTP      = 16
)

// Argon2id as the cost of one guess: 19 MiB and two passes (RFC 9106; the
// smaller of the two settings that OWASP names). At most two run at once, and
// only a few wait, so that guessing costs this process 38 MiB and no more.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
	maxHashing   = 2
	maxWaiting   = 32
)

// hasher computes password hashes within the budget.
type hasher struct {
	time, memory uint32 // cost of new hashes: passes, KiB

	running chan struct{}
	waiting chan struct{}
	dummy   *types.PasswordHash // what unknown users are checked against
}

func newHasher(time, memory uint32) *hasher {
	h := &hasher{time: time, memory: memory, running: make(chan struct{}, maxHashing), waiting: make(chan struct{}, maxHashing+maxWaiting)}
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails
	h.dummy = &types.PasswordHash{Algorithm: "argon2id", Time: time, MemoryKiB: memory, Threads: argonThreads,
		Salt: salt, Hash: types.NewSecret(base64.StdEncoding.EncodeToString(make([]byte, argonKey)))}
	return h
}

// derive runs argon2id when a place is free.
func (h *hasher) derive(ctx context.Context, password types.Secret, salt []byte, time, memory uint32, threads uint8) ([]byte, error) {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return nil, fault.New(fault.Limit, "too many sign-ins at once").WithHint("try again in a moment")
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), "the sign-in was interrupted")
	}
	return argon2.IDKey([]byte(password.Reveal()), salt, time, memory, threads, argonKey), nil
}

// hash makes a new salted hash.
func (h *hasher) hash(ctx context.Context, password types.Secret) (*types.PasswordHash, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails
	sum, err := h.derive(ctx, password, salt, h.time, h.memory, argonThreads)
	if err != nil {
		return nil, err
	}
	return &types.PasswordHash{Algorithm: "argon2id", Time: h.time, MemoryKiB: h.memory, Threads: argonThreads,
		Salt: salt, Hash: types.NewSecret(base64.StdEncoding.EncodeToString(sum))}, nil
}

// verify compares a password with a stored hash; with none, with the dummy one,
// so that an unknown user costs the same time and is never right.
func (h *hasher) verify(ctx context.Context, password types.Secret, stored *types.PasswordHash) (bool, error) {
	against := stored
	if against == nil || against.Algorithm != "argon2id" {
		against = h.dummy
	}
	sum, err := h.derive(ctx, password, against.Salt, against.Time, against.MemoryKiB, against.Threads)
	if err != nil {
		return false, err
	}
	want, err := base64.StdEncoding.DecodeString(against.Hash.Reveal())
	equal := err == nil && subtle.ConstantTimeCompare(sum, want) == 1
	return equal && against == stored, nil
}

// checkNewPassword says what is wrong with a password that somebody chose.
func checkNewPassword(p types.Secret) error {
	s := p.Reveal()
	switch {
	case !utf8.ValidString(s):
		return fault.New(fault.Invalid, "the password is not valid UTF-8 text")
	case utf8.RuneCountInString(s) < minPassword:
		return fault.New(fault.Invalid, "the password is too short: it needs at least %d characters", minPassword)
	case len(s) > maxPassword:
		return fault.New(fault.Invalid, "the password is too long: at most %d bytes", maxPassword)
	}
	return nil
}
