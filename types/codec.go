package types

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"teleport/fault"
)

// Decode reads one document of any kind, strictly: unknown, duplicate and
// differently-cased keys are refused with their full path and the nearest known
// key. The document is validated and its defaults are filled.
func Decode(data []byte) (Resource, error) {
	r, _, err := decode(data, false)
	return r, err
}

// DecodeLenient reads a document that a newer version may have written. Unknown
// keys are skipped and their paths returned: a policy with any must fail closed,
// and it must not be written back.
func DecodeLenient(data []byte) (r Resource, unknown []string, err error) {
	return decode(data, true)
}

// DecodeInto reads a document of a known kind into dst, strictly, and validates it.
func DecodeInto(data []byte, dst Resource) error {
	n, err := parseTree(data)
	if err != nil {
		return err
	}
	return (&decoder{}).resource(n, dst)
}

func decode(data []byte, lenient bool) (Resource, []string, error) {
	n, err := parseTree(data)
	if err != nil {
		return nil, nil, err
	}
	if n.kind != '{' {
		return nil, nil, fault.New(fault.Invalid, "a document is an object with kind, version, metadata and spec")
	}
	name := n.stringAt("kind")
	if name == "" {
		return nil, nil, fieldFault("kind", "is missing").WithHint("every document says its kind, such as %q", KindRole)
	}
	info, ok := exactKind(name)
	if !ok {
		e := fieldFault("kind", "there is no kind of resource called %q", name)
		if near, err := KindByName(name); err == nil {
			return nil, nil, e.WithHint("did you mean %q?", near.Name)
		}
		if near := Nearest(name, kindNames(Kinds())); near != "" {
			return nil, nil, e.WithHint("did you mean %q?", near)
		}
		return nil, nil, e
	}
	r := info.New()
	d := &decoder{lenient: lenient}
	if err := d.resource(n, r); err != nil {
		return nil, nil, err
	}
	return r, d.unknown, nil
}

func (d *decoder) resource(n *jsonNode, r Resource) error {
	if n.kind != '{' {
		return fault.New(fault.Invalid, "a document is an object with kind, version, metadata and spec")
	}
	v := reflect.ValueOf(r).Elem()
	v.SetZero()
	if err := d.object(n, v, ""); err != nil {
		return err
	}
	return r.Validate()
}

func (n *jsonNode) stringAt(key string) string {
	for i, k := range n.keys {
		if k == key && n.vals[i].kind == 's' {
			return n.vals[i].text
		}
	}
	return ""
}

// Encode writes a document in its one canonical form: keys sorted, no white
// space, no HTML escapes. Secrets of internal kinds are written; other encoders
// show "***" for them.
func Encode(r Resource) ([]byte, error) {
	var v any = r
	if s, ok := r.(interface{ storedForm() any }); ok {
		v = s.storedForm()
	}
	return canonical(v)
}

func canonical(v any) ([]byte, error) {
	plain, err := marshal(v)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the document cannot be encoded")
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the document cannot be encoded")
	}
	return marshal(tree) // maps are written with sorted keys
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// Clone returns a deep copy, by way of the canonical form.
func Clone[T any, P document[T]](r P) (P, error) {
	b, err := Encode(r)
	if err != nil {
		return nil, err
	}
	out := P(new(T))
	if err := DecodeInto(b, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Nearest returns the known word that a person most likely meant, or "" when
// none is close.
func Nearest(word string, known []string) string {
	best, bestDist := "", len(word)/3+2
	low := strings.ToLower(word)
	for _, k := range known {
		if d := editDistance(low, strings.ToLower(k), bestDist); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours; it is only exact below limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 128 {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
