// Package recproof proves stored recordings against the audit log: what the log
// says was stored must be there, byte for byte. It needs no key: hashes run over
// the stored, sealed bytes. It also names the sessions whose recording should be
// there and is not, by the log's own word.
package recproof

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/types/event"
)

// lateAfter is how long a recording may be on its way after its session: agents
// and storages may be away for some hours.
const lateAfter = 6 * time.Hour

// maxListed bounds what a report lists; more are only counted.
const maxListed = 1000

// Problem kinds.
const (
	Missing    = "missing"    // it is not in the storage
	CutShort   = "cut_short"  // its end is not there
	Altered    = "altered"    // a byte is another
	Swapped    = "swapped"    // a whole recording, and not the one that was stored
	Unreadable = "unreadable" // the storage did not answer: nothing is known
)

// Problem is a recording that does not prove.
type Problem struct {
	SessionID string `json:"sid"`
	Kind      string `json:"kind"`
	Offset    int64  `json:"offset,omitempty"` // of the first frame that is not good
	URL       string `json:"url,omitempty"`
	Text      string `json:"text"`
}

// Late is a session that was to be recorded and of which the log knows neither a
// recording nor why there is none.
type Late struct {
	SessionID string    `json:"sid"`
	HostID    string    `json:"server_id,omitempty"`
	Time      time.Time `json:"time"` // of its end, or of its start where the log has no end
}

// Report is what Prove saw.
type Report struct {
	Recordings int       `json:"recordings"` // that the log says are stored
	Bytes      int64     `json:"bytes"`      // that were read
	Problems   []Problem `json:"problems,omitempty"`
	Count      int       `json:"problem_count"`
	NotStored  []Late    `json:"not_stored,omitempty"`
	Late       int       `json:"not_stored_count"`
}

// Ledger is what the log says of recordings. The zero value is not usable. Not for
// concurrent use.
type Ledger struct {
	uploads  map[string]upload
	sessions map[string]session
}

type upload struct {
	size   int64
	sha256 string
	head   string
	url    string
}

type session struct {
	host     string
	at       time.Time
	excused  bool // the log tells why it may be missing
	recorded bool
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{uploads: map[string]upload{}, sessions: map[string]session{}}
}

// Event takes the public fields of one event, in the order of the log. Of several
// uploads of a session the last counts: it replaced the others.
func (l *Ledger) Event(public []byte) {
	var e struct {
		Type   string    `json:"event"`
		SID    string    `json:"sid"`
		Time   time.Time `json:"time"`
		Host   string    `json:"server_id"`
		Mode   string    `json:"session_recording"`
		Size   int64     `json:"size"`
		SHA256 string    `json:"sha256"`
		Head   string    `json:"head"`
		URL    string    `json:"url"`
	}
	if !worthReading(public) || json.Unmarshal(public, &e) != nil || e.SID == "" {
		return
	}
	s := l.sessions[e.SID]
	switch e.Type {
	case event.TypeSessionUpload:
		l.uploads[e.SID] = upload{e.Size, e.SHA256, e.Head, e.URL}
		return
	case event.TypeSessionStart:
		s.recorded = e.Mode != "" && e.Mode != "off"
		s.host, s.at = e.Host, latest(s.at, e.Time)
	case event.TypeSessionEnd:
		s.host, s.at = e.Host, latest(s.at, e.Time)
	case event.TypeRecordingGap, event.TypeRecordingBroken:
		s.excused = true
	default:
		return
	}
	l.sessions[e.SID] = s
}

// Prove reads every recording that the log names through open, which returns
// fault.NotFound for one that is not there. It returns fault.Untrusted together
// with the report when one does not prove, and what ends it early: fault.Denied of
// open, and ctx.
func (l *Ledger) Prove(ctx context.Context, now time.Time, open func(ctx context.Context, sessionID string) (io.ReadCloser, error)) (Report, error) {
	r := Report{Recordings: len(l.uploads)}
	ids := make([]string, 0, len(l.uploads))
	for id := range l.uploads {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		n, p, err := prove(ctx, id, l.uploads[id], open)
		if err != nil {
			return r, err
		}
		r.Bytes += n
		if p != nil {
			r.Count++
			p.SessionID, p.URL = id, l.uploads[id].url
			r.Problems = append(r.Problems, *p)
			r.Problems = r.Problems[:min(len(r.Problems), maxListed)]
		}
	}
	l.late(now, &r)
	if r.Count > 0 {
		return r, fault.New(fault.Untrusted, "the recordings do not verify: session %s: %s", r.Problems[0].SessionID, r.Problems[0].Text)
	}
	return r, nil
}

// late notes the sessions whose recording never came.
func (l *Ledger) late(now time.Time, r *Report) {
	for id, s := range l.sessions {
		if _, stored := l.uploads[id]; stored || !s.recorded || s.excused || now.Sub(s.at) < lateAfter {
			continue
		}
		r.NotStored = append(r.NotStored, Late{SessionID: id, HostID: s.host, Time: s.at})
	}
	slices.SortFunc(r.NotStored, func(a, b Late) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.SessionID, b.SessionID))
	})
	r.Late = len(r.NotStored)
	r.NotStored = r.NotStored[:min(r.Late, maxListed)]
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// prove compares one recording with what was stored. Its error ends the whole.
func prove(ctx context.Context, id string, want upload, open func(context.Context, string) (io.ReadCloser, error)) (int64, *Problem, error) {
	body, err := open(ctx, id)
	if err != nil {
		p, err := away(ctx, 0, err)
		return 0, p, err
	}
	defer func() { _ = body.Close() }() // it was only read
	sum := sha256.New()
	in := &counter{r: io.TeeReader(body, sum)}
	found, err := recfmt.Verify(id, in)
	var broken *recfmt.BrokenError
	switch {
	case errors.As(err, &broken) && broken.Torn, err == nil && found.Offset < want.size && found.End == nil:
		return in.n, &Problem{Kind: CutShort, Offset: found.Offset, Text: fmt.Sprintf("the recording is cut short: %d of %d bytes are there, good up to byte %d", in.n, want.size, found.Offset)}, nil
	case errors.As(err, &broken), errors.Is(err, fault.Invalid), errors.Is(err, fault.Unimplemented):
		return in.n, &Problem{Kind: Altered, Offset: found.Offset, Text: fmt.Sprintf("the recording was altered at byte %d: %s", found.Offset, why(err, broken))}, nil
	case err != nil:
		p, err := away(ctx, found.Offset, err)
		return in.n, p, err
	case found.Chain.String() != want.head || hex.EncodeToString(sum.Sum(nil)) != want.sha256 || found.Offset != want.size:
		return in.n, &Problem{Kind: Swapped, Text: fmt.Sprintf("this is not the recording that was stored: it has %d bytes and ends with another hash", found.Offset)}, nil
	}
	return in.n, nil, nil
}

// away is what follows from an error of reading.
func away(ctx context.Context, offset int64, err error) (*Problem, error) {
	switch {
	case ctx.Err() != nil:
		return nil, fault.Wrap(ctx.Err(), fault.Canceled, "the verification was interrupted")
	case errors.Is(err, fault.Denied), errors.Is(err, fault.Unauthenticated):
		return nil, err
	case errors.Is(err, fault.NotFound):
		return &Problem{Kind: Missing, Text: "the recording is missing"}, nil
	}
	return &Problem{Kind: Unreadable, Offset: offset, Text: "the recording could not be read: " + fault.Message(err)}, nil
}

func why(err error, broken *recfmt.BrokenError) string {
	if broken != nil {
		return broken.Why
	}
	return fault.Message(err)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
