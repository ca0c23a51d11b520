package types

import "time"

// ConnectionSlots are the connections that one user has open, of all hosts of the
// cluster, where max_connections limits them (kind connection_slots, v1, name =
// user name). Internal. It is written by compare-and-swap alone, and is gone when
// its last slot ran out.
type ConnectionSlots struct {
	Header
	Spec ConnectionSlotsSpec `json:"spec"`
}

// ConnectionSlotsSpec is the body of ConnectionSlots.
type ConnectionSlotsSpec struct {
	Slots []ConnectionSlot `json:"slots,omitempty"` // in the order in which they were taken
}

// ConnectionSlot is one connection. The host that carries it renews it: the slot
// of a host that died runs out by itself.
type ConnectionSlot struct {
	ID      string    `json:"id"`      // of the connection
	HostID  string    `json:"host_id"` // UUID of the process that carries it
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
}

// MaxConnectionSlots bounds the slots of one user, whatever roles allow: each
// change writes them all.
const MaxConnectionSlots = 2000

// Validate implements Resource.
func (c *ConnectionSlots) Validate() error {
	if err := c.check(KindConnectionSlots, &c.Spec); err != nil {
		return err
	}
	if len(c.Spec.Slots) > MaxConnectionSlots {
		return fieldFault("spec.slots", "has room for %d", MaxConnectionSlots)
	}
	for i, s := range c.Spec.Slots {
		if s.ID == "" || s.HostID == "" || s.Expires.IsZero() {
			return fieldFault(IndexPath("spec.slots", i), "needs id, host_id and expires")
		}
	}
	return nil
}
