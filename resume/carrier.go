package resume

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// carrier is one connection under a stream.
type carrier struct {
	net.Conn
	r    *bufio.Reader
	left int // of the data frame that is being read; the reader's

	heard   atomic.Int64 // when bytes last came, in nanoseconds since epoch
	epoch   time.Time
	waiting atomic.Bool // somebody reads: silence means something
	watch   *time.Timer
	once    sync.Once
	gone    chan struct{} // closed when the stream has left this carrier
}

func newCarrier(nc net.Conn) *carrier {
	nc = netx.ForSSH(nc)
	return &carrier{Conn: nc, r: bufio.NewReader(nc), epoch: time.Now(), gone: make(chan struct{})}
}

// silent is for how long nothing has come.
func (k *carrier) silent() time.Duration {
	return time.Since(k.epoch) - time.Duration(k.heard.Load())
}

func (k *carrier) hear() { k.heard.Store(int64(time.Since(k.epoch))) }

// stop leaves the carrier without waiting for a peer that may not read: the
// connection at the bottom is closed first, so that nothing above says goodbye.
func (k *carrier) stop() {
	k.once.Do(func() {
		close(k.gone)
		bottom := k.Conn
		for c := range netx.Layers(bottom) {
			bottom = c
		}
		bottom.Close()
		k.Conn.Close()
	})
}

// say writes one message within the deadline that is set.
func (k *carrier) say(m message) error {
	b, err := appendMessage(m)
	if err != nil {
		return err
	}
	_, err = k.Write(b)
	return err
}

// expect reads one message of m's kind; a refusal in its place is an error.
func (k *carrier) expect(m message) error {
	f, err := readFrame(k.r)
	if err != nil {
		return err
	}
	if f.kind != m.kind() && f.kind != kindRefused {
		return fault.New(fault.Invalid, "a resumable stream begins with a frame of kind %d", f.kind)
	}
	payload, err := k.payload(f)
	if err != nil {
		return err
	}
	if f.kind == kindRefused {
		return refusal(payload)
	}
	return parseMessage(payload, m)
}

func (k *carrier) payload(f frame) ([]byte, error) {
	b := make([]byte, f.length)
	_, err := io.ReadFull(k.r, b)
	return b, err
}

// Refusal is the agent's last word on a stream: it will not go on.
type Refusal struct{ why *fault.Error }

// Error is the line that the person may see.
func (r *Refusal) Error() string { return r.why.Message }

// Unwrap returns the fault.
func (r *Refusal) Unwrap() error { return r.why }

func refusal(payload []byte) error {
	var m refused
	if err := parseMessage(payload, &m); err != nil {
		return err
	}
	kind := fault.Kind(m.fault)
	if !kind.Valid() {
		kind = fault.Denied
	}
	return &Refusal{fault.New(kind, "%s", m.message).WithHint("%s", m.hint)}
}

// refuse tells the client why, within a moment, and leaves.
func (k *carrier) refuse(why error) {
	_ = k.SetDeadline(time.Now().Add(farewellFor)) // a client that does not listen is not told
	_ = k.say(&refused{string(fault.KindOf(why)), clip(fault.Message(why), 2048), clip(fault.Hint(why), 1024)})
	if w, ok := k.Conn.(netx.CloseWriter); ok {
		_ = w.CloseWrite()
	}
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
