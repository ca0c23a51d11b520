// Package predicate holds the small languages of policies: where clauses, label
// expressions and listing queries (one grammar, three dialects of roots and
// functions), trait templates such as {{internal.logins}}, and label patterns
// (literal, glob with *, ^regexp$). Programs are parsed once, are immutable and
// safe for concurrent use; their size, depth and cost are bounded. An error
// never means true: whoever evaluates treats it as "does not grant" in an allow
// rule and as "matches" in a deny rule.
//
// Grammar (a subset of Go expressions):
//
//	expr  = expr "&&" expr | expr "||" expr | "!" expr | "(" expr ")" | value "==" value | value "!=" value | value
//	value = "text" | number | true | false | path | function "(" value, … ")"
//	path  = root { "." name | "[" "text" "]" }
package predicate

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"teleport/fault"
)

// Value is what an expression yields: text, a list of texts, or a truth. The
// zero Value is "missing", which reads as "" and as the empty list.
type Value struct {
	kind kind
	text string
	list []string
	flag bool
}

type kind uint8

const (
	missing kind = iota
	text
	list
	truth
)

func (k kind) String() string { return [...]string{"nothing", "text", "a list", "a truth value"}[k] }

// Text makes a text value.
func Text(s string) Value { return Value{kind: text, text: s} }

// List makes a list value. The slice must not change afterwards.
func List(l []string) Value { return Value{kind: list, list: l} }

// Truth makes a truth value.
func Truth(b bool) Value { return Value{kind: truth, flag: b} }

// asList reads a single value as a list of one.
func (v Value) asList() ([]string, error) {
	switch v.kind {
	case list:
		return v.list, nil
	case text:
		return []string{v.text}, nil
	case missing:
		return nil, nil
	}
	return nil, fmt.Errorf("wants a list, this is %s", v.kind)
}

func (v Value) asText() (string, error) {
	switch {
	case v.kind == text || v.kind == missing:
		return v.text, nil
	case v.kind == list && len(v.list) == 1:
		return v.list[0], nil
	}
	return "", fmt.Errorf("wants text, this is %s", v.kind)
}

func (v Value) asTruth() (bool, error) {
	if v.kind != truth {
		return false, fmt.Errorf("wants a truth value, this is %s", v.kind)
	}
	return v.flag, nil
}

// same compares values. A list of one equals its element, and what is missing is
// false, as a switch is that a document leaves out.
func same(a, b Value) (bool, error) {
	if a.kind == truth || b.kind == truth {
		if a.kind != b.kind && a.kind != missing && b.kind != missing {
			return false, fmt.Errorf("cannot compare %s with %s", a.kind, b.kind)
		}
		return a.flag == b.flag, nil
	}
	if a.kind != list && b.kind != list {
		return a.text == b.text, nil
	}
	x, _ := a.asList()
	y, _ := b.asList()
	if len(x) != len(y) {
		return false, nil
	}
	for i := range x {
		if x[i] != y[i] {
			return false, nil
		}
	}
	return true, nil
}

// Env gives the roots of an expression their values.
type Env interface {
	// Lookup returns the value at a path, whose first element is the root. A map
	// without the key yields the zero Value; an unknown root or field is an error.
	Lookup(path []string) (Value, error)
}

// Searcher is an Env that knows fuzzy search, for the function search.
type Searcher interface{ Search(words []string) bool }

// Labeler is an Env that lists labels, for the function labels_matching.
type Labeler interface{ Labels() map[string]string }

// Vars is an Env over Go values: structs are read by their JSON keys, maps by
// key, lists of texts as lists.
type Vars map[string]any

// Lookup implements Env.
func (m Vars) Lookup(path []string) (Value, error) {
	root, ok := m[path[0]]
	if !ok {
		return Value{}, fmt.Errorf("%s is not known here", path[0])
	}
	switch t := root.(type) { // the common roots, without reflection
	case map[string]string:
		if len(path) == 2 {
			s, ok := t[path[1]]
			if !ok {
				return Value{}, nil
			}
			return Text(s), nil
		}
	case []string:
		if len(path) == 1 {
			return List(t), nil
		}
	}
	return walk(reflect.ValueOf(root), path[1:], path)
}

