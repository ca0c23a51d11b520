package pgwire

import (
	"bytes"
	"testing"
)

// FuzzReadPacket: what is read is what would be written, and no length that is
// merely claimed costs memory.
func FuzzReadPacket(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f})
	f.Add(AppendPacket(nil, CodeCancel, []byte("12345678")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0})
	f.Add([]byte{0, 0, 0, 7, 0, 3, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		code, body, err := ReadPacket(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(body) > maxStart || !bytes.HasPrefix(b, AppendPacket(nil, code, body)) {
			t.Errorf("%x was read as %d, %x", b, code, body)
		}
	})
}
