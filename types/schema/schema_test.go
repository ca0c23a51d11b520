package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"teleport/types"
	"teleport/types/schema"
)

// matches checks the part of JSON Schema that this package writes.
func matches(root, s map[string]any, v any, path string) string {
	if ref, ok := s["$ref"].(string); ok {
		defs, _ := root["$defs"].(map[string]any)
		def, ok := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return path + ": dangling " + ref
		}
		return matches(root, def, v, path)
	}
	if m, ok := v.(map[string]any); ok && s["type"] == "object" {
		props, _ := s["properties"].(map[string]any)
		for k, sub := range m {
			p, known := props[k].(map[string]any)
			if !known {
				if p, known = s["additionalProperties"].(map[string]any); !known {
					return path + "." + k + ": not in the schema"
				}
			}
			if bad := matches(root, p, sub, path+"."+k); bad != "" {
				return bad
			}
		}
	}
	if l, ok := v.([]any); ok {
		items, _ := s["items"].(map[string]any)
		for _, sub := range l {
			if bad := matches(root, items, sub, path+"[]"); items != nil && bad != "" {
				return bad
			}
		}
	}
	return ""
}

func TestForEveryKind(t *testing.T) {
	for _, k := range types.Kinds() {
		b, err := schema.For(k.Name)
		if k.Internal {
			if err == nil {
				t.Errorf("%s is internal and has a schema", k.Name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var s map[string]any
		if err := json.Unmarshal(b, &s); err != nil || s["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Fatalf("%s: %v", k.Name, err)
		}
		doc, err := types.Encode(k.Example())
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(doc, &v); err != nil {
			t.Fatal(err)
		}
		if bad := matches(s, s, v, k.Name); bad != "" {
			t.Error(bad)
		}
	}
}

func TestForSaysWhatThereIs(t *testing.T) {
	b, err := schema.For("roles")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"max_session_ttl"`, `"kubernetes_resources"`, `"require_session_join"`, `"best_effort"`, `"description"`, `"v9"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the schema of role lacks %s", want)
		}
	}
	if _, err := schema.For("nothing"); err == nil {
		t.Error("an unknown kind has a schema")
	}
}
