package chain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/types/event"
)

var update = flag.Bool("update", false, "write the frozen files that are missing")

func testKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("audit test key"))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testKeys() []ed25519.PublicKey {
	return []ed25519.PublicKey{testKey().Public().(ed25519.PublicKey)}
}

// world is a small log in memory: three writers, six blocks, three checkpoints.
type world struct {
	blocks []Block
	points []Signed
}

type writer struct {
	Writer
	seq  uint64
	head Hash
}

func (w *writer) batch(commands ...string) Batch {
	b := Batch{Writer: w.Writer, Previous: w.head}
	for _, c := range commands {
		w.seq++
		e := event.Encoded{Public: fmt.Appendf(nil, `{"event":"exec","n":%d}`, w.seq), Sensitive: fmt.Appendf(nil, `{"command":%q}`, c)}
		salt := bytes.Repeat([]byte{byte(w.seq)}, SaltSize)
		w.head = Next(w.head, w.seq, Leaf(Commit(salt, e.Sensitive), e.Public))
		b.Records = append(b.Records, Record{Sequence: w.seq, Event: e.Bytes(), Salt: salt, Chain: w.head})
	}
	return b
}

func newWriter(uuid string, g uint64) *writer {
	w := Writer{UUID: uuid, Generation: g}
	return &writer{Writer: w, head: Genesis(w)}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	a, b, c := newWriter("host-a", 1), newWriter("host-b", 7), newWriter("host-c", 1)
	runs := [][]Batch{
		{a.batch("a1", "a2")},
		{b.batch("b1"), a.batch("a3")},
		{a.batch("a4", "a5", "a6")},
		{c.batch("c1")},
		{b.batch("b2", "b3")},
		{a.batch("a7"), b.batch("b4")},
	}
	w := &world{}
	for i, r := range runs {
		w.blocks = append(w.blocks, Block{Number: uint64(i + 1), Received: time.Unix(1_800_000_000+int64(i), 5).UTC(), Runs: r})
	}
	w.sign(t, testKey())
	return w
}

// sign makes the checkpoints after every second block anew, as whoever holds
// the key can.
func (w *world) sign(t testing.TB, key ed25519.PrivateKey) {
	t.Helper()
	w.points = nil
	heads, changed := make(map[Writer]Head), make(map[Writer]bool)
	log := LogGenesis("test")
	var prev Hash
	for i, b := range w.blocks {
		var runs []Run
		for _, r := range b.Runs {
			runs = append(runs, RunOf(r))
			heads[r.Writer] = Head{Writer: r.Writer, Sequence: r.Last(), Chain: r.Head()}
			changed[r.Writer] = true
		}
		log = LogNext(log, b.Number, b.Received, runs)
		if i%2 == 0 {
			continue
		}
		c := Checkpoint{Version: 1, Cluster: "test", Number: uint64(len(w.points) + 1), Time: b.Received,
			Block: b.Number, Log: log, Writers: len(heads), Heads: HashHeads(headList(heads)), Previous: prev}
		for x := range changed {
			c.Changed = append(c.Changed, heads[x])
		}
		SortHeads(c.Changed)
		s, err := Sign(c, key)
		if err != nil {
			t.Fatal(err)
		}
		prev = s.Hash()
		clear(changed)
		w.points = append(w.points, s)
	}
}

func headList(m map[Writer]Head) []Head {
	var out []Head
	for _, h := range m {
		out = append(out, h)
	}
	return out
}

