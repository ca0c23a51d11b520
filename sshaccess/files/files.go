// Package files watches SFTP for the audit log. The user's own helper process
// serves the files; the agent passes the bytes and reads them as they go by, so
// that what is recorded was seen by the agent and not reported by a process that
// belongs to the user. Bytes that are not SFTP end the session.
package files

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"teleport/types/event"
)

// Op is one operation whose outcome is known.
type Op struct {
	Action int // event.SFTPOpen …
	Path   string
	Target string // of rename, symlink and link
	Flags  uint32 // of open
	Err    string // "" when it succeeded
}

// Summary tells what a whole SFTP session moved.
type Summary struct {
	Files      []Transfer // at most the first 1,000
	Opened     int
	Downloaded int64
	Uploaded   int64
}

// Transfer is one file's share.
type Transfer struct {
	Path    string
	Read    int64
	Written int64
}

const (
	pendingMost = 8192
	handlesMost = 8192
	summaryMost = 1000
)

// Watch reads both directions of one SFTP session. FromClient and FromServer
// may be called from two goroutines; each direction in its own order. Bytes are
// given to it before they are passed on.
type Watch struct {
	emit func(Op) error

	client, server splitter
	mu             sync.Mutex
	pending        map[uint32]request
	handles        map[string]*open
	sum            Summary
}

type request struct {
	kind   byte
	op     Op
	handle string
}

type open struct {
	path     string
	listed   bool // readdir is told once per directory
	transfer Transfer
}

// NewWatch returns a Watch that tells emit of every operation, before the reply
// is passed on. An error of emit ends the session.
func NewWatch(emit func(Op) error) *Watch {
	w := &Watch{emit: emit, pending: map[uint32]request{}, handles: map[string]*open{}}
	w.client.packet, w.server.packet = w.request, w.reply
	return w
}

// FromClient takes bytes on their way to the server.
func (w *Watch) FromClient(p []byte) error { return w.client.feed(p) }

// FromServer takes bytes on their way to the client.
func (w *Watch) FromServer(p []byte) error { return w.server.feed(p) }

// NoAnswer is the Err of an operation whose outcome the session did not live to see.
const NoAnswer = "no answer"

// End tells of the operations that were asked for and never answered: the helper
// may have done them. It is called when both directions have ended.
func (w *Watch) End() error {
	w.mu.Lock()
	left := w.pending
	w.pending = map[uint32]request{}
	w.mu.Unlock()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(left)) {
		if op := left[id].op; op.Action != 0 {
			op.Err = NoAnswer
			errs = append(errs, w.emit(op))
		}
	}
	return errors.Join(errs...)
}

// Summary returns the totals, with files that are still open included.
func (w *Watch) Summary() Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sum
	for _, o := range w.handles {
		s.add(o.transfer)
	}
	return s
}

func (s *Summary) add(t Transfer) {
	if t.Read == 0 && t.Written == 0 {
		return
	}
	s.Downloaded += t.Read
	s.Uploaded += t.Written
	if len(s.Files) < summaryMost {
		s.Files = append(s.Files, t)
	}
}

func (w *Watch) request(size uint32, prefix []byte) error {
	f := fields{b: prefix}
	kind := f.byte()
	if kind == typeInit {
		return f.err
	}
	id := f.uint32()
	w.mu.Lock()
	defer w.mu.Unlock()
	// A second request under an id in flight would hide the first one's outcome.
	if _, taken := w.pending[id]; taken && f.err == nil {
		return fmt.Errorf("sftp request %d is still without an answer and came again", id)
	}
	r := request{kind: kind}
	w.parse(kind, &f, &r, size)
	if f.err != nil {
		return fmt.Errorf("request of type %d: %w", kind, f.err)
	}
	if len(w.pending) >= pendingMost {
		return fmt.Errorf("more than %d sftp requests without an answer", pendingMost)
	}
	w.pending[id] = r
	return nil
}

