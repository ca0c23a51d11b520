package files

import (
	"encoding/binary"
	"errors"
)

// Packet types of SFTP version 3 (draft-ietf-secsh-filexfer-02) that are looked at.
const (
	typeInit     = 1
	typeOpen     = 3
	typeClose    = 4
	typeRead     = 5
	typeWrite    = 6
	typeSetstat  = 9
	typeFsetstat = 10
	typeOpendir  = 11
	typeReaddir  = 12
	typeRemove   = 13
	typeMkdir    = 14
	typeRmdir    = 15
	typeRename   = 18
	typeSymlink  = 20
	typeLink     = 21
	typeStatus   = 101
	typeHandle   = 102
	typeData     = 103
	typeExtended = 200
)

const (
	packetMost = 256<<10 + 1024 // a larger packet is an error, as in OpenSSH
	prefixMost = 10 << 10       // how much of a packet is looked at: two paths and change
)

var (
	errPacketSize = errors.New("sftp packet too large or empty")
	errTruncated  = errors.New("sftp packet ends early")
)

// splitter cuts a byte stream into packets without keeping more of each than
// its prefix. It is fed with whatever arrives.
type splitter struct {
	head   [4]byte
	nhead  int
	left   uint32 // of the current packet's body, still to come
	size   uint32
	prefix []byte
	packet func(size uint32, prefix []byte) error
}

// feed takes the next bytes of the stream.
func (s *splitter) feed(p []byte) error {
	for len(p) > 0 {
		if s.left == 0 {
			n := copy(s.head[s.nhead:], p)
			s.nhead += n
			p = p[n:]
			if s.nhead < len(s.head) {
				return nil
			}
			s.nhead = 0
			s.size = binary.BigEndian.Uint32(s.head[:])
			if s.size == 0 || s.size > packetMost {
				return errPacketSize
			}
			s.left = s.size
			s.prefix = s.prefix[:0]
			continue
		}
		n := min(uint32(len(p)), s.left)
		if room := prefixMost - len(s.prefix); room > 0 {
			s.prefix = append(s.prefix, p[:min(int(n), room)]...)
		}
		s.left -= n
		p = p[n:]
		if s.left == 0 {
			if err := s.packet(s.size, s.prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// fields reads the parts of a packet's body in order. After the first failure
// all reads return zero values.
type fields struct {
	b   []byte
	err error
}

func (f *fields) byte() byte {
	if len(f.b) < 1 {
		f.err = errTruncated
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

func (f *fields) uint32() uint32 {
	if len(f.b) < 4 {
		f.err, f.b = errTruncated, nil
		return 0
	}
	v := binary.BigEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

func (f *fields) skip(n int) {
	if len(f.b) < n {
		f.err, f.b = errTruncated, nil
		return
	}
	f.b = f.b[n:]
}

func (f *fields) string() string {
	n := f.uint32()
	if f.err != nil || uint64(n) > uint64(len(f.b)) {
		f.err, f.b = errTruncated, nil
		return ""
	}
	v := string(f.b[:n])
	f.b = f.b[n:]
	return v
}
