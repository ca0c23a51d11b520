package dynamowire

import (
	"encoding/json"
	"strings"
	"testing"

	"teleport/fault"
)

func TestHide(t *testing.T) {
	for name, c := range map[string]struct{ body, types, none string }{
		"put": {`{"TableName":"orders","Item":{"id":{"N":"7"},"name":{"S":"a <secret>"},"tags":{"SS":["x","y"]},"raw":{"B":"c2VjcmV0"},"gone":{"NULL":true},"on":{"BOOL":false}}}`,
			`{"Item":{"gone":{"NULL":"***"},"id":{"N":"***"},"name":{"S":"***"},"on":{"BOOL":"***"},"raw":{"B":"***"},"tags":{"SS":["***","***"]}},"TableName":"orders"}`,
			`{"Item":{"gone":"***","id":"***","name":"***","on":"***","raw":"***","tags":"***"},"TableName":"orders"}`},
		"nested": {`{"Item":{"a":{"M":{"b":{"L":[{"S":"x"},{"N":"1"}]}}}}}`, `{"Item":{"a":{"M":{"b":{"L":[{"S":"***"},{"N":"***"}]}}}}}`, `{"Item":{"a":"***"}}`},
		"expressions": {`{"KeyConditionExpression":"id = :a and n < :b","ExpressionAttributeNames":{"#n":"name"},"ExpressionAttributeValues":{":a":{"S":"x"},":b":{"N":"1"}},"Limit":5}`,
			`{"ExpressionAttributeNames":{"#n":"name"},"ExpressionAttributeValues":{":a":{"S":"***"},":b":{"N":"***"}},"KeyConditionExpression":"id = :a and n < :b","Limit":5}`,
			`{"ExpressionAttributeNames":{"#n":"name"},"ExpressionAttributeValues":{":a":"***",":b":"***"},"KeyConditionExpression":"id = :a and n < :b","Limit":5}`},
		"PartiQL":             {`{"Statement":"select * from t where a = ?","Parameters":[{"S":"x"}]}`, `{"Parameters":[{"S":"***"}],"Statement":"select * from t where a = ?"}`, `{"Parameters":["***"],"Statement":"select * from t where a = ?"}`},
		"a type as a name":    {`{"Item":{"S":{"S":"x"}}}`, `{"Item":{"S":{"S":"***"}}}`, `{"Item":"***"}`},
		"types as names":      {`{"Item":{"S":{"S":"x"},"N":{"N":"1"}}}`, `{"Item":{"N":{"N":"***"},"S":{"S":"***"}}}`, `{"Item":{"N":"***","S":"***"}}`},
		"a value of no type":  {`{"Item":{"a":{"S":5},"b":{"N":["x"]},"c":{"S":{"x":"y"}}}}`, `{"Item":{"a":{"S":"***"},"b":{"N":["***"]},"c":{"S":{"x":"***"}}}}`, `{"Item":{"a":"***","b":"***","c":"***"}}`},
		"definitions of keys": {`{"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`, `{"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`, `{"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]}`},
	} {
		for types, want := range map[bool]string{true: c.types, false: c.none} {
			if got, err := Hide([]byte(c.body), types); err != nil || string(got) != want {
				t.Errorf("%s, types %t: %v\n got %s\nwant %s", name, types, err, got, want)
			}
		}
	}
	for _, body := range []string{"", "{", `"text`, `{"a":1,"a":2}`, `{} {}`} {
		if got, err := Hide([]byte(body), true); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %s %v", body, got, err)
		}
	}
}

// Whatever is hidden is JSON again, and tells no value of a text.
func FuzzHide(f *testing.F) {
	f.Add([]byte(`{"TableName":"orders","Item":{"id":{"N":"7"},"a":{"M":{"b":{"L":[{"S":"x"}]}}}}}`))
	f.Add([]byte(`{"Item":{"S":{"S":"x"}}}`))
	f.Fuzz(func(t *testing.T, inner []byte) {
		for _, types := range []bool{true, false} {
			out, err := Hide(inner, types)
			if err == nil && !json.Valid(out) {
				t.Errorf("%q is no JSON", out)
			}
		}
		text, err := json.Marshal(string(inner) + "a value of somebody")
		if err != nil {
			t.Fatal(err)
		}
		out, err := Hide([]byte(`{"Item":{"a":{"S":`+string(text)+`},"b":{"L":[{"M":{"c":{"SS":[`+string(text)+`]}}}]}}}`), true)
		if err != nil || strings.Contains(string(out), "a value of somebody") {
			t.Errorf("%s %v", out, err)
		}
	})
}
