// Package ledger is the oracle of every test that moves bytes: a pseudo-random
// stream in which each byte is a function of its position, and a reader that
// says where one was lost, repeated or changed. The same two serve a shell, a
// copy, a forwarded port and a resumable stream.
package ledger

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Source yields the stream of a seed from position 0 on: Size bytes, or without
// end where Size is negative.
type Source struct {
	Seed uint64
	Size int64
	at   int64
}

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	if s.Size >= 0 {
		if s.at >= s.Size {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), s.Size-s.at)]
	}
	Fill(p, s.Seed, s.at)
	s.at += int64(len(p))
	return len(p), nil
}

// Fill writes the bytes of the stream from position at on into p.
func Fill(p []byte, seed uint64, at int64) {
	var word [8]byte
	for i := 0; i < len(p); {
		pos := at + int64(i)
		binary.LittleEndian.PutUint64(word[:], mix(seed+uint64(pos/8)))
		i += copy(p[i:], word[pos%8:])
	}
}

// mix is the finisher of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Check holds what it is given against the stream of a seed.
type Check struct {
	Seed uint64
	at   int64
	want []byte
}

// Position is how many bytes were right so far.
func (c *Check) Position() int64 { return c.at }

// Write implements io.Writer. Its error tells what happened to the stream.
func (c *Check) Write(p []byte) (int, error) {
	if len(c.want) < len(p) {
		c.want = make([]byte, len(p))
	}
	want := c.want[:len(p)]
	Fill(want, c.Seed, c.at)
	for i := range p {
		if p[i] != want[i] {
			c.at += int64(i)
			return i, c.explain(p[i:])
		}
	}
	c.at += int64(len(p))
	return len(p), nil
}

// sight is how far before and behind the place a wrong piece is looked for.
const sight = 8 << 20

// explain looks where in the stream the wrong bytes belong.
func (c *Check) explain(p []byte) error {
	n := min(len(p), 16)
	if n >= 8 {
		from := max(0, c.at-sight)
		near := make([]byte, c.at-from+sight)
		Fill(near, c.Seed, from)
		for i := range len(near) - n {
			if string(near[i:i+n]) == string(p[:n]) {
				if off := from + int64(i) - c.at; off < 0 {
					return fmt.Errorf("at position %d: %d bytes came again", c.at, -off)
				} else {
					return fmt.Errorf("at position %d: %d bytes were lost", c.at, off)
				}
			}
		}
	}
	return fmt.Errorf("at position %d: % x is not of this stream", c.at, p[:n])
}
