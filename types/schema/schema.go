// Package schema derives JSON Schema (draft 2020-12) from the structs of package
// types, so that editors and tctl schema describe exactly what Decode takes.
// Descriptions come from doc tags, closed lists from enum tags.
package schema

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"teleport/fault"
	"teleport/types"
)

// object is one schema; encoding/json writes its keys sorted.
type object map[string]any

// For returns the indented schema of a kind, which may be a plural or a short
// form. Internal kinds have none.
func For(kind string) ([]byte, error) {
	info, err := types.KindByName(kind)
	if err != nil {
		return nil, err
	}
	if info.Internal {
		return nil, fault.New(fault.NotFound, "documents of the kind %s are internal", info.Name)
	}
	b := &builder{defs: object{}}
	root := b.fields(reflect.TypeOf(info.New()).Elem())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "urn:teleport:kind:" + info.Name
	root["title"] = info.Name
	props, _ := root["properties"].(object)
	props["kind"] = object{"const": info.Name}
	props["version"] = object{"enum": info.Versions}
	if len(info.SubKinds) > 0 {
		props["sub_kind"] = object{"enum": info.SubKinds}
	} else {
		delete(props, "sub_kind")
	}
	root["required"] = []string{"kind", "metadata", "version"}
	root["$defs"] = b.defs
	return json.MarshalIndent(root, "", "  ")
}

// builder collects named structs as $defs, so that each is described once.
type builder struct{ defs object }

func (b *builder) schema(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		return b.schema(t.Elem())
	}
	if s := wellKnown(t); s != nil {
		return s
	}
	switch t.Kind() {
	case reflect.Struct:
		return b.ref(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": b.schema(t.Elem())}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": b.schema(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	}
	return object{"type": "string"}
}

// wellKnown describes the types that have a text or JSON form of their own.
func wellKnown(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[types.Duration]():
		return object{"type": "string", "pattern": `^(never|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|0)?$`, "examples": []string{"30m", "12h"}}
	case reflect.TypeFor[types.StringList]():
		return object{"oneOf": []object{{"type": "string"}, {"type": "array", "items": object{"type": "string"}}}}
	case reflect.TypeFor[types.MFARequirement]():
		return object{"enum": []any{false, true, "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin", 0, 1, 2, 3, 4, 5}}
	case reflect.TypeFor[types.HostUserMode]():
		return object{"enum": []any{"off", "drop", "keep", "insecure-drop", 0, 1, 2, 3, 4}}
	case reflect.TypeFor[types.DBUserMode]():
		return object{"enum": []any{"off", "keep", "best_effort_drop", 0, 1, 2, 3}}
	case reflect.TypeFor[netip.Addr]():
		return object{"type": "string"}
	}
	if t.Kind() != reflect.Struct && reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return object{"type": "string"}
	}
	return nil
}

// ref describes a struct under $defs, or in place when it has no name.
func (b *builder) ref(t reflect.Type) object {
	if t.Name() == "" {
		return b.fields(t)
	}
	if _, ok := b.defs[t.Name()]; !ok {
		b.defs[t.Name()] = object{} // ends recursion
		b.defs[t.Name()] = b.fields(t)
	}
	return object{"$ref": "#/$defs/" + t.Name()}
}

func (b *builder) fields(t reflect.Type) object {
	props := object{}
	b.collect(t, props)
	return object{"type": "object", "properties": props, "additionalProperties": false}
}

func (b *builder) collect(t reflect.Type, props object) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			b.collect(f.Type, props)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		s := b.schema(f.Type)
		if enum := f.Tag.Get("enum"); enum != "" {
			values := strings.Split(enum, ",")
			if items, ok := s["items"].(object); ok {
				items["enum"] = values
			} else {
				s["enum"] = values
			}
		}
		if doc := f.Tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		props[name] = s
	}
}
