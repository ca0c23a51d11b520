package dynamowire

import (
	"bytes"
	"encoding/json"
)

// hidden stands for a value that is not told.
const hidden = "***"

// Hide returns the body of a request without the values of attributes: with
// theirs, when types is true, and else nothing of them. Names of tables, indexes
// and attributes stay, expressions too, and the text of PartiQL. What is no JSON is
// fault.Invalid.
//
// A value is an object whose one field is a type: {"S": "text"}, {"M": {…}}. An
// attribute that has such a name, and holds such a value, is taken for one; that
// hides more.
func Hide(body []byte, types bool) ([]byte, error) {
	tree, err := decode(body)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(hide(tree, types)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func hide(v any, types bool) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = hide(v[i], types)
		}
	case map[string]any:
		if typ, ok := attributeType(v); ok {
			if !types {
				return hidden
			}
			v[typ] = hideValue(v[typ])
			return v
		}
		for name := range v {
			v[name] = hide(v[name], types)
		}
	}
	return v
}

// hideValue hides all that is no name below a type.
func hideValue(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = hideValue(v[i])
		}
		return v
	case map[string]any:
		for name := range v {
			v[name] = hideValue(v[name])
		}
		return v
	}
	return hidden
}

// attributeType reports whether an object is the value of an attribute, and by
// which field. Odd values of a type are hidden too: a server may take them.
func attributeType(v map[string]any) (string, bool) {
	if len(v) != 1 {
		return "", false
	}
	for name := range v {
		switch name {
		case "S", "N", "B", "SS", "NS", "BS", "BOOL", "NULL", "L", "M":
			return name, true
		}
	}
	return "", false
}
