package sshclient_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"teleport/sshclient"
)

// broken is a channel whose connection is gone: what has come is there, and with each
// piece of it the window message that is not sent any more.
type broken struct{ left io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.left.Read(p[:min(len(p), 100)])
	if n > 0 {
		err = errors.New("broken pipe")
	}
	return n, err
}

// What has come is shown, however the connection ends.
func TestTheTailOfALostConnection(t *testing.T) {
	text := strings.Repeat("what was said ", 1000)
	var shown strings.Builder
	n, err := io.Copy(sshclient.InLargePieces(&shown), broken{strings.NewReader(text)})
	if shown.String() != text || n != int64(len(text)) || err != nil {
		t.Errorf("%d of %d bytes are shown: %v", n, len(text), err)
	}
}
