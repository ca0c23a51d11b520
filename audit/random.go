package audit

import (
	"crypto/rand"

	"github.com/google/uuid"

	"teleport/audit/chain"
)

func newUID() string { return uuid.NewString() }

func newSalt() []byte {
	b := make([]byte, chain.SaltSize)
	rand.Read(b) //nolint:errcheck // never fails: it ends the program instead
	return b
}
