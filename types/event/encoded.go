package event

import (
	"bytes"
	"encoding/json"

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

// mergeDepth is how deep both halves may share structs: more than the catalogue
// does, and little enough that hostile nesting costs nothing.
const mergeDepth = 8

// merge joins two objects; where both have a key with objects as values,
// these are merged in turn, else the public side wins.
func merge(public, sensitive []byte, depth int) ([]byte, error) {
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