func (w *world) export(t testing.TB, redact bool) []byte {
	t.Helper()
	var b bytes.Buffer
	x, err := NewExporter(&b, Header{Cluster: "test", Keys: testKeys()}, redact)
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range w.blocks {
		if err := x.Block(block); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 && i/2 < len(w.points) {
			if err := x.Checkpoint(w.points[i/2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	for _, redact := range []bool{false, true} {
		for _, saved := range []*Signed{nil, &w.points[0], &w.points[2]} {
			r, err := Verify(bytes.NewReader(w.export(t, redact)), testKeys(), saved)
			if err != nil {
				t.Fatalf("%v: %+v", err, r.Problems)
			}
			if r.Events != 12 || r.Writers != 3 || r.Checkpoints != 3 || r.ToBlock != 6 || !r.Last.Equal(w.points[2]) || (r.Redacted == 12) != redact {
				t.Errorf("report: %+v", r)
			}
		}
	}
}

// TestVerifyFinds breaks each protection once. An attacker without the key
// edits the export; one with the key signs anew, and only the saved checkpoint
// shows it.
func TestVerifyFinds(t *testing.T) {
	replace := func(from, to string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("no %s in the export", from)
			}
			return bytes.Replace(b, []byte(from), []byte(to), 1)
		}
	}
	dropLines := func(marks ...string) func([]byte) []byte {
		return func(b []byte) []byte {
			var out []byte
			for ln := range bytes.Lines(b) {
				drop := false
				for _, m := range marks {
					drop = drop || bytes.Contains(ln, []byte(m))
				}
				if !drop {
					out = append(out, ln...)
				}
			}
			return out
		}
	}
	lastPoint := func(b []byte) []byte {
		at := bytes.LastIndex(b, []byte(`{"checkpoint"`))
		end := at + bytes.IndexByte(b[at:], '\n') + 1
		return append(bytes.Clone(b[:at]), b[end:]...)
	}
	cases := []struct {
		name  string
		kind  string
		world func(w *world) // by somebody with the key, who then signs anew
		edit  func([]byte) []byte
		keys  []ed25519.PublicKey
	}{
		{name: "sensitive field changed", kind: Modified, edit: replace(`"command":"a5"`, `"command":"xx"`)},
		{name: "public field changed", kind: Modified, edit: replace(`"event":"exec","n":5`, `"event":"port","n":5`)},
		{name: "salt changed", kind: Modified, edit: replace(`"salt":"BQUF`, `"salt":"CQUF`)},
		{name: "event removed", kind: Missing, edit: dropLines(`"command":"a5"`)},
		{name: "last event of a run removed", kind: Missing, edit: dropLines(`"command":"a6"`)},
		{name: "time of receipt changed", kind: Rewritten, edit: replace(`"received":"2027-01-15T08:00:02`, `"received":"2027-01-15T08:00:01`)},
		{name: "events swapped", kind: Missing, edit: func(b []byte) []byte { return swapLines(b, `"command":"a4"`, `"command":"a5"`) }},
		{name: "checkpoint removed", kind: Unsigned, edit: lastPoint},
		{name: "checkpoint forged", kind: BadSignature, edit: replace(`"signature":"`, `"signature":"AAAA`)},
		{name: "keys of another", kind: BadSignature, keys: []ed25519.PublicKey{make(ed25519.PublicKey, 32)}, edit: bytes.Clone},
		{name: "export cut short", kind: Malformed, edit: func(b []byte) []byte { return b[:len(b)-20] }},
		{name: "other spelling", kind: Malformed, edit: replace(`{"block":{"number":2`, `{"block": {"number":2`)},
		{name: "field twice", kind: Malformed, edit: replace(`{"event":{"sequence":5,`, `{"event":{"sequence":9,"sequence":5,`)},
		{name: "something behind the end", kind: Malformed, edit: func(b []byte) []byte { return append(bytes.Clone(b), '\n') }},
		{name: "no header", kind: Malformed, edit: dropLines("teleport_audit_export")},
		{name: "tail cut", kind: Cut, world: func(w *world) { w.blocks = w.blocks[:4] }},
		{name: "everything gone", kind: Cut, world: func(w *world) { w.blocks = nil }},
		{name: "writer dropped", kind: DroppedWriter, world: func(w *world) { w.drop("host-c") }},
		{name: "writer's end dropped", kind: Missing, world: func(w *world) { w.blocks[5].Runs = w.blocks[5].Runs[:1] }},
		{name: "history replaced", kind: Rewritten, world: func(w *world) {
			w.blocks[3].Runs = []Batch{newWriter("host-c", 1).batch("nothing happened")}
		}},
		{name: "blocks swapped", kind: Rewritten, world: func(w *world) {
			w.blocks[2].Runs, w.blocks[3].Runs = w.blocks[3].Runs, w.blocks[2].Runs
		}},
		{name: "received later", kind: Rewritten, world: func(w *world) { w.blocks[1].Received = w.blocks[1].Received.Add(1) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			keys := testKeys()
			if c.keys != nil {
				keys = c.keys
			}
			var saved *Signed
			if c.world != nil {
				saved = &w.points[2]
				c.world(w)
				w.sign(t, testKey())
				if r, err := Verify(bytes.NewReader(w.export(t, false)), keys, nil); err != nil {
					t.Fatalf("without the saved checkpoint it should pass: %v %+v", err, r.Problems)
				}
			}
			x := w.export(t, false)
			if c.edit != nil {
				x = c.edit(x)
			}
			r, err := Verify(bytes.NewReader(x), keys, saved)
			if !errors.Is(err, fault.Untrusted) {
				t.Fatalf("not found: %v", err)
			}
			for _, p := range r.Problems {
				if p.Kind == c.kind {
					return
				}
			}
			t.Errorf("no %s among %+v", c.kind, r.Problems)
		})
	}
}

// drop removes a writer and renumbers the blocks.
func (w *world) drop(uuid string) {
	var out []Block
	for _, b := range w.blocks {
		var runs []Batch
		for _, r := range b.Runs {
			if r.UUID != uuid {
				runs = append(runs, r)
			}
		}
		b.Runs = runs
		out = append(out, b)
	}
	w.blocks = out
}

func swapLines(b []byte, x, y string) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	at := func(m string) int {
		for i, l := range lines {
			if strings.Contains(l, m) {
				return i
			}
		}
		return 0
	}
	i, j := at(x), at(y)
	lines[i], lines[j] = lines[j], lines[i]
	return []byte(strings.Join(lines, ""))
}

func TestSavedCheckpointOfAnotherKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Sign(Checkpoint{Version: 1, Cluster: "test"}, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(bytes.NewReader(w.export(t, false)), testKeys(), &s); !errors.Is(err, fault.Untrusted) {
		t.Errorf("got %v", err)
	}
}

func TestBlockRoundTrip(t *testing.T) {
	for _, b := range newWorld(t).blocks {
		enc := AppendBlock(nil, b)
		got, err := DecodeBlock(enc)
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("block %d: %v", b.Number, err)
		}
		for cut := range len(enc) {
			if _, err := DecodeBlock(enc[:cut]); !errors.Is(err, fault.Invalid) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
	}
}

// TestFrozenLog verifies the first version's bytes for ever.
func TestFrozenLog(t *testing.T) {
	w := newWorld(t)
	for name, now := range map[string][]byte{
		"export.jsonl": w.export(t, false), "redacted.jsonl": w.export(t, true), "block.bin": AppendBlock(nil, w.blocks[5]),
	} {
		path := filepath.Join("testdata", "v1", name)
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) && *update {
			b, err = now, os.WriteFile(path, now, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, now) {
			t.Errorf("%s is not written as it was", name)
		}
		if strings.HasSuffix(name, ".jsonl") {
			if _, err := Verify(bytes.NewReader(b), testKeys(), &w.points[1]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	for _, b := range newWorld(f).blocks {
		f.Add(AppendBlock(nil, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := DecodeBlock(b)
		if err != nil {
			return
		}
		if !bytes.Equal(AppendBlock(nil, block), b) {
			t.Fatal("a block has two binary forms")
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(AppendRecord(nil, newWriter("a", 1).batch("x").Records[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := DecodeRecord(b)
		if err == nil && !bytes.Equal(append(AppendRecord(nil, r), rest...), b) {
			t.Fatal("a record has two binary forms")
		}
	})
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	whole := w.export(f, false)
	f.Add(whole)
	f.Add(w.export(f, true))
	f.Add([]byte("{\"end\":{\"blocks\":0,\"events\":0}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Verify(bytes.NewReader(b), testKeys(), &w.points[2])
		if err != nil {
			return
		}
		// What verifies against the last checkpoint is that log: only redaction differs.
		if r.Events != 12 || r.Writers != 3 {
			t.Fatalf("something else verifies: %+v", r)
		}
	})
}
