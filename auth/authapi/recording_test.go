package authapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"teleport/api/authclient"
	"teleport/api/gen/recordingv1"
	"teleport/fault"
	"teleport/recfmt"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// recording makes a finished recording of user's session, as the process host
// writes it to the published keys.
func (w *world) recording(host, user string, lines ...string) (id string, data []byte) {
	w.t.Helper()
	id = uuid.NewString()
	var to []age.Recipient
	for _, k := range w.recordingConfig().Status.EncryptionKeys {
		r, err := age.ParseHybridRecipient(k.PublicKey)
		must(w.t, err)
		to = append(to, r)
	}
	if len(to) != 1 {
		w.t.Fatalf("%d recording keys are published", len(to))
	}
	start := time.Now().UTC().Truncate(time.Microsecond)
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: to,
		Segment: recfmt.Segment{SessionID: id, Kind: "ssh", Cluster: "example", HostID: host, Generation: 1, Start: start}})
	must(w.t, err)
	info, err := json.Marshal(recfmt.Info{SessionID: id, Kind: "ssh", Cluster: "example", User: user, Login: user, HostID: host, Hostname: "n1", Start: start, Columns: 80, Rows: 24})
	must(w.t, err)
	must(w.t, e.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: info}))
	for i, l := range lines {
		must(w.t, e.Add(recfmt.Record{Type: recfmt.RecordOutput, At: time.Duration(i+1) * time.Second, Data: []byte(l)}))
		data = e.Chunk(data)
	}
	return id, e.Finish(data, recfmt.EndSession)
}

func (w *world) recordingConfig() *types.RecordingConfig {
	w.t.Helper()
	doc, err := authclient.Get[types.RecordingConfig](w.t.Context(), w.admin(), authclient.Ref{Kind: types.KindRecordingConfig})
	must(w.t, err)
	return doc
}

// store sends a whole recording.
func (w *world) upload(c *authclient.Client, id string, data []byte) {
	w.t.Helper()
	held, err := c.AppendRecording(w.t.Context(), id, 0, data)
	must(w.t, err)
	if held != uint64(len(data)) {
		w.t.Fatalf("held %d of %d", held, len(data))
	}
	must(w.t, c.CompleteRecording(w.t.Context(), id, uint64(len(data))))
}

// shown plays a recording and returns its output.
func shown(t *testing.T, c *authclient.Client, id string, from time.Duration) (string, error) {
	t.Helper()
	var out []byte
	first := true
	err := c.PlayRecording(t.Context(), &recordingv1.PlayRequest{SessionId: id, FromNano: int64(from)}, func(m *recordingv1.PlayResponse) error {
		if first && len(m.Info) == 0 {
			t.Error("a playback begins without the session's info")
		}
		first = false
		for _, r := range m.Records {
			if r.Type == uint32(recfmt.RecordOutput) {
				out = append(out, r.Data...)
			}
		}
		return nil
	})
	return string(out), err
}

func TestRecordingIsStoredAndPlayed(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	node := w.client(cert)
	alice, audra := w.client(w.user("alice", "access")), w.client(w.user("audra", "auditor"))
	w.settle()
	id, data := w.recording(host, "alice", "one ", "two ", "three")
	held, stored, err := node.RecordingHeld(t.Context(), id)
	if err != nil || held != 0 || stored {
		t.Fatalf("before: %d %v %v", held, stored, err)
	}
	w.upload(node, id, data)
	if held, stored, err = node.RecordingHeld(t.Context(), id); err != nil || held != uint64(len(data)) || !stored {
		t.Errorf("after: %d %v %v", held, stored, err)
	}
	w.upload(node, id, data) // once more changes nothing
	if n := len(w.events.Events(event.TypeSessionUpload)); n != 1 {
		t.Errorf("%d uploads are in the log", n)
	}
	for name, c := range map[string]*authclient.Client{"alice": alice, "audra": audra} {
		if got, err := shown(t, c, id, 0); err != nil || got != "one two three" {
			t.Errorf("%s sees %q, %v", name, got, err)
		}
		// From the middle on: all that paints the screen of that moment, then the rest.
		if got, err := shown(t, c, id, 2500*time.Millisecond); err != nil || !strings.Contains(got, "one two") || !strings.HasSuffix(got, "three") {
			t.Errorf("%s sees %q from the middle, %v", name, got, err)
		}
		var raw bytes.Buffer
		if err := c.FetchRecording(t.Context(), id, 0, func(b []byte) error { raw.Write(b); return nil }); err != nil || !bytes.Equal(raw.Bytes(), data) {
			t.Errorf("%s fetches %d bytes, %v", name, raw.Len(), err)
		}
		list, err := c.ListRecordings(t.Context(), &recordingv1.ListRequest{})
		if err != nil || len(list.Recordings) != 1 || list.Recordings[0].SessionId != id || list.Recordings[0].State != "stored" || list.Recordings[0].User != "alice" {
			t.Errorf("%s lists %v, %v", name, list, err)
		}
	}
	if n := len(w.events.Events(event.TypeRecordingAccess)); n != 6 {
		t.Errorf("%d accesses are in the log, want 6", n)
	}
}

