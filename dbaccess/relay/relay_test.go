package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
)

// lines is a dialect of a byte and a length in four: 'w' is seen whole, 'd' is
// dropped, 'x' is refused, and of all others only the head is seen.
type lines struct {
	seen      []byte // types in order
	whole     [][]byte
	committed int
	refuse    error // of Commit
}

func (l *lines) Split(b []byte) (int64, int, error) {
	if len(b) < 5 {
		return 0, 0, nil
	}
	n := int64(binary.BigEndian.Uint32(b[1:])) + 5
	if b[0] == 'w' {
		return n, int(n), nil
	}
	return n, 5, nil
}

var errRefused = errors.New("refused")

func (l *lines) See(b []byte) (bool, error) {
	l.seen = append(l.seen, b[0])
	switch b[0] {
	case 'x':
		return false, errRefused
	case 'w':
		l.whole = append(l.whole, bytes.Clone(b[5:]))
	}
	return b[0] != 'd', nil
}

func (l *lines) Commit() error {
	l.committed = len(l.seen)
	return l.refuse
}

func line(kind byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	return append(b, body...)
}

func TestCopyPassesDropsAndRefuses(t *testing.T) {
	long := bytes.Repeat([]byte("long"), 100_000)
	for name, c := range map[string]struct {
		in, want []byte
		seen     string
		err      error
	}{
		"nothing":             {nil, nil, "", nil},
		"one":                 {line('a', []byte("hello")), line('a', []byte("hello")), "a", nil},
		"an empty body":       {line('a', nil), line('a', nil), "a", nil},
		"several":             {bytes.Join([][]byte{line('a', long), line('w', long), line('b', nil)}, nil), bytes.Join([][]byte{line('a', long), line('w', long), line('b', nil)}, nil), "awb", nil},
		"dropped":             {bytes.Join([][]byte{line('a', nil), line('d', long), line('b', nil)}, nil), bytes.Join([][]byte{line('a', nil), line('b', nil)}, nil), "adb", nil},
		"refused":             {bytes.Join([][]byte{line('a', nil), line('x', nil), line('b', nil)}, nil), line('a', nil), "ax", errRefused},
		"cut in a head":       {line('a', nil)[:3], nil, "", io.ErrUnexpectedEOF},
		"cut in a body":       {line('a', long)[:1000], line('a', long)[:1000], "a", io.ErrUnexpectedEOF},
		"cut in a whole body": {line('w', long)[:1000], nil, "", io.ErrUnexpectedEOF},
	} {
		for how, src := range map[string]func(io.Reader) io.Reader{
			"as it comes": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with its end": iotest.DataErrReader,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				var out bytes.Buffer
				d := &lines{}
				err := Copy(&out, src(bytes.NewReader(c.in)), d)
				if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if !bytes.Equal(out.Bytes(), c.want) || string(d.seen) != c.seen {
					t.Errorf("%d bytes and %q, want %d and %q", out.Len(), d.seen, len(c.want), c.seen)
				}
			})
		}
	}
}

// watcher holds every write against what was committed before it.
type watcher struct {
	t *testing.T
	d *lines
	n int
}

func (w *watcher) Write(p []byte) (int, error) {
	if w.d.committed != len(w.d.seen) {
		w.t.Errorf("written with %d of %d messages committed", w.d.committed, len(w.d.seen))
	}
	w.n += len(p)
	return len(p), nil
}

func TestNothingIsWrittenBeforeCommit(t *testing.T) {
	var in []byte
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		in = append(in, line("awd"[r.IntN(3)], make([]byte, r.IntN(40_000)))...)
	}
	d := &lines{}
	if err := Copy(&watcher{t: t, d: d}, bytes.NewReader(in), d); err != nil {
		t.Fatal(err)
	}
	d = &lines{refuse: errRefused}
	w := &watcher{t: t, d: d}
	if err := Copy(w, bytes.NewReader(line('a', nil)), d); !errors.Is(err, errRefused) || w.n != 0 {
		t.Errorf("%v, and %d bytes were written", err, w.n)
	}
}

// A length that is only claimed costs no memory; one beyond the bound is refused.
func TestClaimedLengths(t *testing.T) {
	claim := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{'w'}, n) }
	if err := Copy(io.Discard, bytes.NewReader(claim(Most)), &lines{}); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("more than the bound: %v", err)
	}
	n := testing.AllocsPerRun(10, func() {
		_ = Copy(io.Discard, bytes.NewReader(claim(Most-5)), &lines{})
	})
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
	var most int
	if err := Copy(io.Discard, readerFunc(func(p []byte) (int, error) {
		if most == 0 {
			most = len(p)
			return copy(p, claim(Most-5)), nil
		}
		most = max(most, len(p))
		return 0, io.EOF
	}), &lines{}); !errors.Is(err, io.ErrUnexpectedEOF) || most > first {
		t.Errorf("%v, and a buffer of %d bytes", err, most)
	}
}

// The buffer follows what flows, and a copy at rest holds little.
func TestTheBufferFollowsTheStream(t *testing.T) {
	var rooms []int
	step := 0
	sizes := slices.Concat([]int{100, first}, slices.Repeat([]int{more}, 1), slices.Repeat([]int{enough}, 3), slices.Repeat([]int{100}, calm+4))
	src := readerFunc(func(p []byte) (int, error) {
		rooms = append(rooms, len(p))
		if step == len(sizes) {
			return 0, io.EOF
		}
		n := min(sizes[step], len(p))
		step++
		return copy(p, line('a', make([]byte, n-5))), nil
	})
	if err := Copy(io.Discard, src, &lines{}); err != nil {
		t.Fatal(err)
	}
	if got := slices.Compact(rooms); !slices.Equal(got, []int{first, more, enough, more, first}) {
		t.Errorf("the room was %v", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func BenchmarkCopy(b *testing.B) {
	in := bytes.Repeat(line('a', make([]byte, 60)), 10_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := Copy(io.Discard, bytes.NewReader(in), &lines{}); err != nil {
			b.Fatal(err)
		}
	}
}
