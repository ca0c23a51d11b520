package backend

import (
	"strconv"
	"time"

	"teleport/fault"
)

// Bounds that every driver enforces with Check, so that data moves between
// them.
const (
	MaxKey   = 512
	MaxValue = 1 << 20
	MaxOps   = 1000
	MaxRange = 10000
)

// CheckKey returns fault.Invalid for a key out of bounds.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fault.New(fault.Invalid, "a key has 1 to %d bytes, not %d", MaxKey, len(key))
	}
	for i := 0; i < len(key); i++ {
		if key[i] < ' ' || key[i] > '~' {
			return fault.New(fault.Invalid, "key %s is not printable ASCII", strconv.QuoteToASCII(key))
		}
	}
	return nil
}

// CheckOps returns fault.Invalid unless a driver may apply the ops together.
func CheckOps(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxOps {
		return fault.New(fault.Invalid, "one change holds 1 to %d keys, not %d", MaxOps, len(ops))
	}
	seen := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if err := CheckKey(op.Item.Key); err != nil {
			return err
		}
		if _, dup := seen[op.Item.Key]; dup {
			return fault.New(fault.Invalid, "key %q occurs twice in one change", op.Item.Key)
		}
		seen[op.Item.Key] = struct{}{}
		if op.Type < OpPut || op.Type > OpDeleteIf {
			return fault.New(fault.Invalid, "unknown operation %d", op.Type)
		}
		if len(op.Item.Value) > MaxValue {
			return fault.New(fault.Invalid, "the value of %q has %d bytes, more than %d", op.Item.Key, len(op.Item.Value), MaxValue)
		}
	}
	return nil
}

// Refuse reports why the op may not be done while current, the revision of the
// live item under its key (0: none), stands: AlreadyExists, Conflict or nil.
func (op Op) Refuse(current Revision) error {
	switch {
	case op.Type == OpCreate && current != 0:
		return fault.New(fault.AlreadyExists, "%q already exists", op.Item.Key)
	case (op.Type == OpSwap || op.Type == OpDeleteIf) && (current == 0 || current != op.Item.Revision):
		return fault.New(fault.Conflict, "%q was changed by someone else meanwhile", op.Item.Key)
	}
	return nil
}

// Deletes reports whether the op removes its key.
func (op Op) Deletes() bool { return op.Type == OpDelete || op.Type == OpDeleteIf }

// Millis is the stored form of an expiry: Unix milliseconds, rounded up, so
// that nothing expires early; 0 for never.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, t.Add(time.Millisecond-1).UnixMilli())
}

// FromMillis is the reverse of Millis, in UTC.
func FromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Live reports whether an item with this expiry (in Millis) is there at now.
func Live(expires int64, now time.Time) bool { return expires == 0 || now.UnixMilli() < expires }
