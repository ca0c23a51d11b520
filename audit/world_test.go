package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/audit/chain"
	"teleport/types/event"
)

const (
	hostA = "aaaaaaaa-0000-4000-8000-000000000001"
	hostB = "bbbbbbbb-0000-4000-8000-000000000002"
)

// testKey is the same in every test.
func testKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("audit test key"))
	return ed25519.NewKeyFromSeed(seed[:])
}

func newWriter(t testing.TB, dir, host string) *Writer {
	t.Helper()
	w, err := NewWriter(WriterOptions{Dir: dir, HostUUID: host, Cluster: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeOK(t, w) })
	return w
}

func closeOK(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func openLog(t testing.TB, dir string, change ...func(*LogOptions)) *Log {
	t.Helper()
	o := LogOptions{Dir: dir, Cluster: "test", Signer: testKey()}
	for _, c := range change {
		c(&o)
	}
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeOK(t, l) })
	return l
}

func emit(t testing.TB, e Emitter, events ...event.Event) {
	t.Helper()
	for _, x := range events {
		if err := e.Emit(context.Background(), x); err != nil {
			t.Fatal(err)
		}
	}
}

// exec is an event that is easy to tell apart.
func exec(user, command string) *event.Exec {
	return &event.Exec{Meta: event.Meta{Code: event.CodeExec}, User: event.User{User: user},
		Session: event.Session{SessionID: "sid-" + user}, Command: event.Command{Command: command}}
}

// batches makes batches of a writer that exists in memory only.
type fakeWriter struct {
	w    chain.Writer
	seq  uint64
	head chain.Hash
	c    *event.Codec
	at   time.Time
}

func newFakeWriter(uuid string, generation uint64) *fakeWriter {
	w := chain.Writer{UUID: uuid, Generation: generation}
	return &fakeWriter{w: w, head: chain.Genesis(w), c: event.NewCodec(), at: time.Unix(1_800_000_000, 0).UTC()}
}

func (f *fakeWriter) batch(t testing.TB, events ...event.Event) chain.Batch {
	t.Helper()
	b := chain.Batch{Writer: f.w, Previous: f.head}
	for _, e := range events {
		m := e.EventMeta()
		if m.Time.IsZero() {
			f.at = f.at.Add(time.Second)
			m.Time = f.at
		}
		if m.UID == "" {
			m.UID = uuid.NewString()
		}
		m.Cluster = "test"
		enc, err := f.c.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		f.seq++
		salt := bytes.Repeat([]byte{byte(f.seq)}, chain.SaltSize)
		f.head = chain.Next(f.head, f.seq, chain.Leaf(chain.Commit(salt, enc.Sensitive), enc.Public))
		b.Records = append(b.Records, chain.Record{Sequence: f.seq, Event: enc.Bytes(), Salt: salt, Chain: f.head})
	}
	return b
}

func ingestOK(t testing.TB, l *Log, b chain.Batch) {
	t.Helper()
	ack, err := l.Ingest(context.Background(), Caller{UUID: b.UUID}, b)
	if err != nil || ack < b.Last() {
		t.Fatalf("ingest: ack %d of %d, %v", ack, b.Last(), err)
	}
}

func exported(t testing.TB, l *Log, o ExportOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.Export(context.Background(), o, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verifyOK(t testing.TB, l *Log, saved *chain.Signed) chain.Report {
	t.Helper()
	r, err := chain.Verify(bytes.NewReader(exported(t, l, ExportOptions{})), l.Keys(), saved)
	if err != nil {
		t.Fatalf("%v: %+v", err, r.Problems)
	}
	return r
}

// commands returns the commands of exec events as a search finds them.
func commands(t testing.TB, r Result) []string {
	t.Helper()
	var out []string
	for _, f := range r.Events {
		var x struct {
			Command string `json:"command"`
		}
		if err := json.Unmarshal(f.JSON, &x); err != nil {
			t.Fatal(err)
		}
		out = append(out, x.Command)
	}
	return out
}

func spoolDir(t testing.TB) string { return filepath.Join(t.TempDir(), "spool") }