// TestSeekingSkips: what was shown before the moment is neither read from the
// storage nor sent, beside what paints the screen of that moment.
func TestSeekingSkips(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	// Text that does not compress, so that what is read and sent counts.
	lines := make([]string, 120)
	for i := range lines {
		var b strings.Builder
		for row := range 400 {
			h := sha256.Sum256([]byte{byte(i), byte(row), byte(row >> 8)})
			fmt.Fprintf(&b, "%d: %x\r\n", i, h)
		}
		lines[i] = b.String()
	}
	id, data := w.recording(host, "alice", lines...)
	w.upload(w.client(cert), id, data)
	alice := w.client(w.user("alice", "access"))
	w.settle()
	w.blobs.wait(t, ".index")
	key := w.blobs.wait(t, ".rec")
	all := strings.Join(lines, "")
	w.blobs.readOf(key) // by who made the index
	if got, err := shown(t, alice, id, 0); err != nil || got != all {
		t.Fatalf("%d bytes are shown of %d, %v", len(got), len(all), err)
	}
	if n := w.blobs.readOf(key); n < int64(len(data)) {
		t.Fatalf("%d bytes of %d were read for all of it: the count is wrong", n, len(data))
	}
	for _, at := range []int{20, 60, 115} {
		got, err := shown(t, alice, id, time.Duration(at)*time.Second)
		rest := strings.Join(lines[at-1:], "")
		if err != nil || !strings.HasSuffix(got, rest) {
			t.Errorf("from %d s on: %d bytes, which end in %.70q, %v", at, len(got), got[max(0, len(got)-70):], err)
		}
		// A picture stands for every 512 KiB at least, and bodies are read by 64 KiB.
		if more := len(got) - len(rest); more > 600<<10 {
			t.Errorf("from %d s on: %d bytes are sent that were shown before, of %d", at, more, len(all)-len(rest))
		}
		if n := w.blobs.readOf(key); n > int64(len(data)*len(rest)/len(all)+(500<<10)) {
			t.Errorf("from %d s on: %d bytes of %d are read", at, n, len(data))
		}
	}
	if n := len(w.events.Events(event.TypeRecordingAccess)); n != 4 {
		t.Errorf("%d accesses are in the log, want 4", n)
	}
}

// TestRecordingOfAnother: somebody else's recording, and one that never was, are
// the same to who may not read it.
func TestRecordingOfAnother(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	id, data := w.recording(host, "alice", "secret")
	w.upload(w.client(cert), id, data)
	bob, nobody := w.client(w.user("bob", "access")), w.client(w.user("nobody"))
	w.settle()
	text := func(id string, err error) string {
		return string(bytes.ReplaceAll([]byte(fault.Message(err)), []byte(id), nil))
	}
	unknown := uuid.NewString()
	_, playForeign := shown(t, bob, id, 0)
	_, playUnknown := shown(t, bob, unknown, 0)
	fetch := func(id string) error {
		return bob.FetchRecording(t.Context(), id, 0, func([]byte) error { return nil })
	}
	for _, pair := range [][2]error{{playForeign, playUnknown}, {fetch(id), fetch(unknown)}} {
		if !errors.Is(pair[0], fault.NotFound) || !errors.Is(pair[1], fault.NotFound) || text(id, pair[0]) != text(unknown, pair[1]) {
			t.Errorf("foreign: %v; unknown: %v", pair[0], pair[1])
		}
	}
	if list, err := bob.ListRecordings(t.Context(), &recordingv1.ListRequest{}); err != nil || len(list.Recordings) != 0 {
		t.Errorf("bob lists %v, %v", list, err)
	}
	if _, err := nobody.ListRecordings(t.Context(), &recordingv1.ListRequest{}); !errors.Is(err, fault.Denied) {
		t.Errorf("without a rule: %v", err)
	}
	for _, id := range []string{id, unknown} {
		if _, err := shown(t, nobody, id, 0); !errors.Is(err, fault.Denied) {
			t.Errorf("without a rule: %v", err)
		}
	}
	if n := len(w.events.Events(event.TypeRecordingAccess)); n != 0 {
		t.Errorf("%d accesses are in the log", n)
	}
}

