// Package recordertest is the auth service's end of recordings for tests: it
// keeps what it is sent, proves it as the real one does, and can be away, slow,
// or lose its answers.
package recordertest

import (
	"bytes"
	"context"
	"io"
	"sync"

	"filippo.io/age"

	"teleport/fault"
	"teleport/recfmt"
)

// Auth takes recordings. Make it with NewAuth. Safe for concurrent use.
type Auth struct {
	mu       sync.Mutex
	staged   map[string][]byte
	stored   map[string][]byte
	changed  chan struct{}
	away     error
	storage  error
	lose     int
	appends  int
	asked    int // calls of Complete
	finished int // calls of Finish
	inFlight map[string]int
	most     int
}

// NewAuth makes one that holds nothing.
func NewAuth() *Auth {
	return &Auth{staged: map[string][]byte{}, stored: map[string][]byte{}, changed: make(chan struct{}), inFlight: map[string]int{}}
}

// Away makes every call fail with err, until it is nil again.
func (a *Auth) Away(err error) { a.set(func() { a.away = err }) }

// StorageAway makes Complete alone fail.
func (a *Auth) StorageAway(err error) { a.set(func() { a.storage = err }) }

// LoseReplies does the next n calls of Append and loses their answers.
func (a *Auth) LoseReplies(n int) { a.set(func() { a.lose = n }) }

// Put stages bytes as if they had come.
func (a *Auth) Put(sessionID string, b []byte) {
	a.set(func() { a.staged[sessionID] = bytes.Clone(b) })
}

func (a *Auth) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	a.wake()
}

func (a *Auth) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Held returns what has arrived of a recording, and whether it is stored.
func (a *Auth) Held(sessionID string) (b []byte, stored bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.stored[sessionID]; ok {
		return bytes.Clone(b), true
	}
	return bytes.Clone(a.staged[sessionID]), false
}

// Most is how many calls of Append for one recording ran at once.
func (a *Auth) Most() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most
}

// Appends counts the calls of Append.
func (a *Auth) Appends() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.appends
}

// Asked counts the calls of Complete.
func (a *Auth) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// Finished counts the calls of Finish.
func (a *Auth) Finished() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.finished
}

// Wait returns when ok is true of a recording, or ctx ends.
func (a *Auth) Wait(ctx context.Context, sessionID string, ok func(b []byte, stored bool) bool) error {
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		if b, stored := a.Held(sessionID); ok(b, stored) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AppendRecording implements recorder.Uploader.
func (a *Auth) AppendRecording(_ context.Context, id string, offset uint64, data []byte) (uint64, error) {
	a.mu.Lock()
	a.inFlight[id]++
	a.most = max(a.most, a.inFlight[id])
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.inFlight[id]--
		a.mu.Unlock()
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appends++
	if a.away != nil {
		return 0, a.away
	}
	if b, ok := a.stored[id]; ok {
		return uint64(len(b)), nil
	}
	have := a.staged[id]
	if offset > uint64(len(have)) {
		return 0, fault.New(fault.Conflict, "%d bytes are held", len(have))
	}
	known := min(len(have)-int(offset), len(data))
	if !bytes.Equal(have[offset:int(offset)+known], data[:known]) {
		return 0, fault.New(fault.Conflict, "other bytes are held")
	}
	next := append(bytes.Clone(have), data[known:]...)
	if err := proves(id, next); err != nil {
		return 0, err
	}
	a.staged[id] = next
	a.wake()
	if a.lose > 0 {
		a.lose--
		return 0, fault.New(fault.Unavailable, "the answer was lost")
	}
	return uint64(len(next)), nil
}

// FinishRecording implements recorder.Uploader.
func (a *Auth) FinishRecording(ctx context.Context, id string, offset uint64, data []byte) (uint64, bool, error) {
	a.mu.Lock()
	a.finished++
	a.mu.Unlock()
	held, err := a.AppendRecording(ctx, id, offset, data)
	if err == nil {
		err = a.CompleteRecording(ctx, id, held)
	}
	return held, err == nil, err
}

func proves(id string, b []byte) error {
	_, err := recfmt.Verify(id, bytes.NewReader(b))
	if broken, ok := err.(*recfmt.BrokenError); ok && broken.Torn {
		return nil
	}
	return err
}

// RecordingHeld implements recorder.Uploader.
func (a *Auth) RecordingHeld(_ context.Context, id string) (uint64, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away != nil {
		return 0, false, a.away
	}
	if b, ok := a.stored[id]; ok {
		return uint64(len(b)), true, nil
	}
	return uint64(len(a.staged[id])), false, nil
}

// CompleteRecording implements recorder.Uploader.
func (a *Auth) CompleteRecording(_ context.Context, id string, size uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	switch b, done := a.stored[id]; {
	case a.away != nil:
		return a.away
	case done && uint64(len(b)) == size:
		return nil
	case uint64(len(a.staged[id])) != size:
		return fault.New(fault.Conflict, "%d bytes are held", len(a.staged[id]))
	case a.storage != nil:
		return a.storage
	}
	b := a.staged[id]
	sum, err := recfmt.Verify(id, bytes.NewReader(b))
	if err != nil {
		return err
	}
	if sum.End == nil {
		return fault.New(fault.Invalid, "the recording has no end")
	}
	a.stored[id] = b
	delete(a.staged, id)
	a.wake()
	return nil
}

// Records opens a recording, or its whole frames where it is unfinished.
func Records(sessionID string, b []byte, keys ...age.Identity) ([]recfmt.Record, *recfmt.End, error) {
	s := recfmt.NewScanner(sessionID, bytes.NewReader(b))
	var o *recfmt.Opener
	var out []recfmt.Record
	for {
		f, err := s.Next()
		if err == io.EOF {
			return out, s.End(), nil
		}
		if err != nil {
			return out, nil, err
		}
		switch f.Type {
		case recfmt.FrameSegment:
			if o, err = s.Segment().Open(keys...); err != nil {
				return out, nil, err
			}
		case recfmt.FrameChunk:
			rs, err := o.Records(f)
			if err != nil {
				return out, nil, err
			}
			out = append(out, rs...)
		}
	}
}

// Output is what the records showed, both streams in order.
func Output(rs []recfmt.Record) []byte {
	var b []byte
	for _, r := range rs {
		if r.Type == recfmt.RecordOutput || r.Type == recfmt.RecordErrors {
			b = append(b, r.Data...)
		}
	}
	return b
}
