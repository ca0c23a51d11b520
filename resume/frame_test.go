package resume

import (
	"bufio"
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func messages() []message {
	return []message{
		&opening{key: [32]byte{1, 2}, certificate: []byte("certificate"), signature: []byte("signature")},
		&challenge{nonce: [32]byte{9}},
		&attachment{generation: 7, received: 1 << 40, base: 3, next: 5, signature: [64]byte{4}},
		&attached{received: 12},
		&refused{fault: "not_found", message: "the session is gone", hint: "start a new one"},
	}
}

func TestMessagesComeBack(t *testing.T) {
	for _, m := range messages() {
		b, err := appendMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		f, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || f.kind != m.kind() || f.length != len(b)-headerLen {
			t.Fatalf("%+v: %v", f, err)
		}
		back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := parseMessage(b[headerLen:], back); err != nil || !reflect.DeepEqual(m, back) {
			t.Errorf("%+v became %+v: %v", m, back, err)
		}
		for cut := headerLen; cut < len(b); cut++ {
			if parseMessage(b[headerLen:cut], back) == nil {
				t.Errorf("%T cut short after %d bytes was read", m, cut)
			}
		}
		if parseMessage(append(b[headerLen:], 0), back) == nil {
			t.Errorf("%T with a byte behind it was read", m)
		}
	}
	if _, err := appendMessage(&refused{message: strings.Repeat("x", maxMessage)}); err == nil {
		t.Error("a message over the bound was written")
	}
}

func TestFramesThatCannotBe(t *testing.T) {
	for name, f := range map[string]frame{
		"unknown kind":       {kind: 99},
		"data without bytes": {kind: kindData},
		"data too long":      {kind: kindData, length: MaxPayload + 1},
		"ack with bytes":     {kind: kindAck, length: 1},
		"message too long":   {kind: kindOpen, length: maxMessage + 1},
		"message positioned": {kind: kindAttach, length: 1, seq: 1},
	} {
		b := make([]byte, headerLen)
		f.put(b)
		if _, err := parseFrame(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzFrame: what is accepted is written again as it came.
func FuzzFrame(f *testing.F) {
	for _, m := range messages() {
		b, err := appendMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	data := make([]byte, headerLen+3)
	frame{kind: kindData, length: 3, seq: 5, ack: 6}.put(data)
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		head, err := readFrame(r)
		if err != nil {
			return
		}
		again := make([]byte, headerLen)
		head.put(again)
		if !bytes.Equal(again, b[:headerLen]) {
			t.Fatalf("%x became %x", b[:headerLen], again)
		}
		payload := b[headerLen:]
		if len(payload) < head.length {
			return
		}
		for _, m := range messages() {
			back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
			if m.kind() != head.kind || parseMessage(payload[:head.length], back) != nil {
				continue
			}
			out, err := appendMessage(back)
			if err != nil || !bytes.Equal(out[headerLen:], payload[:head.length]) {
				t.Fatalf("%x became %x: %v", payload[:head.length], out, err)
			}
		}
	})
}
