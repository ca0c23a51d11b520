package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// slowly merges as JSON would be by hand: what join must not differ from.
func slowly(t *testing.T, public, sensitive []byte) map[string]any {
	t.Helper()
	var a, b map[string]any
	if json.Unmarshal(public, &a) != nil || json.Unmarshal(sensitive, &b) != nil {
		t.Fatalf("not objects: %s %s", public, sensitive)
	}
	for k, v := range b {
		if _, both := a[k]; !both {
			a[k] = v
		}
	}
	return a
}

func TestHalvesAreJoinedInOrder(t *testing.T) {
	for _, c := range []struct {
		name, public, sensitive, want string
		ok                            bool
	}{
		{"disjoint", `{"a":1,"c":[1,{"x":"}"}]}`, `{"b":"q,\"}{","d":{"e":2}}`, `{"a":1,"b":"q,\"}{","c":[1,{"x":"}"}],"d":{"e":2}}`, true},
		{"nothing public", `{}`, `{"b":2}`, `{"b":2}`, true},
		{"nothing at all", `{}`, `{}`, `{}`, true},
		{"dots", `{"addr.local":"x"}`, `{"addr":"y","addr.remote":"z"}`, `{"addr":"y","addr.local":"x","addr.remote":"z"}`, true},
		{"shared", `{"a":{"x":1}}`, `{"a":{"y":1}}`, "", false},
		{"out of order", `{"b":1,"a":2}`, `{"c":1}`, "", false},
		{"twice", `{"a":1,"a":2}`, `{"c":1}`, "", false},
		{"spaced", `{ "a":1}`, `{"c":1}`, "", false},
		{"escaped key", `{"a\u0062":1}`, `{"c":1}`, "", false},
	} {
		got, ok := join(nil, []byte(c.public), []byte(c.sensitive))
		if ok != c.ok || ok && string(got) != c.want {
			t.Errorf("%s: %s %v", c.name, got, ok)
		}
	}
}

func FuzzJoin(f *testing.F) {
	f.Add([]byte(`{"a":1,"c":[1,{"x":"}"}]}`), []byte(`{"b":"q,\"}{","d":{"e":2}}`))
	f.Add([]byte(`{"a":{"x":1}}`), []byte(`{"a":{"y":1}}`))
	f.Fuzz(func(t *testing.T, public, sensitive []byte) {
		joined, ok := join(nil, public, sensitive) // of whatever: it must end
		if !ok || !isObject(public) || !isObject(sensitive) {
			return
		}
		var got map[string]any
		if err := json.Unmarshal(joined, &got); err != nil {
			t.Fatalf("%s and %s become %s: %v", public, sensitive, joined, err)
		}
		if want := slowly(t, public, sensitive); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s and %s become %s", public, sensitive, joined)
		}
	})
}

