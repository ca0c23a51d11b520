package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// The classes of a field. A field without a class counts as secret. The class
// "struct" sends the walk into a nested struct, whose fields have their own.
const (
	classPublic    = "public"
	classSensitive = "sensitive"
	classSecret    = "secret"
	classStruct    = "struct"
)

// part is which fields of an event are written.
type part int

const (
	publicHalf part = iota
	sensitiveHalf
	whole // both halves in one object
	own   // whole, without what all events of a session with a database share
	parts
)

// structPlan is the compiled form of one struct: which fields go into which part,
// with sorted keys. An event is written for each thing that happens, several times,
// so the embedded structs are found once, and each field is one step from its own.
type structPlan struct {
	embedded []embedded
	fields   [parts][]fieldPlan
}

// embedded is where an embedded struct is: the field of the struct itself, number 0,
// or of an embedded one before it.
type embedded struct{ in, index int }

// mostEmbedded bounds the structs that one event is made of, itself included.
const mostEmbedded = 16

// found are a struct and those embedded in it.
type found [mostEmbedded]reflect.Value

type fieldPlan struct {
	name      string
	key       []byte // `"name":`
	in, index int    // which field of which of found
	kind      kind
	omitEmpty bool
	omitZero  bool
	pointer   bool        // to what is nested
	nested    *structPlan // class "struct"
}

// compile walks a struct type; embedded structs are flattened as in
// encoding/json.
func compile(t reflect.Type) *structPlan {
	p := &structPlan{}
	p.add(t, 0, false)
	for _, list := range p.fields {
		sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	}
	if len(p.embedded) >= mostEmbedded {
		panic("event: " + t.String() + " embeds too many structs") // the catalogue is a constant
	}
	return p
}

// commonTo reports whether a struct is what all events of one session say.
func commonTo(t reflect.Type) bool {
	return t == reflect.TypeFor[inDatabase]() || t == reflect.TypeFor[inApp]()
}

func (p *structPlan) add(t reflect.Type, in int, shared bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			p.embedded = append(p.embedded, embedded{in, i})
			p.add(f.Type, len(p.embedded), shared || commonTo(f.Type))
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if name == "" || name == "-" {
			continue
		}
		fp := fieldPlan{
			name: name, key: []byte(strconv.Quote(name) + ":"), in: in, index: i, kind: kindOf(f.Type),
			omitEmpty: strings.Contains(opts, "omitempty"), omitZero: strings.Contains(opts, "omitzero"),
		}
		into := []part{whole}
		if !shared {
			into = append(into, own)
		}
		switch f.Tag.Get("class") {
		case classPublic:
			into = append(into, publicHalf)
		case classSensitive:
			into = append(into, sensitiveHalf)
		case classStruct:
			ft := f.Type
			if fp.pointer = ft.Kind() == reflect.Pointer; fp.pointer {
				ft = ft.Elem()
			}
			fp.nested = compile(ft)
			into = append(into, publicHalf)
			if len(fp.nested.fields[sensitiveHalf]) > 0 {
				into = append(into, sensitiveHalf)
			}
		default:
			continue
		}
		for _, x := range into {
			p.fields[x] = append(p.fields[x], fp)
		}
	}
}

// find finds what is embedded in the struct v.
func (p *structPlan) find(v reflect.Value, all *found) {
	all[0] = v
	for i, e := range p.embedded {
		all[i+1] = all[e.in].Field(e.index)
	}
}

// appendTo writes one part of the struct that was found as an object.
func (p *structPlan) appendTo(dst []byte, all *found, which part) ([]byte, error) {
	dst = append(dst, '{')
	start := len(dst)
	fields := p.fields[which]
	for i := range fields {
		var err error
		f := &fields[i]
		if dst, err = f.append(dst, all[f.in].Field(f.index), which, len(dst) > start); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (f *fieldPlan) append(dst []byte, v reflect.Value, which part, comma bool) ([]byte, error) {
	if (f.omitEmpty || f.omitZero) && f.omitted(v) {
		return dst, nil
	}
	before := len(dst)
	if comma {
		dst = append(dst, ',')
	}
	dst = append(dst, f.key...)
	if f.nested == nil {
		return f.appendValue(dst, v)
	}
	if f.pointer {
		if v.IsNil() {
			return dst[:before], nil
		}
		v = v.Elem()
	}
	var all found
	f.nested.find(v, &all)
	at := len(dst)
	dst, err := f.nested.appendTo(dst, &all, which)
	if err == nil && which == sensitiveHalf && len(dst) == at+2 {
		return dst[:before], nil // {}: nothing sensitive was set
	}
	return dst, err
}

// kind tells apart the types that are written without encoding/json.
type kind int

const (
	kindOther kind = iota
	kindString
	kindBool
	kindInt
	kindUint
	kindTime
	kindStrings
	kindLabels
	kindTraits
)

func kindOf(t reflect.Type) kind {
	switch t {
	case reflect.TypeFor[string]():
		return kindString
	case reflect.TypeFor[bool]():
		return kindBool
	case reflect.TypeFor[int](), reflect.TypeFor[int64]():
		return kindInt
	case reflect.TypeFor[uint32](), reflect.TypeFor[uint64]():
		return kindUint
	case reflect.TypeFor[time.Time]():
		return kindTime
	case reflect.TypeFor[[]string]():
		return kindStrings
	case reflect.TypeFor[map[string]string]():
		return kindLabels
	case reflect.TypeFor[map[string][]string]():
		return kindTraits
	}
	return kindOther
}

// pointed is where a field is: nothing is copied to look at it.
func pointed[T any](v reflect.Value) *T { return v.Addr().Interface().(*T) }

// omitted reports whether a field is left out where its tag says so of an empty or
// zero value.
func (f *fieldPlan) omitted(v reflect.Value) bool {
	switch f.kind {
	case kindString:
		return v.Len() == 0
	case kindBool:
		return !v.Bool()
	case kindInt:
		return v.Int() == 0
	case kindUint:
		return v.Uint() == 0
	case kindTime:
		return f.omitZero && *pointed[time.Time](v) == time.Time{}
	}
	return f.omitEmpty && isEmpty(v) || f.omitZero && v.IsZero()
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map, reflect.Array:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// appendValue writes what encoding/json would. Times are written in UTC.
func (f *fieldPlan) appendValue(dst []byte, v reflect.Value) ([]byte, error) {
	switch f.kind {
	case kindString:
		return appendString(dst, v.String()), nil
	case kindBool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case kindInt:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case kindUint:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case kindTime:
		return appendTime(dst, *pointed[time.Time](v)), nil
	case kindStrings:
		return appendStrings(dst, *pointed[[]string](v)), nil
	case kindLabels:
		return appendMap(dst, *pointed[map[string]string](v), appendString), nil
	case kindTraits:
		return appendMap(dst, *pointed[map[string][]string](v), appendStrings), nil
	}
	value := v.Interface()
	if p, ok := value.(*time.Time); ok && p != nil {
		return appendTime(dst, *p), nil
	}
	b, err := json.Marshal(value)
	return append(dst, b...), err
}

// isObject reports whether b is one JSON object on one line, with nothing
// around it.
func isObject(b []byte) bool {
	if isPlain(b) {
		return true
	}
	return len(b) >= 2 && b[0] == '{' && b[len(b)-1] == '}' && bytes.IndexByte(b, '\n') < 0 && json.Valid(b)
}