// TestRecordingsAreQueried: a query narrows the list of what the caller may see and
// never widens it; what cannot be evaluated is an error, and no empty list.
func TestRecordingsAreQueried(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	node := w.client(cert)
	ofAlice, data := w.recording(host, "alice", "one")
	w.upload(node, ofAlice, data)
	ofBob, data := w.recording(host, "bob", "two")
	w.upload(node, ofBob, data)
	alice, audra := w.client(w.user("alice", "access")), w.client(w.user("audra", "auditor"))
	w.settle()
	for _, c := range []struct {
		query string
		want  []string // of an auditor; alice sees her own of them
	}{
		{`resource.user == "alice"`, []string{ofAlice}},
		{`resource.user != "alice" && resource.hostname == "n1" && resource.state == "stored"`, []string{ofBob}},
		{`name == "` + ofBob + `" || resource.session_id == "` + ofAlice + `"`, []string{ofAlice, ofBob}},
		{`contains(resource.participants, "bob") && resource.login == "bob" && resource.interactive`, []string{ofBob}},
		{`resource.kind == "db" || resource.duration == "7" || resource.size == "0" || resource.host_id == "x"`, nil},
		{`hasPrefix(resource.start, "20") && search("ALICE")`, []string{ofAlice}},
	} {
		for name, user := range map[string]*authclient.Client{"alice": alice, "audra": audra} {
			list, err := user.ListRecordings(t.Context(), &recordingv1.ListRequest{Query: c.query})
			if err != nil {
				t.Errorf("%s, %s: %v", name, c.query, err)
				continue
			}
			var got []string
			for _, r := range list.Recordings {
				got = append(got, r.SessionId)
			}
			want := slices.DeleteFunc(slices.Clone(c.want), func(id string) bool { return name == "alice" && id != ofAlice })
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: %q, want %q", name, c.query, got, want)
			}
		}
	}
	for _, query := range []string{`resource.nope == "x"`, `resource.user`, `resource.user == `, `user.name == "alice"`, `name == true`, strings.Repeat("(", 5000)} {
		if list, err := audra.ListRecordings(t.Context(), &recordingv1.ListRequest{Query: query}); !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Limit) {
			t.Errorf("%.30s: %v, %v", query, list, err)
		}
	}
	if _, err := audra.ListRecordings(t.Context(), &recordingv1.ListRequest{Query: `resource.user == true`}); fault.Message(err) !=
		`the query "resource.user == true" cannot be evaluated: cannot compare text with a truth value` {
		t.Errorf("it says: %v", fault.Message(err))
	}
	for _, c := range []*authclient.Client{w.client(w.user("nobody")), node} {
		if _, err := c.ListRecordings(t.Context(), &recordingv1.ListRequest{Query: `resource.user == "alice"`}); !errors.Is(err, fault.Denied) {
			t.Errorf("without a rule: %v", err)
		}
	}
}

// TestTypoInADenyOfRecordings: what a recording has no name for cannot be
// evaluated, which denies.
func TestTypoInADenyOfRecordings(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	id, data := w.recording(host, "alice", "secret")
	w.upload(w.client(cert), id, data)
	for where, allowed := range map[string]bool{
		`contains(session.participants, "mallory")`: true,
		`contains(session.participants, "alice")`:   false,
		`contains(session.participant, "mallory")`:  false,
		`session.nobody == "x"`:                     false,
		`session.sid == "x" || session.kind == "x" || session.user == "x" || session.login == "x" || session.server_id == "x"`: true,
		`session.server_hostname == "x" || session.cluster_name == "x"`:                                                        true,
	} {
		role := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v7", Metadata: types.Metadata{Name: "no"}}}
		role.Spec.Deny.Rules = []types.Rule{{Resources: []string{"session"}, Verbs: []string{"read"}, Where: where}}
		if _, err := store.Of[*types.Role](w.store()).Upsert(t.Context(), role); err != nil {
			t.Fatal(err)
		}
		alice := w.client(w.user("alice", "access", "no"))
		w.settle()
		if _, err := shown(t, alice, id, 0); (err == nil) != allowed {
			t.Errorf("deny where %s: %v", where, err)
		}
	}
}