// Labels implements Labeler with the root "labels".
func (m Vars) Labels() map[string]string {
	l, _ := m["labels"].(map[string]string)
	return l
}

// Search implements Searcher: every word appears in some text of the resource,
// without regard to letter case.
func (m Vars) Search(words []string) bool {
	var all strings.Builder
	for _, root := range []string{"name", "labels", "resource"} {
		gather(reflect.ValueOf(m[root]), &all, 0)
	}
	hay := strings.ToLower(all.String())
	for _, w := range words {
		if !strings.Contains(hay, strings.ToLower(w)) {
			return false
		}
	}
	return true
}

// gather appends all texts below v, a line each, so that words do not join up.
func gather(v reflect.Value, out *strings.Builder, depth int) {
	if !v.IsValid() || depth > 8 || out.Len() > 64<<10 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		gather(v.Elem(), out, depth+1)
	case reflect.String:
		out.WriteString(v.String() + "\n")
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				gather(v.Field(i), out, depth+1)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			gather(v.Index(i), out, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			gather(it.Key(), out, depth+1)
			gather(it.Value(), out, depth+1)
		}
	}
}

func walk(v reflect.Value, rest, path []string) (Value, error) {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() {
			return Value{}, nil
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return Value{}, fmt.Errorf("%s is not known here", path[0])
	}
	if len(rest) == 0 {
		return leaf(v, path)
	}
	switch v.Kind() {
	case reflect.Struct:
		f, ok := structField(v, rest[0])
		if !ok {
			return Value{}, fmt.Errorf("%s has no field %q", strings.Join(path[:len(path)-len(rest)], "."), rest[0])
		}
		return walk(f, rest[1:], path)
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			break
		}
		e := v.MapIndex(reflect.ValueOf(rest[0]).Convert(v.Type().Key()))
		if !e.IsValid() {
			return Value{}, nil
		}
		return walk(e, rest[1:], path)
	}
	return Value{}, fmt.Errorf("%s has no fields", strings.Join(path[:len(path)-len(rest)], "."))
}

func structField(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if sub, ok := structField(v.Field(i), key); ok {
				return sub, true
			}
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// texts reads a list of JSON. It holds texts alone.
func texts(l []any, path []string) (Value, error) {
	out := make([]string, len(l))
	for i, e := range l {
		s, ok := e.(string)
		if !ok {
			return Value{}, fmt.Errorf("%s is not a list of texts", strings.Join(path, "."))
		}
		out[i] = s
	}
	return List(out), nil
}

func leaf(v reflect.Value, path []string) (Value, error) {
	if t, ok := v.Interface().(time.Time); ok {
		return Text(t.UTC().Format(time.RFC3339)), nil
	}
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := t.MarshalText()
		return Text(string(b)), err
	}
	switch v.Kind() {
	case reflect.String:
		return Text(v.String()), nil
	case reflect.Bool:
		return Truth(v.Bool()), nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return Text(strconv.FormatInt(v.Int(), 10)), nil
	case reflect.Uint32, reflect.Uint64:
		return Text(strconv.FormatUint(v.Uint(), 10)), nil
	case reflect.Float64: // numbers of JSON
		return Text(strconv.FormatFloat(v.Float(), 'f', -1, 64)), nil
	case reflect.Slice:
		if l, ok := v.Interface().([]any); ok {
			return texts(l, path)
		}
		if v.Type().Elem().Kind() == reflect.String {
			out := make([]string, v.Len())
			for i := range out {
				out[i] = v.Index(i).String()
			}
			return List(out), nil
		}
	}
	return Value{}, fmt.Errorf("%s is not text, a list or a truth value", strings.Join(path, "."))
}

func invalid(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...)
}
