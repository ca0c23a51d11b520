package audit

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"teleport/audit/chain"
)

// A block file is a series of entries, each with an outside of 17 bytes:
// kind ‖ header length ‖ body length ‖ CRC-32C of header ‖ CRC-32C of body.
// A block's header is its index entry as JSON, so that a start reads headers
// only; its body is zstd of chain.AppendBlock. A checkpoint has no header, its
// body is chain.Signed as JSON.
const (
	blockSuffix   = ".log"
	entryHead     = 17
	kindBlock     = 'B'
	kindPoint     = 'C'
	maxHeader     = 16 << 20
	maxCompressed = chain.MaxBlock + 1<<20
)

// blockHeader is what a search needs to know of a block without reading it.
type blockHeader struct {
	Number   uint64      `json:"number"`
	Received time.Time   `json:"received"`
	Min      int64       `json:"min"` // event times, Unix nanoseconds
	Max      int64       `json:"max"`
	Types    []string    `json:"types"`
	Keys     []uint32    `json:"keys"` // hashes of session ids and user names
	Runs     []chain.Run `json:"runs"`
}

// entry is one thing in a block file.
type entry struct {
	kind   byte
	offset int64 // of the entry in its file
	header []byte
	body   int64 // offset of the body
	size   int   // of the body
	crc    uint32
}

func appendEntry(dst []byte, kind byte, header, body []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(header)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.BigEndian.AppendUint32(dst, crcOf(header))
	dst = binary.BigEndian.AppendUint32(dst, crcOf(body))
	dst = append(dst, header...)
	return append(dst, body...)
}

// readEntry reads the outside and header at an offset. It returns io.EOF at
// the end, errTorn for an entry that the file does not hold whole, errDamaged
// for anything else that is not an entry.
func readEntry(f io.ReaderAt, offset, size int64) (entry, error) {
	if offset == size {
		return entry{}, io.EOF
	}
	var head [entryHead]byte
	if size-offset < entryHead {
		return entry{}, errTorn
	}
	if _, err := f.ReadAt(head[:], offset); err != nil {
		return entry{}, err
	}
	e := entry{kind: head[0], offset: offset, crc: binary.BigEndian.Uint32(head[13:])}
	hlen, blen := binary.BigEndian.Uint32(head[1:]), binary.BigEndian.Uint32(head[5:])
	if (e.kind != kindBlock && e.kind != kindPoint) || hlen > maxHeader || blen > maxCompressed {
		return entry{}, errDamaged
	}
	e.body, e.size = offset+entryHead+int64(hlen), int(blen)
	if e.body+int64(e.size) > size {
		return entry{}, errTorn
	}
	e.header = make([]byte, hlen)
	if _, err := f.ReadAt(e.header, offset+entryHead); err != nil {
		return entry{}, err
	}
	if crcOf(e.header) != binary.BigEndian.Uint32(head[9:]) {
		return entry{}, errDamaged
	}
	return e, nil
}

func (e entry) end() int64 { return e.body + int64(e.size) }

// readBody reads and checks the body.
func (e entry) readBody(f io.ReaderAt) ([]byte, error) {
	b := make([]byte, e.size)
	if _, err := f.ReadAt(b, e.body); err != nil {
		return nil, err
	}
	if crcOf(b) != e.crc {
		return nil, errDamaged
	}
	return b, nil
}

// blockFiles lists the ordinals of a log's files, ascending.
func blockFiles(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), blockSuffix); ok {
			if n, err := strconv.ParseUint(name, 10, 64); err == nil {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

func blockPath(dir string, ordinal uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", ordinal, blockSuffix))
}

// scanFile calls visit for each entry of a file. In the last file bodies are
// checked too, as a crash can have left any of its bytes unwritten; it returns
// where the good part ends and whether bytes follow. An entry is synced before
// the next one is begun, so a crash leaves nothing whole behind it: where there
// is an entry behind bytes that are none, scanFile returns errDamaged.
func scanFile(f *os.File, last bool, visit func(entry) error) (good int64, torn bool, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	for {
		e, err := readEntry(f, good, st.Size())
		if err == nil && last {
			_, err = e.readBody(f)
		}
		switch {
		case errors.Is(err, io.EOF):
			return good, false, nil
		case errors.Is(err, errTorn), errors.Is(err, errDamaged):
			if !last {
				return good, false, errDamaged
			}
			behind, err := entryBehind(f, good, st.Size())
			if err == nil && behind {
				err = errDamaged
			}
			return good, err == nil, err
		case err != nil:
			return good, false, err
		}
		if err := visit(e); err != nil {
			return good, false, err
		}
		good = e.end()
	}
}

// entryBehind looks for a whole entry anywhere behind an offset.
func entryBehind(f io.ReaderAt, offset, size int64) (bool, error) {
	b := make([]byte, size-offset)
	if _, err := f.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	r := bytes.NewReader(b)
	for at := 1; at+entryHead < len(b); at++ { // an empty body is no entry of ours
		if b[at] != kindBlock && b[at] != kindPoint {
			continue
		}
		e, err := readEntry(r, int64(at), int64(len(b)))
		if err != nil || e.size == 0 {
			continue
		}
		if _, err := e.readBody(r); err == nil {
			return true, nil
		}
	}
	return false, nil
}

func parseHeader(b []byte) (blockHeader, error) {
	var h blockHeader
	if err := json.Unmarshal(b, &h); err != nil {
		return h, errDamaged
	}
	return h, nil
}
