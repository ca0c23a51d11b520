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

// structPlan is the compiled form of one struct: which fields go into which
// half, with sorted keys.
type structPlan struct {
	public    []fieldPlan
	sensitive []fieldPlan
}

type fieldPlan struct {
	name      string
	key       []byte // `"name":`
	index     []int
	omitEmpty bool
	omitZero  bool
	nested    *structPlan // class "struct"
}

// compile walks a struct type; embedded structs are flattened as in
// encoding/json.
func compile(t reflect.Type) *structPlan {
	p := &structPlan{}
	p.add(t, nil)
	byName := func(f []fieldPlan) func(i, j int) bool {
		return func(i, j int) bool { return f[i].name < f[j].name }
	}
	sort.Slice(p.public, byName(p.public))
	sort.Slice(p.sensitive, byName(p.sensitive))
	return p
}

func (p *structPlan) add(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			p.add(f.Type, at)
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if name == "" || name == "-" {
			continue
		}
		fp := fieldPlan{
			name: name, key: []byte(strconv.Quote(name) + ":"), index: at,
			omitEmpty: strings.Contains(opts, "omitempty"), omitZero: strings.Contains(opts, "omitzero"),
		}
		switch f.Tag.Get("class") {
		case classPublic:
			p.public = append(p.public, fp)
		case classSensitive:
			p.sensitive = append(p.sensitive, fp)
		case classStruct:
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			fp.nested = compile(ft)
			p.public = append(p.public, fp)
			if len(fp.nested.sensitive) > 0 {
				p.sensitive = append(p.sensitive, fp)
			}
		}
	}
}

// appendHalf writes one half of the struct v as an object.
func (p *structPlan) appendHalf(dst []byte, v reflect.Value, sensitive bool) ([]byte, error) {
	fields := p.public
	if sensitive {
		fields = p.sensitive
	}
	dst = append(dst, '{')
	start := len(dst)
	for i := range fields {
		var err error
		if dst, err = fields[i].append(dst, v.FieldByIndex(fields[i].index), sensitive, len(dst) > start); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (f *fieldPlan) append(dst []byte, v reflect.Value, sensitive, comma bool) ([]byte, error) {
	if (f.omitEmpty && isEmpty(v)) || (f.omitZero && v.IsZero()) {
		return dst, nil
	}
	before := len(dst)
	if comma {
		dst = append(dst, ',')
	}
	dst = append(dst, f.key...)
	if f.nested == nil {
		return appendValue(dst, v)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return dst[:before], nil
		}
		v = v.Elem()
	}
	at := len(dst)
	dst, err := f.nested.appendHalf(dst, v, sensitive)
	if err == nil && sensitive && len(dst) == at+2 {
		return dst[:before], nil // {}: nothing sensitive was set
	}
	return dst, err
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

// appendValue writes what encoding/json would, quickly for the usual kinds.
// Times are written in UTC.
func appendValue(dst []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.String:
		return appendString(dst, v.String())
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint64, reflect.Uint32:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	}
	value := v.Interface()
	if p, ok := value.(*time.Time); ok && p != nil {
		value = *p
	}
	if t, ok := value.(time.Time); ok {
		dst = append(dst, '"')
		dst = t.UTC().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, '"'), nil
	}
	b, err := json.Marshal(value)
	return append(dst, b...), err
}

func appendString(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if b := s[i]; b < 0x20 || b > 0x7e || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&' {
			q, err := json.Marshal(s)
			return append(dst, q...), err
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"'), nil
}

// isObject reports whether b is one JSON object on one line, with nothing
// around it.
func isObject(b []byte) bool {
	return len(b) >= 2 && b[0] == '{' && b[len(b)-1] == '}' && bytes.IndexByte(b, '\n') < 0 && json.Valid(b)
}