// single are the requests that consist of one path and maybe more after it.
var single = map[byte]Op{
	typeOpen:    {Action: event.SFTPOpen},
	typeSetstat: {Action: event.SFTPSetstat},
	typeOpendir: {Action: event.SFTPOpendir},
	typeRemove:  {Action: event.SFTPRemove},
	typeMkdir:   {Action: event.SFTPMkdir},
	typeRmdir:   {Action: event.SFTPRmdir},
}

// double are those of two paths.
var double = map[byte]Op{
	typeRename:  {Action: event.SFTPRename},
	typeSymlink: {Action: event.SFTPSymlink},
	typeLink:    {Action: event.SFTPLink},
}

func (w *Watch) parse(kind byte, f *fields, r *request, size uint32) {
	if op, ok := single[kind]; ok {
		r.op = op
		r.op.Path = f.string()
		if kind == typeOpen {
			r.op.Flags = f.uint32()
		}
		return
	}
	if op, ok := double[kind]; ok {
		r.op = op
		r.op.Path, r.op.Target = f.string(), f.string()
		return
	}
	switch kind {
	case typeClose, typeRead, typeReaddir, typeFsetstat, typeWrite:
		r.handle = f.string()
		w.onHandle(kind, f, r, size)
	case typeExtended:
		switch f.string() {
		case "posix-rename@openssh.com":
			r.op = double[typeRename]
		case "hardlink@openssh.com":
			r.op = double[typeLink]
		default:
			return
		}
		r.op.Path, r.op.Target = f.string(), f.string()
	}
}

func (w *Watch) onHandle(kind byte, f *fields, r *request, size uint32) {
	o := w.handles[r.handle]
	if o == nil {
		return // the server will say so
	}
	switch kind {
	case typeWrite:
		f.skip(8)
		n := f.uint32()
		if uint64(n) > uint64(size) {
			f.err = errTruncated
			return
		}
		o.transfer.Written += int64(n)
	case typeFsetstat:
		r.op = Op{Action: event.SFTPSetstat, Path: o.path}
	case typeReaddir:
		if !o.listed {
			o.listed = true
			r.op = Op{Action: event.SFTPReaddir, Path: o.path}
		}
	case typeClose:
		w.sum.add(o.transfer)
		delete(w.handles, r.handle)
	}
}

func (w *Watch) reply(_ uint32, prefix []byte) error {
	f := fields{b: prefix}
	kind := f.byte()
	if kind < typeStatus {
		return nil // version
	}
	id := f.uint32()
	if f.err != nil {
		return f.err
	}
	op, err := w.match(kind, id, &f)
	if err != nil || op.Action == 0 {
		return err
	}
	return w.emit(op)
}

// match finds the request of a reply, and the operation to tell of, if any.
func (w *Watch) match(kind byte, id uint32, f *fields) (Op, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.pending[id]
	if !ok {
		return Op{}, errors.New("sftp reply to a request that nobody made")
	}
	delete(w.pending, id)
	switch kind {
	case typeHandle:
		h := f.string()
		if f.err != nil {
			return Op{}, f.err
		}
		if len(w.handles) >= handlesMost {
			return Op{}, fmt.Errorf("more than %d open sftp handles", handlesMost)
		}
		w.handles[h] = &open{path: r.op.Path, transfer: Transfer{Path: r.op.Path}}
		if r.kind == typeOpen {
			w.sum.Opened++
		}
	case typeData:
		if o := w.handles[r.handle]; o != nil && r.kind == typeRead {
			o.transfer.Read += int64(f.uint32())
		}
	case typeStatus:
		code := f.uint32()
		if f.err != nil {
			return Op{}, f.err
		}
		if code != 0 && !(code == 1 && r.kind == typeReaddir) { // 1 is the end of a listing
			r.op.Err = statusText(code, f.string())
		}
	}
	return r.op, nil
}

func statusText(code uint32, msg string) string {
	if msg == "" {
		return fmt.Sprintf("status %d", code)
	}
	return msg
}
