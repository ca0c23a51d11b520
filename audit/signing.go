package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// Serve makes and publishes checkpoints until ctx ends, with a last one then.
// It returns nil.
func (l *Log) Serve(ctx context.Context) error {
	if l.cut != nil {
		l.raise(ctx, alarm{kind: event.CodeAuditCut}, l.cut)
	}
	tick := time.NewTicker(l.o.CheckpointInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			l.checkpointAndPublish(last)
			return nil
		case <-tick.C:
		case <-l.full:
		}
		l.checkpointAndPublish(ctx)
	}
}

func (l *Log) checkpointAndPublish(ctx context.Context) {
	if _, err := l.Checkpoint(ctx); err != nil {
		l.o.Log.Error("the audit log could not be signed", "err", err)
	}
	l.mu.RLock()
	s, done := l.st.last, l.st.published
	l.mu.RUnlock()
	if done || l.o.Publish == nil {
		return
	}
	err := l.o.Publish(ctx, s)
	if err == nil {
		l.mu.Lock()
		l.st.published = l.st.last.Equal(s)
		l.mu.Unlock()
		return
	}
	l.o.Log.Error("the checkpoint of the audit log could not be published", "err", err)
	if errors.Is(err, fault.Conflict) {
		c, _ := s.Open() // our own
		l.raise(ctx, alarm{kind: event.CodeAuditConflict}, &event.AuditCheckpointConflict{Number: c.Number})
	}
}

// Head returns the newest checkpoint; Body is empty while there is none.
func (l *Log) Head() chain.Signed {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.st.last
}

// Keys returns the public keys that this log's checkpoints verify with.
func (l *Log) Keys() []ed25519.PublicKey {
	k, _ := l.o.Signer.Public().(ed25519.PublicKey) // checked by OpenLog
	return []ed25519.PublicKey{k}
}

// Checkpoint signs what the log holds, when there is something new, and
// returns the newest checkpoint.
func (l *Log) Checkpoint(ctx context.Context) (chain.Signed, error) {
	if err := ctx.Err(); err != nil {
		return chain.Signed{}, err
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	c, fresh, err := l.nextCheckpoint()
	if err != nil || !fresh {
		return l.Head(), err
	}
	s, err := chain.Sign(c, l.o.Signer)
	if err != nil {
		return l.Head(), err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return l.Head(), fmt.Errorf("marshal checkpoint: %w", err)
	}
	file, e, err := l.appendDisk(kindPoint, nil, body)
	if err != nil {
		return l.Head(), err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return s, l.st.addPoint(file, e, s)
}

func (l *Log) nextCheckpoint() (c chain.Checkpoint, fresh bool, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var last chain.Checkpoint
	if len(l.st.last.Body) > 0 {
		if last, err = l.st.last.Open(); err != nil {
			return c, false, err
		}
		c.Previous = l.st.last.Hash()
	}
	if l.st.number == last.Block {
		return c, false, nil
	}
	heads := make([]chain.Head, 0, len(l.st.heads))
	for _, h := range l.st.heads {
		heads = append(heads, h)
	}
	for w := range l.st.changed {
		c.Changed = append(c.Changed, l.st.heads[w])
	}
	chain.SortHeads(c.Changed)
	c.Version, c.Cluster, c.Number, c.Time = 1, l.o.Cluster, last.Number+1, time.Now().UTC()
	c.Block, c.Log, c.Writers, c.Heads = l.st.number, l.st.log, len(heads), chain.HashHeads(heads)
	return c, true, nil
}
