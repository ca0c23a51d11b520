package recordings

import (
	"crypto/sha256"
	"sync"

	"teleport/recfmt"
)

// openers are the keys of the recordings that were opened last. A short one is opened
// when it comes, when it is stored and when its index is made, within moments, and the
// hybrid key agreement is dearer than all else that is done with it. What a key is kept
// by is the whole sealed box and the session that it is bound to. The zero value is
// empty. Safe for concurrent use.
type openers struct {
	mu    sync.Mutex
	by    map[[sha256.Size]byte]*recfmt.Opener
	order [][sha256.Size]byte // the oldest first
}

// mostOpeners bounds what is kept, about 2 KiB each.
const mostOpeners = 256

// opener opens a segment with the cluster's keys. It is fault.Denied where none fits.
func (s *Service) opener(seg *recfmt.Segment) (*recfmt.Opener, error) {
	if seg.Cipher == recfmt.CipherNone {
		return seg.Open()
	}
	name := sha256.Sum256(append([]byte(seg.SessionID+"\x00"), seg.Key...))
	if o := s.openers.get(name); o != nil {
		return o, nil
	}
	o, err := seg.Open(s.d.Keys.Identities()...)
	if err != nil {
		return nil, err
	}
	s.openers.put(name, o)
	return o, nil
}

func (c *openers) get(name [sha256.Size]byte) *recfmt.Opener {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[name]
}

func (c *openers) put(name [sha256.Size]byte, o *recfmt.Opener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[[sha256.Size]byte]*recfmt.Opener)
	}
	if _, again := c.by[name]; !again {
		c.order = append(c.order, name)
	}
	c.by[name] = o
	if len(c.order) > mostOpeners {
		delete(c.by, c.order[0])
		c.order = append(c.order[:0], c.order[1:]...)
	}
}
