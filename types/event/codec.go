package event

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync"

	"teleport/fault"
)

// MaxSize bounds the emitted bytes of one event, both halves together.
const MaxSize = 1 << 20

// Codec turns events into their bytes and back. It is compiled once from the
// catalogue, is immutable and may be used concurrently.
type Codec struct {
	types map[string]*entryPlan
	codes map[string]string // code → type
}

type entryPlan struct {
	Entry
	goType reflect.Type
	plan   *structPlan
}

// NewCodec returns the codec of the catalogue, which is compiled once in a process.
func NewCodec() *Codec { return compiled() }

var compiled = sync.OnceValue(func() *Codec {
	c := &Codec{types: make(map[string]*entryPlan), codes: make(map[string]string)}
	for _, e := range Catalogue() {
		t := reflect.TypeOf(e.New()).Elem()
		c.types[e.Type] = &entryPlan{Entry: e, goType: t, plan: compile(t)}
		for _, code := range e.Codes {
			c.codes[code] = e.Type
		}
	}
	return c
})

// Entry returns the catalogue's entry of a type; false for an unknown one.
func (c *Codec) Entry(typ string) (Entry, bool) {
	p, ok := c.types[typ]
	if !ok {
		return Entry{}, false
	}
	return p.Entry, true
}

// TypeOf returns the event type of a code, or "".
func (c *Codec) TypeOf(code string) string { return c.codes[code] }

// Fill completes Type and Code of e from the catalogue: the type from the
// code, or the code from the struct where its type has only one. It returns
// fault.Invalid when they are missing, unknown or do not belong to the struct.
func (c *Codec) Fill(e Event) error {
	p, err := c.planOf(e)
	if err != nil {
		return err
	}
	m := e.EventMeta()
	if m.Code == "" && len(p.Codes) == 1 {
		m.Code = p.Codes[0]
	}
	if !slices.Contains(p.Codes, m.Code) {
		return fault.New(fault.Invalid, "event %s has no code %q", p.Type, m.Code)
	}
	if m.Type == "" {
		m.Type = p.Type
	}
	if m.Type != p.Type {
		return fault.New(fault.Invalid, "event type %q does not belong to code %s", m.Type, m.Code)
	}
	return nil
}

// planOf finds the plan of e by its Go type. Codes are the quickest way in;
// a struct without one is looked for.
func (c *Codec) planOf(e Event) (*entryPlan, error) {
	t := reflect.TypeOf(e)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(e).IsNil() {
		return nil, fault.New(fault.Invalid, "an event is a pointer to a struct of the catalogue")
	}
	t = t.Elem()
	if p := c.types[c.codes[e.EventMeta().Code]]; p != nil && p.goType == t {
		return p, nil
	}
	for _, p := range c.types {
		if p.goType == t {
			return p, nil
		}
	}
	return nil, fault.New(fault.Invalid, "%s is not in the catalogue of events", t)
}

// Encode returns the bytes of e that are hashed, stored and exported: Type and
// Code are filled, secret and unclassed fields are left out, keys are sorted.
func (c *Codec) Encode(e Event) (Encoded, error) {
	if err := c.Fill(e); err != nil {
		return Encoded{}, err
	}
	p := c.types[e.EventMeta().Type]
	v := reflect.ValueOf(e).Elem()
	buf := make([]byte, 0, 1024)
	buf, err := p.plan.appendHalf(buf, v, false)
	if err != nil {
		return Encoded{}, fault.Wrap(err, fault.Invalid, "event %s cannot be written", p.Type)
	}
	cut := len(buf)
	buf, err = p.plan.appendHalf(buf, v, true)
	if err != nil {
		return Encoded{}, fault.Wrap(err, fault.Invalid, "event %s cannot be written", p.Type)
	}
	if len(buf) > MaxSize {
		return Encoded{}, fault.New(fault.Limit, "event %s is %d bytes long, more than the %d that fit", p.Type, len(buf), MaxSize)
	}
	return Encoded{Public: buf[:cut:cut], Sensitive: buf[cut:]}, nil
}

// Decode reads an event's whole JSON (Encoded.JSON) into its struct. A type
// that this catalogue does not know becomes a *Raw. Fields that a newer
// emitter added are left out; the bytes themselves keep them.
func (c *Codec) Decode(b []byte) (Event, error) {
	if len(b) > MaxSize {
		return nil, fault.New(fault.Limit, "event of %d bytes is too long", len(b))
	}
	var m Meta
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "not an event")
	}
	if m.Type == "" {
		return nil, fault.New(fault.Invalid, "not an event: it has no type")
	}
	p, ok := c.types[m.Type]
	if !ok {
		return &Raw{Meta: m, JSON: slices.Clone(b)}, nil
	}
	e := p.New()
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "event %s is malformed", m.Type)
	}
	return e, nil
}

// Raw is an event of a type that this program does not know, as a newer peer
// emitted it. It can be shown and forwarded, not emitted.
type Raw struct {
	Meta
	JSON json.RawMessage `json:"-" class:"secret"`
}
