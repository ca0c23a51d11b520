// Package dynamowire reads what a request to DynamoDB, to its streams or to DAX
// wants. All three are JSON over HTTP (AWS JSON protocol 1.0 and 1.1):
//
//	POST /
//	X-Amz-Target: <service>_<version> "." <operation>
//	Content-Type: application/x-amz-json-1.0 | 1.1
//
//	{"TableName": "orders", …}
//
// Tables stand in one field, in a list, or as the keys of an object, and PartiQL
// within its statement. A body in which a field stands twice is refused: who reads
// it may take the other one.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/
package dynamowire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"teleport/fault"
)

// Service is one of the interfaces.
type Service struct {
	Host    string // first part of the host name, and of a target's errors
	Signing string // name in signatures
	JSON    string // version of the protocol
	version string
	calls   map[string][]string // where operations name tables
}

// Call is a request as far as it is understood.
type Call struct {
	Service    *Service
	Operation  string
	Tables     []string // names or ARNs of what it is about, sorted
	Statements []string // of PartiQL
}

const (
	maxDepth = 64      // of JSON; DynamoDB itself nests to 32
	maxName  = 1 << 10 // bytes of a table's name or ARN
	maxNames = 256
)

// Parse reads a request. An operation that is not known is fault.Unimplemented, a
// body that is not understood fault.Invalid.
func Parse(target string, body []byte) (*Call, error) {
	version, operation, _ := strings.Cut(target, ".")
	i := slices.IndexFunc(services, func(s *Service) bool { return s.version == version })
	if i < 0 {
		return nil, unknown(target)
	}
	s := services[i]
	where, ok := s.calls[operation]
	if !ok {
		return nil, unknown(target)
	}
	tree, err := decode(body)
	if err != nil {
		return nil, err
	}
	c := &Call{Service: s, Operation: operation}
	names := map[string]bool{}
	for _, path := range where {
		into := func(name string) { names[name] = true }
		if strings.HasSuffix(path, "Statement") {
			into = func(text string) { c.Statements = append(c.Statements, text) }
		}
		if err := find(tree, strings.Split(path, "."), into); err != nil {
			return nil, err
		}
	}
	c.Tables = slices.Sorted(maps.Keys(names))
	if len(c.Tables) > maxNames || slices.ContainsFunc(c.Tables, func(n string) bool { return len(n) > maxName }) {
		return nil, fault.New(fault.Limit, "the request names too many tables, or one that is too long")
	}
	return c, nil
}

func unknown(target string) error {
	return fault.New(fault.Unimplemented, "the operation %.128q is not known here, so it is not let through", target)
}

// find walks a path: a field; "*" for every field; "[]" after a name for every
// element; "{}" for its keys. What is not there is not named.
func find(v any, path []string, into func(string)) error {
	if len(path) == 0 {
		text, ok := v.(string)
		if !ok {
			return fault.New(fault.Invalid, "the request names something that is no text")
		}
		into(text)
		return nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return fault.New(fault.Invalid, "the request is not of the form that its operation has")
	}
	field, list := strings.CutSuffix(path[0], "[]")
	field, keys := strings.CutSuffix(field, "{}")
	if field == "*" {
		for _, inner := range object {
			if err := find(inner, path[1:], into); err != nil {
				return err
			}
		}
		return nil
	}
	inner, ok := object[field]
	if !ok || inner == nil {
		return nil
	}
	elements := []any{inner}
	if list {
		if elements, ok = inner.([]any); !ok {
			return fault.New(fault.Invalid, "%s is no list", field)
		}
	}
	if keys {
		names, ok := inner.(map[string]any)
		if !ok {
			return fault.New(fault.Invalid, "%s is no object", field)
		}
		for name := range names {
			into(name)
		}
		return nil
	}
	for _, e := range elements {
		if err := find(e, path[1:], into); err != nil {
			return err
		}
	}
	return nil
}

// decode reads one JSON object. Fields are told apart by case, as AWS does.
func decode(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := value(d, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows")
		}
	}
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return nil, f
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the request is no JSON")
	}
	return v, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fault.New(fault.Limit, "the request is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return object(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

func object(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if _, twice := out[name]; !ok || twice {
			return nil, fault.New(fault.Invalid, "the request has the field %.64q twice", name)
		}
		if out[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return out, err
}
