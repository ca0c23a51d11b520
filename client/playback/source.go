// Package playback shows recorded sessions: to a person at a terminal, who may
// pause and seek, and to programs, as asciicast, text or JSON. A recording comes
// from the auth service, which opens it for those who may read it, or from a file
// that was exported.
//
// The recorded bytes never reach the terminal of whoever watches: they are shown
// on a screen of ours (package screen), which is painted.
package playback

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"teleport/api/gen/recordingv1"
	"teleport/fault"
	"teleport/recfmt"
)

// Batch is a part of a recording. The first one of a playback has Info.
type Batch struct {
	Info       *recfmt.Info
	Duration   time.Duration // of all that is recorded
	Unfinished bool          // the session goes on, or its recording is not closed yet
	Records    []recfmt.Record
}

// Source gives the records of one recording.
type Source interface {
	// Play calls each with the records, in order, until the end, an error of each or
	// the end of ctx. It begins at a moment not after from, with records that paint
	// its screen; from 0 it begins with the first record.
	Play(ctx context.Context, from time.Duration, each func(Batch) error) error
}

// API is what playing needs of the auth service.
type API interface {
	PlayRecording(ctx context.Context, req *recordingv1.PlayRequest, each func(*recordingv1.PlayResponse) error) error
}

// Remote is a recording that the auth service keeps.
type Remote struct {
	API       API
	SessionID string
}

var _ Source = Remote{}

// Play implements Source.
func (r Remote) Play(ctx context.Context, from time.Duration, each func(Batch) error) error {
	first := true
	return r.API.PlayRecording(ctx, &recordingv1.PlayRequest{SessionId: r.SessionID, FromNano: int64(from)}, func(m *recordingv1.PlayResponse) error {
		b := Batch{Records: make([]recfmt.Record, 0, len(m.Records))}
		if first {
			first = false
			b.Info, b.Duration, b.Unfinished = new(recfmt.Info), time.Duration(m.DurationNano), m.Unfinished
			if err := json.Unmarshal(m.Info, b.Info); err != nil {
				return fault.Wrap(err, fault.Invalid, "the auth service describes the recording in a way that is not understood")
			}
		}
		for _, rec := range m.Records {
			b.Records = append(b.Records, recfmt.Record{Type: recfmt.RecordType(rec.Type), At: time.Duration(rec.AtNano), Data: rec.Data})
		}
		return each(b)
	})
}

// File is a recording in a file: an asciicast, or a recording as it is stored,
// where that is not encrypted. What it holds is read again for each playback.
type File struct{ Path string }

var _ Source = File{}

// Play implements Source.
func (f File) Play(ctx context.Context, _ time.Duration, each func(Batch) error) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return fault.Unreadable(err, f.Path)
	}
	defer file.Close()
	each = checked(ctx, each)
	r := bufio.NewReaderSize(file, 64<<10)
	head, err := r.Peek(1)
	switch {
	case err == nil && head[0] == '{':
		err = playCast(r, each)
	case err == nil && head[0] == byte(recfmt.FrameSegment):
		err = playStored(r, each)
	default:
		return fault.New(fault.Invalid, "%s is no recording", f.Path).WithHint("play a session by its id, or a file of tsh recordings export")
	}
	var kind *fault.Error
	if err != nil && !errors.As(err, &kind) && ctx.Err() == nil {
		return fault.Unreadable(err, f.Path)
	}
	return err
}

func checked(ctx context.Context, each func(Batch) error) func(Batch) error {
	return func(b Batch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return each(b)
	}
}

// playStored reads the form of package recfmt.
func playStored(r io.Reader, each func(Batch) error) error {
	head := bufio.NewReaderSize(r, 64<<10)
	seg, err := firstSegment(head)
	if err != nil {
		return err
	}
	sc := recfmt.NewScanner(seg.SessionID, head)
	info := &recfmt.Info{SessionID: seg.SessionID, Kind: seg.Kind, Cluster: seg.Cluster, HostID: seg.HostID, Start: seg.Start}
	var open *recfmt.Opener
	for first := true; ; {
		f, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch f.Type {
		case recfmt.FrameSegment:
			if sc.Segment().Cipher != recfmt.CipherNone {
				return fault.New(fault.Denied, "the recording is encrypted to the keys of the cluster %.60q", seg.Cluster).
					WithHint("play it from there: tsh play %s", seg.SessionID)
			}
			open, err = sc.Segment().Open()
		case recfmt.FrameChunk:
			var b Batch
			if b.Records, err = open.Records(f); err != nil {
				return err
			}
			if first {
				first, b.Info = false, info
				if b.Records[0].Type == recfmt.RecordInfo {
					_ = json.Unmarshal(b.Records[0].Data, info) // what it does not say, the segment does
				}
			}
			err = each(b)
		}
		if err != nil {
			return err
		}
	}
}

// firstSegment looks at the segment that a recording begins with.
func firstSegment(r *bufio.Reader) (*recfmt.Segment, error) {
	b, err := r.Peek(16 << 10)
	if err != nil && err != io.EOF {
		return nil, err
	}
	f, err := recfmt.ReadFrame(b, 0)
	if err != nil {
		return nil, err
	}
	return recfmt.ParseSegment(f.Payload)
}

// maxCastLine bounds one event of an asciicast.
const maxCastLine = 4 << 20

// playCast reads asciicast version 2.
func playCast(r io.Reader, each func(Batch) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxCastLine)
	bad := func(n int) error { return fault.New(fault.Invalid, "line %d is not asciicast version 2", n) }
	var head castHeader
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil || head.Version != 2 {
		return errors.Join(lines.Err(), bad(1))
	}
	info := &recfmt.Info{Start: time.Unix(head.Timestamp, 0), Columns: max(head.Width, 1), Rows: max(head.Height, 1), Term: head.Env["TERM"], Command: head.Command}
	b := Batch{Info: info, Duration: seconds(head.Duration)}
	for n := 2; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		rec, ok := castRecord(lines.Bytes())
		if !ok {
			return bad(n)
		}
		if rec.Type == 0 {
			continue
		}
		if b.Records = append(b.Records, rec); len(b.Records) >= 256 {
			if err := each(b); err != nil {
				return err
			}
			b = Batch{}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return each(b)
}

func seconds(s float64) time.Duration {
	return time.Duration(min(max(s, 0), 1e9) * float64(time.Second))
}

// castRecord reads one event; that of an unknown kind gives a record without a type.
func castRecord(line []byte) (rec recfmt.Record, ok bool) {
	var e []json.RawMessage
	var at float64
	var kind, data string
	if json.Unmarshal(line, &e) != nil || len(e) < 3 || json.Unmarshal(e[0], &at) != nil || json.Unmarshal(e[1], &kind) != nil || json.Unmarshal(e[2], &data) != nil {
		return rec, false
	}
	rec.At = seconds(at)
	switch kind {
	case "o":
		rec.Type, rec.Data = recfmt.RecordOutput, []byte(data)
	case "r":
		var c, r int
		if _, err := fmt.Sscanf(strings.TrimSpace(data), "%dx%d", &c, &r); err != nil || c < 1 || r < 1 || c > 1<<16 || r > 1<<16 {
			return rec, false
		}
		rec.Type, rec.Data = recfmt.RecordResize, recfmt.ResizeData(c, r)
	}
	return rec, true
}