func TestPlainIsWhatThisPackageWrites(t *testing.T) {
	deep := strings.Repeat("[", deepest+1) + strings.Repeat("]", deepest+1)
	for text, want := range map[string]bool{
		`{}`: true, `{"a":1}`: true, `{"a":-0.5e+7,"b":[1,"x",{"c":null}],"d":{"e":true,"f":false},"g":[],"h":{}}`: true, `{"a":"\u00e9\n\"\\"}`: true,
		``: false, `{`: false, `}`: false, `{}}`: false, `{"a":1}}`: false, `{"a":1}x`: false, `{"a":1{}`: false, `{"a":1{"b":2}`: false, `,"a":1}`: false,
		`{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `{a:1}`: false, `{ "a":1}`: false, `{"a": 1}`: false, `{"a":[1 ]}`: false,
		`{"b":1,"a":2}`: false, `{"a":1,"a":2}`: false, `{"a\u0062":1}`: false, "{\"a\":\"x\ny\"}": false, "{\"a\n\":1}": false,
		`{"a":01}`: false, `{"a":-}`: false, `{"a":1.}`: false, `{"a":.5}`: false, `{"a":1e}`: false, `{"a":+1}`: false, `{"a":tru}`: false, `{"a":nul`: false,
		`{"a":"\x"}`: false, `{"a":"\u12g4"}`: false, `{"a":"\u12`: false, `{"a":"\`: false, `{"a":"`: false, `{"a":[1}`: false, `{"a":{"b"}}`: false, `{"a":{"b":1]}`: false,
		`{"a":` + deep + `}`: false, `{"a":` + deep[1:len(deep)-1] + `}`: true,
	} {
		if got := isPlain([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
		if want && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", text)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte(`{"a":-0.5e+7,"b":[1,"x",{"c":null}],"d":{"e":true,"f":false}}`))
	f.Add([]byte(`{"a":1{"b":"\ud800"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if isPlain(text) && (!json.Valid(text) || bytes.IndexByte(text, '\n') >= 0) {
			t.Fatalf("%q is no JSON object on one line", text)
		}
		Fields(text, func(key, value []byte) bool {
			got, ok := Text(value)
			var want string
			if err := json.Unmarshal(value, &want); ok != (err == nil && value[0] == '"') || ok && got != want {
				t.Fatalf("%s is %q %v, not %q %v", value, got, ok, want, err)
			}
			return true
		})
	})
}

func TestHeadIsWhatJSONSays(t *testing.T) {
	for _, c := range []struct {
		name, public, sensitive string
		want                    Head
		fails                   bool
	}{
		{"all", `{"code":"T1","event":"exec","forwarded_by":"p","server_id":"h","sid":"s","time":"2026-01-02T03:04:05Z","uid":"u"}`, `{"user":"alice"}`,
			Head{"exec", "T1", "u", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "s", "h", "p", "alice"}, false},
		{"a public user goes first", `{"event":"e","user":"bot"}`, `{"user":"alice"}`, Head{Type: "e", User: "bot"}, false},
		{"the hidden half says only who", `{"event":"e","server_id":"h"}`, `{"event":"x","server_id":"other","sid":"s","user":"alice"}`,
			Head{Type: "e", ServerID: "h", User: "alice"}, false},
		{"escapes", `{"event":"a\u0062c"}`, `{"user":"\""}`, Head{Type: "abc", User: `"`}, false},
		{"out of order", `{"uid":"u","event":"e"}`, `{}`, Head{Type: "e", UID: "u"}, false},
		{"a number", `{"event":1}`, `{}`, Head{}, true},
		{"no time", `{"event":"e","time":"yesterday"}`, `{}`, Head{}, true},
		{"a user of another kind", `{"event":"e"}`, `{"user":{}}`, Head{}, true},
	} {
		got, err := Encoded{Public: []byte(c.public), Sensitive: []byte(c.sensitive)}.Head()
		if (err != nil) != c.fails || err == nil && got != c.want {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
		for _, other := range []Head{c.want, {"exec", "T2", "w", time.Unix(1, 0), "r", "h", "q", "bob"}} {
			like, err := Encoded{Public: []byte(c.public), Sensitive: []byte(c.sensitive)}.HeadLike(&other)
			if (err != nil) != c.fails || err == nil && like != c.want {
				t.Errorf("%s: beside %+v it is %+v %v", c.name, other, like, err)
			}
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte(`{"code":"T1","event":"exec","sid":"s","time":"2026-01-02T03:04:05Z","uid":"u"}`))
	f.Add([]byte(`{"event":"a\u0062c","user":1}`))
	f.Fuzz(func(t *testing.T, half []byte) {
		var got Head
		ok := got.walk(half, &Head{}) // of whatever: it must end
		if !ok || !isObject(half) || !utf8.Valid(half) {
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(half, &all); err != nil {
			t.Fatalf("%s: %v", half, err)
		}
		for key, has := range map[string]string{"event": got.Type, "code": got.Code, "uid": got.UID, "sid": got.SessionID,
			"server_id": got.ServerID, "forwarded_by": got.ForwardedBy, "user": got.User} {
			want := ""
			if raw, there := all[key]; there && json.Unmarshal(raw, &want) != nil || has != want {
				t.Fatalf("%s: %s is %q, not %q", half, key, has, want)
			}
		}
		var at time.Time
		if raw, there := all["time"]; there && json.Unmarshal(raw, &at) != nil || !got.Time.Equal(at) {
			t.Fatalf("%s: time is %v, not %v", half, got.Time, at)
		}
	})
}
