package tunframe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"teleport/fault"
)

var freeze = flag.Bool("freeze", false, "write testdata anew; only before the version is released")

// frozen are messages of version 1 with all fields set; their bytes are in
// testdata/v1 and are decoded for ever.
func frozen() map[string]message {
	id := DataID("00112233445566778899aabbccddeeff")
	return map[string]message{
		"header": &Header{V: 1, Cluster: "example.com", Kind: "node", Name: "web-1", AgentUUID: "7f3c9a1e-0000-4000-8000-000000000001",
			Generation: 3, Gateway: &Gateway{Cluster: "example.com", User: "alice", CertSHA256: strings.Repeat("ab", 32)},
			Client: netip.MustParseAddrPort("192.0.2.7:4711"), ProxyUUID: "7f3c9a1e-0000-4000-8000-000000000002",
			Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Stream: string(id), Verb: Attach, Carrier: CarrierData},
		"header-minimal": &Header{V: 1, Kind: "node", Name: "env=prod,tier=1", Verb: Open},
		"reply-ok":       &Reply{V: 1, EndsAt: EndsAtAgent, AgentUUID: "a", Generation: 3, Hostname: "web-1", Carrier: CarrierChannel, Resume: true},
		"reply-refusal":  &Reply{V: 1, Kind: fault.Denied, Message: "no role allows it", Hint: "ask for one"},
		"hello":          &Hello{V: 1, Generation: 3, Services: []string{"ssh", "db"}, Release: "1.0.0", Data: true},
		"welcome":        &Welcome{V: 1, Release: "1.0.0", Proxies: []Proxy{{UUID: "p1", Addr: "p1.example.com:3080"}, {UUID: "p2"}}},
		"proxies":        &Proxies{V: 1, Proxies: []Proxy{{UUID: "p1"}}},
		"data-request":   &DataRequest{V: 1, IDs: []DataID{id}},
		"data-hello":     &DataHello{V: 1, ID: id},
	}
}

func TestFrozenBytes(t *testing.T) {
	for name, m := range frozen() {
		path := filepath.Join("testdata", "v1", name+".bin")
		if *freeze {
			var b bytes.Buffer
			if err := Write(&b, m); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		r := bytes.NewReader(append(b, "what follows"...))
		if err := Read(r, got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: read %+v, want %+v", name, got, m)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "what follows" {
			t.Errorf("%s: the reader went beyond the frame", name)
		}
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for body, kind := range map[string]fault.Kind{
		`{`:                          fault.Invalid,
		`[]`:                         fault.Invalid,
		`{"kind":"node","name":"a"}`: fault.Invalid, // no version
		`{"v":1,"kind":"node","name":"a","verb":"open","must":1}`:                 fault.Unimplemented,
		`{"v":1,"kind":"node","name":"a","verb":"exec"}`:                          fault.Invalid,
		`{"v":1,"kind":"node","name":"a","verb":"attach"}`:                        fault.Invalid,
		`{"v":1,"kind":"node","verb":"open"}`:                                     fault.Invalid,
		`{"v":1,"kind":"node","name":"` + long + `","verb":"open"}`:               fault.Invalid,
		`{"v":1,"kind":"node","name":"a\u0000","verb":"open"}`:                    fault.Invalid,
		`{"v":1,"kind":"node","name":"a","verb":"open","carrier":"pigeon"}`:       fault.Invalid,
		`{"v":1,"kind":"node","name":"a","verb":"open","client":"here"}`:          fault.Invalid,
		`{"v":1,"kind":"node","name":"a","verb":"open","gateway":{"user":"bob"}}`: fault.Invalid,
		strings.Repeat(" ", MaxFrame+1):                                           fault.Limit,
	} {
		if err := Unmarshal([]byte(body), new(Header)); !errors.Is(err, kind) {
			t.Errorf("%.80s: %v, want %s", body, err, kind)
		}
	}
	for _, n := range []uint32{0, MaxFrame + 1, 1 << 31} {
		b := binary.BigEndian.AppendUint32(nil, n)
		if err := Read(bytes.NewReader(append(b, "{}"...)), new(Header)); !errors.Is(err, fault.Limit) {
			t.Errorf("a frame of %d bytes: %v", n, err)
		}
	}
	if err := Read(strings.NewReader("\x00\x00\x00\x09{}"), new(Header)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame cut short: %v", err)
	}
	if err := Unmarshal([]byte(`{"v":2,"kind":"node","name":"a","verb":"open","colour":"red"}`), new(Header)); err != nil {
		t.Errorf("a later version with an additional field: %v", err)
	}
}

func TestRefusalCanAlwaysBeSent(t *testing.T) {
	cause := errors.New("password is hunter2")
	err := fault.Wrap(cause, fault.Denied, "%s", "no\x00\xff"+strings.Repeat("ü", 9000))
	r := Refusal(err)
	r.V = Version
	b, merr := Marshal(&r)
	if merr != nil {
		t.Fatalf("%v", merr)
	}
	if bytes.Contains(b, []byte("hunter2")) {
		t.Error("the cause travels")
	}
	var back Reply
	if err := Unmarshal(b, &back); err != nil || !errors.Is(back.Err(), fault.Denied) {
		t.Errorf("%v, %v", err, back.Err())
	}
	plain := Refusal(cause)
	if e := plain.Err(); !errors.Is(e, fault.Internal) || strings.Contains(e.Error(), "hunter2") {
		t.Errorf("an unclassified error: %v", e)
	}
}

// FuzzUnmarshal: what is accepted is written again and reads as the same.
func FuzzUnmarshal(f *testing.F) {
	for _, m := range frozen() {
		b, err := Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range []message{new(Header), new(Reply), new(Hello), new(Welcome), new(Proxies), new(DataRequest), new(DataHello)} {
			if Unmarshal(b, m) != nil {
				continue
			}
			again, err := Marshal(m)
			if errors.Is(err, fault.Limit) {
				continue // escapes may make it longer than it came
			}
			if err != nil {
				t.Fatalf("accepted and not written: %v", err)
			}
			back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
			if err := Unmarshal(again, back); err != nil {
				t.Fatalf("%s: %v", again, err)
			}
		}
	})
}
