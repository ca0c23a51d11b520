package session

import (
	"encoding/json"
	"slices"
	"sync"

	"teleport/types"
)

// TrackersMost bounds the sessions that one process tells the cluster of. Those
// beyond it run like all others, and stand in no list.
const TrackersMost = 10_000

// Trackers are the live sessions of a process as the cluster is told of them:
// each change is told once, and the whole again to an auth service that has to
// learn it anew. A session that ends before anybody asked was never told. Safe
// for concurrent use.
type Trackers struct {
	mu      sync.Mutex
	live    map[string]*types.SessionTracker
	dirty   map[string]bool // begun or changed since it was told
	told    map[string]bool
	ended   []string // of those told
	changed chan struct{}
}

// NewTrackers returns an empty set.
func NewTrackers() *Trackers {
	return &Trackers{live: map[string]*types.SessionTracker{}, dirty: map[string]bool{}, told: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// Begin files a session under its id. It keeps the document; the caller changes
// it only through Change.
func (t *Trackers) Begin(id string, spec types.SessionTrackerSpec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.live) >= TrackersMost {
		return
	}
	doc := &types.SessionTracker{Header: types.Header{Kind: types.KindSessionTracker, Version: "v1", Metadata: types.Metadata{Name: id}}, Spec: spec}
	t.live[id] = doc
	t.mark(id)
}

// Change edits what is told of a session; it does nothing to one that has ended.
func (t *Trackers) Change(id string, edit func(*types.SessionTrackerSpec)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if doc := t.live[id]; doc != nil {
		edit(&doc.Spec)
		t.mark(id)
	}
}

// Find returns a copy of what is told of a session.
func (t *Trackers) Find(id string) (*types.SessionTracker, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	doc := t.live[id]
	if doc == nil {
		return nil, false
	}
	out := *doc
	return &out, true
}

// End takes a session out.
func (t *Trackers) End(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[id] == nil {
		return
	}
	delete(t.live, id)
	delete(t.dirty, id)
	if t.told[id] {
		delete(t.told, id)
		t.ended = append(t.ended, id)
		t.tick()
	}
}

func (t *Trackers) mark(id string) {
	t.dirty[id] = true
	t.tick()
}

func (t *Trackers) tick() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Changed ticks when there is something to take. There is one, for one reader.
func (t *Trackers) Changed() <-chan struct{} { return t.changed }

// All returns every document in the order of their ids, and counts them as told.
func (t *Trackers) All() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = nil
	clear(t.dirty)
	for id := range t.live {
		t.dirty[id] = true
	}
	return t.take()
}

// Take returns what began or changed and what ended since it was last asked.
func (t *Trackers) Take() (docs [][]byte, ended []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended, t.ended = t.ended, nil
	return t.take(), ended
}

func (t *Trackers) take() [][]byte {
	ids := make([]string, 0, len(t.dirty))
	for id := range t.dirty {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var docs [][]byte
	for _, id := range ids {
		if b, err := json.Marshal(t.live[id]); err == nil { // plain data always encodes
			docs = append(docs, b)
		}
		t.told[id] = true
	}
	clear(t.dirty)
	return docs
}
