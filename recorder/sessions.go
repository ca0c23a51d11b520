package recorder

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"teleport/fault"
)

// SessionsOptions say how sessions are recorded.
type SessionsOptions struct {
	Spool *Spool
	// Mode is the cluster's mode as it stands now. "" counts as node.
	Mode func() string
	// Keys are the public keys that recordings are encrypted to, and whether they
	// have to be: then, no recording begins without a key.
	Keys func() (keys []string, encrypt bool)
	// AtProxy is true of a proxy that ends the sessions' protocol. A service on a
	// host records there whatever the mode, as only what came through such a
	// proxy is recorded elsewhere.
	AtProxy bool
	// SyncTimeout is how long the auth service may take to acknowledge what is
	// shown in the modes node-sync and proxy-sync (default 15 s).
	SyncTimeout time.Duration
}

// Sessions records sessions into the spool of the process. In the modes node
// and proxy, Show returns when the bytes are in a file; in node-sync and
// proxy-sync, when the auth service has acknowledged them as well. Where auth
// does not acknowledge in time, a strict session ends; one with best effort goes
// on as in the asynchronous mode, and loses nothing.
type Sessions struct {
	o SessionsOptions

	mu   sync.Mutex
	keys string // those that recipients are made of
	to   []age.Recipient
}

var _ Recorder = (*Sessions)(nil)

// NewSessions makes a recorder. It starts nothing.
func NewSessions(o SessionsOptions) (*Sessions, error) {
	if o.Spool == nil || o.Mode == nil || o.Keys == nil {
		return nil, errors.New("recorder: incomplete options")
	}
	if o.SyncTimeout <= 0 {
		o.SyncTimeout = 15 * time.Second
	}
	return &Sessions{o: o}, nil
}

// Mode implements Recorder.
func (r *Sessions) Mode() string {
	mode := r.o.Mode()
	if mode == "off" {
		return mode
	}
	place := "node"
	if r.o.AtProxy {
		place = "proxy"
	}
	if Waits(mode) {
		place += syncSuffix
	}
	return place
}

// Start implements Recorder.
func (r *Sessions) Start(ctx context.Context, info Info) (Recording, error) {
	mode := r.Mode()
	if mode == "off" {
		return offRecording{}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if info.Start.IsZero() {
		info.Start = time.Now()
	}
	t := &tape{by: r, spool: r.o.Spool, info: info, mode: mode, sync: Waits(mode)}
	return t, t.begin()
}

var errNoKey = errors.New("no recording key")

// recipients are who may read a recording that begins now.
func (r *Sessions) recipients() ([]age.Recipient, error) {
	keys, encrypt := r.o.Keys()
	if !encrypt {
		return nil, nil
	}
	if len(keys) == 0 {
		return nil, fault.Wrap(errNoKey, fault.Unavailable, "no key to encrypt recordings to is known yet")
	}
	joined := strings.Join(keys, "\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == joined {
		return r.to, nil
	}
	to := make([]age.Recipient, len(keys))
	for i, k := range keys {
		one, err := age.ParseHybridRecipient(k)
		if err != nil {
			return nil, fault.Wrap(errors.Join(errNoKey, err), fault.Unavailable, "a recording key of this cluster is malformed")
		}
		to[i] = one
	}
	r.keys, r.to = joined, to
	return to, nil
}