// TestSearchOfAnother: a search finds words in the recordings that the searcher may
// read, by the where of their rules, and in no other; every search is told.
func TestSearchOfAnother(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	id, data := w.recording(host, "alice", "the word is quicksilver\r\n")
	w.upload(w.client(cert), id, data)
	search := func(c *authclient.Client) (found int, err error) {
		err = c.SearchRecordings(t.Context(), &recordingv1.SearchRequest{Text: "quicksilver"}, func(m *recordingv1.SearchResponse) error {
			found++
			if m.Recording.SessionId != id || len(m.Hits) != 1 {
				t.Errorf("found %v", m)
			}
			return nil
		})
		return found, err
	}
	own := w.client(w.user("alice", "access"))
	bob, audra, nobody := w.client(w.user("bob", "access")), w.client(w.user("audra", "auditor")), w.client(w.user("nobody"))
	w.settle()
	w.blobs.wait(t, ".index") // it is made behind
	if n, err := search(own); err != nil || n != 1 {
		t.Errorf("the owner: %d, %v", n, err)
	}
	if n, err := search(audra); err != nil || n != 1 {
		t.Errorf("an auditor: %d, %v", n, err)
	}
	if n, err := search(bob); err != nil || n != 0 {
		t.Errorf("somebody else: %d, %v", n, err)
	}
	if n, err := search(nobody); !errors.Is(err, fault.Denied) || n != 0 {
		t.Errorf("without a rule: %d, %v", n, err)
	}
	if _, err := search(w.client(cert)); !errors.Is(err, fault.Denied) {
		t.Errorf("a host: %v", err)
	}
	who := map[string]bool{}
	for _, e := range w.events.Events(event.TypeRecordingAccess) {
		who[e.(*event.RecordingAccess).User.User] = true
	}
	if !who["alice"] || !who["audra"] || !who["bob"] || who["nobody"] {
		t.Errorf("searches in the log: %v", who)
	}
}

// TestRecordingBelongsToItsProcess: no process sends, asks after or completes
// another's recording, nor begins one in another's name.
func TestRecordingBelongsToItsProcess(t *testing.T) {
	w := newWorld(t)
	host, cert := w.host("node1", types.RoleNode)
	_, other := w.host("node2", types.RoleNode)
	_, door := w.host("proxy1", types.RoleProxy)
	id, data := w.recording(host, "alice", "one", "two")
	for _, thief := range []*authclient.Client{w.client(other), w.client(door)} {
		if _, err := thief.AppendRecording(t.Context(), id, 0, data); !errors.Is(err, fault.Denied) {
			t.Errorf("begin in another's name: %v", err)
		}
	}
	node := w.client(cert)
	if _, err := node.AppendRecording(t.Context(), id, 0, data[:len(data)-100]); err != nil {
		t.Fatal(err)
	}
	for _, stored := range []bool{false, true} {
		if stored {
			w.upload(node, id, data)
		}
		for _, thief := range []*authclient.Client{w.client(other), w.client(door)} {
			if _, err := thief.AppendRecording(t.Context(), id, 0, data); !errors.Is(err, fault.Denied) {
				t.Errorf("append to another's: %v", err)
			}
			if _, _, err := thief.FinishRecording(t.Context(), id, 0, data); !errors.Is(err, fault.Denied) {
				t.Errorf("finish another's: %v", err)
			}
			if _, _, err := thief.RecordingHeld(t.Context(), id); !errors.Is(err, fault.Denied) {
				t.Errorf("ask after another's: %v", err)
			}
			if err := thief.CompleteRecording(t.Context(), id, uint64(len(data))); !errors.Is(err, fault.Denied) {
				t.Errorf("complete another's: %v", err)
			}
		}
	}
	user := w.client(w.user("alice", "access", "editor", "auditor"))
	if _, err := user.AppendRecording(t.Context(), uuid.NewString(), 0, data); !errors.Is(err, fault.Denied) {
		t.Errorf("a person begins a recording: %v", err)
	}
	id, data = w.recording(host, "alice", "three")
	if held, stored, err := node.FinishRecording(t.Context(), id, 0, data); err != nil || !stored || held != uint64(len(data)) {
		t.Errorf("finish one's own: %d %v %v", held, stored, err)
	}
}

