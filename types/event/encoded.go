package event

import (
	"bytes"
	"encoding/json"
	"time"

	"teleport/fault"
)

// Encoded is an event's emitted bytes: two JSON objects, each on one line.
// Sensitive holds the fields of class sensitive, nested as in the whole event;
// it can be taken away later, and what is left still verifies (audit/chain).
type Encoded struct {
	Public    []byte
	Sensitive []byte
}

// ParseEncoded reads the form that Bytes writes. Both halves must be JSON
// objects; their content is not interpreted. The result shares b's memory.
func ParseEncoded(b []byte) (Encoded, error) {
	if len(b) > MaxSize+1 {
		return Encoded{}, fault.New(fault.Limit, "event of %d bytes is too long", len(b))
	}
	public, sensitive, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || !isObject(public) || !isObject(sensitive) {
		return Encoded{}, fault.New(fault.Invalid, "event bytes are not two JSON objects on two lines")
	}
	return Encoded{Public: public, Sensitive: sensitive}, nil
}

// Bytes joins both halves: the public line, a newline, the sensitive line.
func (e Encoded) Bytes() []byte {
	b := make([]byte, 0, len(e.Public)+1+len(e.Sensitive))
	b = append(b, e.Public...)
	b = append(b, '\n')
	return append(b, e.Sensitive...)
}

// JSON returns the whole event as one object, as people and programs read it.
// Without a sensitive half (redacted) it is the public one.
func (e Encoded) JSON() ([]byte, error) {
	if len(e.Sensitive) <= 2 {
		return bytes.Clone(e.Public), nil
	}
	return merge(e.Public, e.Sensitive, mergeDepth)
}

// Head is what is asked of an event most: what and when, in which session, on
// which host, who.
type Head struct {
	Type        string    `json:"event"`
	Code        string    `json:"code"`
	UID         string    `json:"uid"`
	Time        time.Time `json:"time"`
	SessionID   string    `json:"sid"`
	ServerID    string    `json:"server_id"`
	ForwardedBy string    `json:"forwarded_by"`
	User        string    `json:"user"`
}

// Head reads the head of the public half, and who did it from the other where that
// one does not say. What an event does not have is empty.
func (e Encoded) Head() (Head, error) { return e.HeadLike(&Head{}) }

// HeadLike is Head, where much of it may be as in another event's, whose memory it
// then shares: most events of a batch are of one host and a few sessions.
func (e Encoded) HeadLike(other *Head) (Head, error) {
	h, err := headOf(e.Public, other)
	if err != nil || h.User != "" {
		return h, err
	}
	hidden, err := headOf(e.Sensitive, other)
	h.User = hidden.User
	return h, err
}

func headOf(half []byte, like *Head) (h Head, err error) {
	if h.walk(half, like) {
		return h, nil
	}
	h = Head{}
	return h, json.Unmarshal(half, &h)
}

// walk reads a half as this package writes it, and reports false for any other.
func (h *Head) walk(half []byte, like *Head) bool {
	m := members{rest: half}
	for m.next(); !m.ended; m.next() {
		var to *string
		var known string
		value := m.value()
		switch string(m.key) {
		case `"event"`:
			to, known = &h.Type, like.Type
		case `"code"`:
			to, known = &h.Code, like.Code
		case `"uid"`:
			to, known = &h.UID, like.UID
		case `"sid"`:
			to, known = &h.SessionID, like.SessionID
		case `"server_id"`:
			to, known = &h.ServerID, like.ServerID
		case `"forwarded_by"`:
			to, known = &h.ForwardedBy, like.ForwardedBy
		case `"user"`:
			to, known = &h.User, like.User
		case `"time"`:
			if h.Time.UnmarshalJSON(value) != nil {
				return false
			}
			continue
		default:
			continue
		}
		if value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
			return false
		}
		if text := value[1 : len(value)-1]; known == string(text) { // which copies nothing
			*to = known
		} else {
			*to = string(text)
		}
	}
	return !m.odd
}

// mergeDepth is how deep both halves may share structs: more than the catalogue
// does, and little enough that hostile nesting costs nothing.
const mergeDepth = 8

// merge joins two objects; where both have a key with objects as values,
// these are merged in turn, else the public side wins.
func merge(public, sensitive []byte, depth int) ([]byte, error) {
	if joined, ok := join(make([]byte, 0, len(public)+len(sensitive)), public, sensitive); ok {
		return joined, nil
	}
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal(public, &a); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "event is not a JSON object")
	}
	if err := json.Unmarshal(sensitive, &b); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "event is not a JSON object")
	}
	for k, v := range b {
		mine, both := a[k]
		switch {
		case !both:
			a[k] = v
		case depth > 0 && isObject(mine) && isObject(v):
			m, err := merge(mine, v, depth-1)
			if err != nil {
				return nil, err
			}
			a[k] = m
		}
	}
	return json.Marshal(a)
}

// join merges two objects as this package writes them: keys in order, plain, and
// none in both. It reports false for any others.
func join(dst, public, sensitive []byte) ([]byte, bool) {
	a, b := members{rest: public}, members{rest: sensitive}
	a.next()
	b.next()
	dst = append(dst, '{')
	for !a.ended || !b.ended {
		if a.odd || b.odd || !a.ended && !b.ended && bytes.Equal(a.key, b.key) {
			return nil, false
		}
		from := &a
		if a.ended || !b.ended && bytes.Compare(b.key, a.key) < 0 {
			from = &b
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, from.member...)
		from.next()
	}
	return append(dst, '}'), !a.odd && !b.odd
}
