package recordings

import (
	"bytes"
	"errors"
	"testing"

	"filippo.io/age"

	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/keystore/softkeys"
	"teleport/recfmt"
)

func segment(t *testing.T, id string, to ...age.Recipient) *recfmt.Segment {
	t.Helper()
	_, head, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: to, Segment: recfmt.Segment{SessionID: id, Kind: "db"}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := recfmt.ReadFrame(head, 0)
	if err != nil {
		t.Fatal(err)
	}
	seg, err := recfmt.ParseSegment(f.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// TestOpenersAreKept: a segment is opened once, and what is kept of it opens no other.
func TestOpenersAreKept(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	sealer, err := softkeys.New(kv, bytes.Repeat([]byte{7}, softkeys.KEKSize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := EnsureKeys(t.Context(), kv, sealer)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{d: Deps{Keys: keys}}
	open := func(seg *recfmt.Segment) *recfmt.Opener {
		t.Helper()
		o, err := s.opener(seg)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	seg := segment(t, "one", keys.Recipients()...)
	if first := open(seg); open(seg) != first {
		t.Error("a segment is opened twice")
	}
	other := *seg
	other.SessionID = "another"
	if open(&other) == open(seg) {
		t.Error("the box of one session opens another's")
	}
	if open(segment(t, "one", keys.Recipients()...)) == open(seg) {
		t.Error("another box of the session is taken for the first")
	}
	clear := segment(t, "clear")
	if _, err := s.opener(clear); err != nil {
		t.Error(err)
	}
	stranger, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	strange := segment(t, "strange", stranger.Recipient())
	for range 2 {
		if _, err := s.opener(strange); !errors.Is(err, fault.Denied) {
			t.Errorf("a stranger's recording: %v", err)
		}
	}
	for i := range 2 * mostOpeners {
		s.openers.put([32]byte{byte(i), byte(i >> 8), 1}, nil)
	}
	if n, m := len(s.openers.by), len(s.openers.order); n != mostOpeners || m != mostOpeners {
		t.Errorf("%d and %d openers are kept", n, m)
	}
	if o := s.openers.get([32]byte{}); o != nil {
		t.Error("what is not there is found")
	}
}
