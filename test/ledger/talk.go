package ledger

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Talker is one end of a conversation of two streams that run at the same time.
type Talker struct {
	In, Out uint64 // seeds of what is heard and of what is said
	Rate    int    // bytes per second that are said
	Hang    bool   // stop saying when there is no more to hear
}

// slice is how often a talker says something.
const slice = 10 * time.Millisecond

// Run says and hears until ctx ends, then closes w and hears to the end of r.
// With Hang it also ends when r does. It returns how many bytes went either way;
// the first wrong byte is an error, and ends it.
func (t Talker) Run(ctx context.Context, r io.Reader, w io.WriteCloser) (heard, said int64, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var ends sync.WaitGroup
	var sayErr error
	ends.Go(func() { said, sayErr = t.say(ctx, w) })
	check := &Check{Seed: t.In}
	_, err = io.Copy(struct{ io.Writer }{check}, struct{ io.Reader }{r})
	if t.Hang || err != nil {
		stop()
	}
	if err != nil {
		w.Close() // whoever says is freed
	}
	ends.Wait()
	return check.Position(), said, errors.Join(err, sayErr)
}

func (t Talker) say(ctx context.Context, w io.WriteCloser) (int64, error) {
	defer w.Close()
	tick := time.NewTicker(slice)
	defer tick.Stop()
	piece := make([]byte, max(1, t.Rate*int(slice/time.Millisecond)/1000))
	var said int64
	for {
		select {
		case <-ctx.Done():
			return said, nil
		case <-tick.C:
		}
		Fill(piece, t.Out, said)
		n, err := w.Write(piece)
		said += int64(n)
		if err != nil {
			return said, err
		}
	}
}

// HalfClose makes Close end only the writing of a connection.
func HalfClose(c io.Writer) io.WriteCloser { return halfCloser{c} }

type halfCloser struct{ io.Writer }

// Close implements io.Closer.
func (h halfCloser) Close() error {
	if w, ok := h.Writer.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
