package event

import (
	"encoding/json"
	"errors"
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
	types   map[string]*entryPlan
	codes   map[string]string // code → type
	structs map[reflect.Type]*entryPlan
}

type entryPlan struct {
	Entry
	plan *structPlan
}

// NewCodec returns the codec of the catalogue, which is compiled once in a process.
func NewCodec() *Codec { return compiled() }

var compiled = sync.OnceValue(func() *Codec {
	c := &Codec{types: make(map[string]*entryPlan), codes: make(map[string]string), structs: make(map[reflect.Type]*entryPlan)}
	for _, e := range Catalogue() {
		t := reflect.TypeOf(e.New())
		p := &entryPlan{Entry: e, plan: compile(t.Elem())}
		c.types[e.Type], c.structs[t] = p, p
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
	_, _, err := c.planned(e)
	return err
}

// planned fills e, and returns its plan and its struct.
func (c *Codec) planned(e Event) (*entryPlan, reflect.Value, error) {
	t := reflect.TypeOf(e)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(e).IsNil() {
		return nil, reflect.Value{}, fault.New(fault.Invalid, "an event is a pointer to a struct of the catalogue")
	}
	p := c.structs[t]
	if p == nil {
		return nil, reflect.Value{}, fault.New(fault.Invalid, "%s is not in the catalogue of events", t.Elem())
	}
	m := e.EventMeta()
	if m.Code == "" && len(p.Codes) == 1 {
		m.Code = p.Codes[0]
	}
	if !slices.Contains(p.Codes, m.Code) {
		return nil, reflect.Value{}, fault.New(fault.Invalid, "event %s has no code %q", p.Type, m.Code)
	}
	if m.Type == "" {
		m.Type = p.Type
	}
	if m.Type != p.Type {
		return nil, reflect.Value{}, fault.New(fault.Invalid, "event type %q does not belong to code %s", m.Type, m.Code)
	}
	return p, reflect.ValueOf(e).Elem(), nil
}

// Encode returns the bytes of e that are hashed, stored and exported: Type and
// Code are filled, secret and unclassed fields are left out, keys are sorted.
func (c *Codec) Encode(e Event) (Encoded, error) {
	_, out, err := c.Append(make([]byte, 0, 1024), e)
	return out, err
}

// Append appends what Bytes of the encoded event returns to dst. The halves share
// the memory of what it returns.
func (c *Codec) Append(dst []byte, e Event) ([]byte, Encoded, error) {
	p, v, err := c.planned(e)
	if err != nil {
		return dst, Encoded{}, err
	}
	var all found
	p.plan.find(v, &all)
	out, err := p.plan.appendTo(dst, &all, publicHalf)
	cut := len(out)
	if err == nil {
		out, err = p.plan.appendTo(append(out, '\n'), &all, sensitiveHalf)
	}
	if err == nil {
		err = p.fits(len(out) - len(dst) - 1)
	}
	if err != nil {
		return dst, Encoded{}, p.unwritten(err)
	}
	return out, Encoded{Public: out[len(dst):cut:cut], Sensitive: out[cut+1:]}, nil
}

// AppendJSON appends the whole of e as one object, as Encoded.JSON returns it, to
// dst. Without shared it leaves out what all events of a session with a database, or
// with an app, have in common.
func (c *Codec) AppendJSON(dst []byte, e Event, shared bool) ([]byte, error) {
	p, v, err := c.planned(e)
	if err != nil {
		return dst, err
	}
	which := own
	if shared {
		which = whole
	}
	var all found
	p.plan.find(v, &all)
	out, err := p.plan.appendTo(dst, &all, which)
	if err == nil {
		err = p.fits(len(out) - len(dst))
	}
	if err != nil {
		return dst, p.unwritten(err)
	}
	return out, nil
}

func (p *entryPlan) fits(size int) error {
	if size > MaxSize {
		return fault.New(fault.Limit, "event %s is %d bytes long, more than the %d that fit", p.Type, size, MaxSize)
	}
	return nil
}

// unwritten says of what error an event was not written.
func (p *entryPlan) unwritten(err error) error {
	if errors.Is(err, fault.Limit) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "event %s cannot be written", p.Type)
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