// TestRecordingKeysAreTheServers: who may write the recording settings may not
// write the keys in them, and cannot lose them.
func TestRecordingKeysAreTheServers(t *testing.T) {
	w := newWorld(t)
	ed := w.client(w.user("ed", "editor"))
	w.settle()
	doc := w.recordingConfig()
	published := doc.Status.EncryptionKeys
	own, err := age.GenerateHybridIdentity()
	must(t, err)
	mine := types.RecordingPublicKey{PublicKey: own.Recipient().String()}
	for _, keys := range [][]types.RecordingPublicKey{{mine}, {published[0], mine}} {
		bad := *doc
		bad.Status.EncryptionKeys = keys
		for _, c := range []*authclient.Client{ed, w.admin()} {
			if _, err := authclient.Put(t.Context(), c, authclient.Upsert, &bad); !errors.Is(err, fault.Denied) {
				t.Errorf("keys of one's own: %v", err)
			}
		}
	}
	for _, keys := range [][]types.RecordingPublicKey{published, nil} {
		good := *doc
		good.Metadata.Revision = ""
		good.Spec.Mode, good.Status.EncryptionKeys = "node-sync", keys
		_, err := authclient.Put(t.Context(), ed, authclient.Upsert, &good)
		must(t, err)
		if got := w.recordingConfig(); got.Spec.Mode != "node-sync" || len(got.Status.EncryptionKeys) != 1 || got.Status.EncryptionKeys[0] != published[0] {
			t.Errorf("after a write: %+v", got)
		}
	}
	must(t, ed.Delete(t.Context(), authclient.Ref{Kind: types.KindRecordingConfig, Name: "session-recording-config"}, ""))
	if got := w.recordingConfig(); got.Spec.Mode == "node-sync" || len(got.Status.EncryptionKeys) != 1 {
		t.Errorf("after a delete: %+v", got)
	}
}

// TestRecordingKeysRotate: who may write the recording settings makes a new key,
// which is published at once; nobody else does, and the old settings do not
// come back with the old key.
func TestRecordingKeysRotate(t *testing.T) {
	w := newWorld(t)
	ed, reader := w.client(w.user("ed", "editor")), w.client(w.user("alice", "access"))
	w.settle()
	before := w.recordingConfig()
	first, err := ed.RecordingKeys(t.Context())
	must(t, err)
	if len(first) != 1 || first[0] != before.Status.EncryptionKeys[0].PublicKey {
		t.Fatalf("%q, published %v", first, before.Status)
	}
	if keys, err := reader.RotateRecordingKeys(t.Context()); !errors.Is(err, fault.Denied) {
		t.Errorf("an ordinary user rotates: %q, %v", keys, err)
	}
	if keys, err := reader.RecordingKeys(t.Context()); !errors.Is(err, fault.Denied) {
		t.Errorf("an ordinary user lists: %q, %v", keys, err)
	}
	now, err := ed.RotateRecordingKeys(t.Context())
	must(t, err)
	after := w.recordingConfig()
	if len(now) != 2 || now[0] == first[0] || now[1] != first[0] || len(after.Status.EncryptionKeys) != 1 || after.Status.EncryptionKeys[0].PublicKey != now[0] {
		t.Errorf("%q, published %v", now, after.Status)
	}
	before.Metadata.Revision = ""
	if _, err := authclient.Put(t.Context(), ed, authclient.Upsert, before); !errors.Is(err, fault.Denied) {
		t.Errorf("the old key comes back: %v", err)
	}
	before.Status.EncryptionKeys = nil
	_, err = authclient.Put(t.Context(), ed, authclient.Upsert, before)
	must(t, err)
	if got := w.recordingConfig().Status.EncryptionKeys; len(got) != 1 || got[0].PublicKey != now[0] {
		t.Errorf("after a write %v is published", got)
	}
	if n := len(w.events.Events(event.TypeRecConfigUpdate)); n != 2 {
		t.Errorf("the log has %d changes", n)
	}
}
