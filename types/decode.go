package types

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"

	"teleport/fault"
)

// FieldError names the field of a document that is wrong, in the form
// spec.allow.rules[0].where. It is the cause of the fault that Decode and
// Validate return, so that a caller with the source text can show its line.
type FieldError struct{ Path string }

// Error implements error.
func (e *FieldError) Error() string { return "field " + e.Path }

// fieldFault makes a fault.Invalid about one field.
func fieldFault(path, format string, args ...any) *fault.Error {
	msg := fault.New(fault.Invalid, format, args...).Message
	if path == "" {
		return fault.New(fault.Invalid, "%s", msg)
	}
	err, _ := fault.Wrap(&FieldError{Path: path}, fault.Invalid, "%s: %s", path, msg).(*fault.Error)
	return err
}

// JoinPath appends an object key to a field path.
func JoinPath(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" ") {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// IndexPath appends a list index to a field path.
func IndexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// decoder fills Go values from a parsed document. Strict, it fails on the first
// unknown key; lenient, it collects the paths of unknown keys and goes on.
type decoder struct {
	lenient bool
	unknown []string
}

func (d *decoder) value(n *jsonNode, v reflect.Value, path string) error {
	if n.kind == '0' {
		return nil // null is "not said"
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if err := d.value(n, p.Elem(), path); err != nil {
			return err
		}
		v.Set(p)
		return nil
	}
	if done, err := d.custom(n, v, path); done {
		return err
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(n, v, path)
	case reflect.Map:
		return d.mapping(n, v, path)
	case reflect.Slice:
		return d.list(n, v, path)
	}
	return d.scalar(n, v, path)
}

// custom hands a value to its own UnmarshalJSON or UnmarshalText.
func (d *decoder) custom(n *jsonNode, v reflect.Value, path string) (bool, error) {
	switch u := v.Addr().Interface().(type) {
	case json.Unmarshaler:
		if err := u.UnmarshalJSON(n.raw); err != nil {
			return true, fieldFault(path, "%s", plainMessage(err))
		}
		return true, nil
	case encoding.TextUnmarshaler:
		if n.kind != 's' {
			return true, fieldFault(path, "wants text, this is %s", n.what())
		}
		if err := u.UnmarshalText([]byte(n.text)); err != nil {
			return true, fieldFault(path, "%s", plainMessage(err))
		}
		return true, nil
	}
	return false, nil
}

func plainMessage(err error) string {
	if fault.KindOf(err) == fault.Invalid {
		return fault.Message(err)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

func (d *decoder) object(n *jsonNode, v reflect.Value, path string) error {
	if n.kind != '{' {
		return fieldFault(path, "wants an object, this is %s", n.what())
	}
	seen := make(map[string]bool, len(n.keys))
	for i, key := range n.keys {
		at := JoinPath(path, key)
		if seen[key] {
			return fieldFault(at, "is given twice")
		}
		seen[key] = true
		f, ok := fieldByKey(v, key)
		if !ok {
			if d.lenient {
				d.unknown = append(d.unknown, at)
				continue
			}
			err := fieldFault(at, "unknown key")
			if near := Nearest(key, fieldKeys(v.Type())); near != "" {
				return err.WithHint("did you mean %q?", near)
			}
			return err
		}
		if err := d.value(n.vals[i], f, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) mapping(n *jsonNode, v reflect.Value, path string) error {
	if n.kind != '{' {
		return fieldFault(path, "wants an object, this is %s", n.what())
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.keys))
	for i, key := range n.keys {
		at := JoinPath(path, key)
		k := reflect.ValueOf(key).Convert(v.Type().Key())
		if m.MapIndex(k).IsValid() {
			return fieldFault(at, "is given twice")
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(n.vals[i], elem, at); err != nil {
			return err
		}
		m.SetMapIndex(k, elem)
	}
	v.Set(m)
	return nil
}

func (d *decoder) list(n *jsonNode, v reflect.Value, path string) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		b, err := base64.StdEncoding.DecodeString(n.text)
		if n.kind != 's' || err != nil {
			return fieldFault(path, "wants bytes in base64")
		}
		v.SetBytes(b)
		return nil
	}
	if n.kind == 's' && v.Type() == reflect.TypeFor[StringList]() {
		v.Set(reflect.ValueOf(StringList{n.text}))
		return nil
	}
	if n.kind != '[' {
		return fieldFault(path, "wants a list, this is %s", n.what())
	}
	s := reflect.MakeSlice(v.Type(), len(n.vals), len(n.vals))
	for i, item := range n.vals {
		at := IndexPath(path, i)
		if item.kind == '0' {
			return fieldFault(at, "is empty")
		}
		if err := d.value(item, s.Index(i), at); err != nil {
			return err
		}
	}
	v.Set(s)
	return nil
}

func (d *decoder) scalar(n *jsonNode, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		return setText(n, v, path)
	case reflect.Bool:
		b, ok := n.asBool()
		if !ok {
			return fieldFault(path, "wants true or false, this is %s", n.what())
		}
		v.SetBool(b)
		return nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.text, 10, 64)
		if n.kind != 'n' || err != nil || v.OverflowInt(i) {
			return fieldFault(path, "wants a whole number, this is %s", n.what())
		}
		v.SetInt(i)
		return nil
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		i, err := strconv.ParseUint(n.text, 10, 64)
		if n.kind != 'n' || err != nil || v.OverflowUint(i) {
			return fieldFault(path, "wants a whole number from 0, this is %s", n.what())
		}
		v.SetUint(i)
		return nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if n.kind != 'n' || err != nil || math.IsInf(f, 0) {
			return fieldFault(path, "wants a number, this is %s", n.what())
		}
		v.SetFloat(f)
		return nil
	}
	return fieldFault(path, "cannot be set")
}

func setText(n *jsonNode, v reflect.Value, path string) error {
	switch {
	case n.kind == 'n' || n.kind == 'b':
		return fieldFault(path, "wants text, this is %s", n.what()).WithHint("put quotes around it: \"%s\"", n.raw)
	case n.kind != 's':
		return fieldFault(path, "wants text, this is %s", n.what())
	case strings.ContainsRune(n.text, 0):
		return fieldFault(path, "must not hold a NUL character")
	}
	v.SetString(n.text)
	return nil
}

// asBool reads true, false and the words that YAML users write for them.
func (n *jsonNode) asBool() (value, ok bool) {
	if n.kind == 'b' {
		return n.flag, true
	}
	if n.kind == 's' {
		switch strings.ToLower(n.text) {
		case "yes", "on", "true":
			return true, true
		case "no", "off", "false":
			return false, true
		}
	}
	return false, false
}

// jsonKey returns the key of a struct field, or "" when it has none.
func jsonKey(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if !f.IsExported() || name == "-" {
		return ""
	}
	return name
}

func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if sub, ok := fieldByKey(v.Field(i), key); ok {
				return sub, true
			}
		} else if name := jsonKey(f); name != "" && name == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func fieldKeys(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			keys = append(keys, fieldKeys(f.Type)...)
		} else if name := jsonKey(f); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}
