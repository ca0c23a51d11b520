package store

import (
	"testing"

	"teleport/types"
)

func TestRecordingKeys(t *testing.T) {
	r := NewReplica(nil, []string{types.KindRecordingConfig}, ReplicaOptions{})
	if keys, encrypt := r.RecordingKeys(); len(keys) != 0 || !encrypt {
		t.Errorf("before the settings are known: %v, %t", keys, encrypt)
	}
	for _, c := range []struct {
		spec    string
		keys    int
		encrypt bool
	}{{`{"mode":"node"}`, 1, true}, {`{"encryption":{"enabled":false}}`, 0, false}, {`{"encryption":{"enabled":true}}`, 1, true}} {
		doc := `{"kind":"session_recording_config","version":"v2","metadata":{"name":"session-recording-config"},"spec":` + c.spec +
			`,"status":{"encryption_keys":[{"public_key":"age1pq1"}]}}`
		r.current.Store(emptySnapshot().replaced([]Change{{Kind: types.KindRecordingConfig, Name: "session-recording-config", Revision: 1, Document: []byte(doc)}}, 1, r.log))
		if keys, encrypt := r.RecordingKeys(); len(keys) != c.keys || encrypt != c.encrypt {
			t.Errorf("%s: %v, %t", c.spec, keys, encrypt)
		}
	}
}
