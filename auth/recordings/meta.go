package recordings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"teleport/backend"
	"teleport/fault"
	"teleport/recfmt"
)

// Where the catalogue of stored recordings lives in the backend: once by session
// and once by time, the newest first, so that a list reads no objects and no more
// rows than it shows.
const (
	byID   = "/recordings/id/"
	byTime = "/recordings/time/"
)

// Bounds of what a row keeps.
const (
	maxText         = 1024 // of one text of Info
	maxParticipants = 100
	maxSegments     = 256
)

// Meta is what the cluster knows of a recording without reading it.
type Meta struct {
	SessionID  string `json:"session_id"`
	Kind       string `json:"kind"`
	HostID     string `json:"host_id"` // of the process that recorded
	Generation uint64 `json:"generation,omitempty"`
	// Info is what the recording says of its session; only its SessionID, HostID and
	// Start are set where the recording could not be opened.
	Info         recfmt.Info   `json:"info"`
	Participants []string      `json:"participants,omitempty"` // user names, the session's own first
	Start        time.Time     `json:"start"`
	Duration     time.Duration `json:"duration"`
	Size         int64         `json:"size"`
	SHA256       string        `json:"sha256,omitempty"`
	Head         string        `json:"head,omitempty"` // the last link of the chain
	Chunks       uint64        `json:"chunks,omitempty"`
	Reason       string        `json:"reason,omitempty"` // of the end
	Index        int64         `json:"index,omitempty"`  // offset of the index frame
	Segments     []int64       `json:"segments"`         // offsets of the segment frames
	ClosedByAuth bool          `json:"closed_by_auth,omitempty"`
	Key          string        `json:"key,omitempty"` // of the object; "" while it arrives
	Stored       time.Time     `json:"stored,omitzero"`
}

// State is arriving, stored, abandoned or broken.
func (m *Meta) State() string {
	switch {
	case m.Key == "":
		return "arriving"
	case m.Reason == recfmt.EndAbandoned.String(), m.Reason == recfmt.EndBroken.String():
		return m.Reason
	}
	return "stored"
}

// Suffixes of the objects of a recording.
const (
	recordingSuffix = ".rec"
	indexSuffix     = ".index"
)

// IndexKey names the object of what was prepared for searching and painting the
// recording. It is removed with the recording.
func (m *Meta) IndexKey() string { return strings.TrimSuffix(m.Key, recordingSuffix) + indexSuffix }

// timeKey orders the catalogue: later sessions come first.
func (m *Meta) timeKey() string {
	return fmt.Sprintf("%s%016x/%s", byTime, math.MaxInt64-m.Start.UnixNano(), m.SessionID)
}

func (m *Meta) setInfo(i recfmt.Info) {
	for _, s := range []*string{&i.User, &i.Login, &i.Hostname, &i.Resource, &i.Command, &i.Term, &i.Kind, &i.Cluster} {
		*s = strings.ToValidUTF8((*s)[:min(len(*s), maxText)], "")
	}
	i.SessionID, i.HostID, i.Start = m.SessionID, m.HostID, m.Start // as the segment says, which was checked
	m.Info = i
	m.join(i.User)
}

func (m *Meta) join(user string) {
	if user == "" || len(user) > maxText || len(m.Participants) >= maxParticipants {
		return
	}
	for _, p := range m.Participants {
		if p == user {
			return
		}
	}
	m.Participants = append(m.Participants, user)
}

// CheckSessionID wants a UUID in its usual form.
func CheckSessionID(id string) error {
	if u, err := uuid.Parse(id); err != nil || u.String() != id {
		return fault.New(fault.Invalid, "%.60q is not the id of a session", id)
	}
	return nil
}

// catalogue keeps the rows of stored recordings.
type catalogue struct{ b backend.Backend }

func (c catalogue) get(ctx context.Context, id string) (*Meta, error) {
	item, err := c.b.Get(ctx, byID+id)
	if errors.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "there is no recording of the session %q", id)
	}
	if err != nil {
		return nil, err
	}
	return parseMeta(item)
}

func parseMeta(item backend.Item) (*Meta, error) {
	m := new(Meta)
	if err := json.Unmarshal(item.Value, m); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the catalogue of recordings is damaged at %s", item.Key)
	}
	return m, nil
}

// put writes a row, in the place of the one before.
func (c catalogue) put(ctx context.Context, m, old *Meta) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the recording cannot be catalogued")
	}
	ops := []backend.Op{
		{Type: backend.OpPut, Item: backend.Item{Key: byID + m.SessionID, Value: value}},
		{Type: backend.OpPut, Item: backend.Item{Key: m.timeKey(), Value: value}},
	}
	if old != nil && old.timeKey() != m.timeKey() {
		ops = append(ops, backend.Op{Type: backend.OpDelete, Item: backend.Item{Key: old.timeKey()}})
	}
	_, err = c.b.Apply(ctx, ops...)
	return err
}
