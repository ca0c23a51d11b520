package sigv4wire

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	"teleport/fault"
)

const (
	// maxChunk bounds one chunk of a body, in bytes; SDKs send 64 to 128 KiB.
	maxChunk = 8 << 20
	// maxChunkHead bounds the line before it, and the trailers' lines.
	maxChunkHead = 512
)

// chunks reads a body in signed chunks:
//
//	{hex-length ";chunk-signature=" hex CR LF data CR LF} "0;chunk-signature=" hex CR LF
//	[name ":" value CR LF "x-amz-trailer-signature:" hex CR LF] CR LF
type chunks struct {
	st       *Stream
	from     *bufio.Reader
	previous string // signature
	got      int64
	checksum string
}

func newChunks(st *Stream, r io.Reader) *chunks {
	return &chunks{st: st, from: bufio.NewReaderSize(r, 4<<10), previous: st.Signature}
}

func badChunk() error {
	return fault.New(fault.Unauthenticated, "the body does not arrive in chunks that are signed")
}

// line reads up to CR LF.
func (c *chunks) line() (string, error) {
	text, err := c.from.ReadSlice('\n')
	if err != nil || len(text) > maxChunkHead {
		return "", badChunk()
	}
	out, ok := strings.CutSuffix(string(text), "\r\n")
	if !ok {
		return "", badChunk()
	}
	return out, nil
}

// next returns the data of a chunk, and io.EOF after the last.
func (c *chunks) next() ([]byte, error) {
	head, err := c.line()
	if err != nil {
		return nil, err
	}
	length, signature, ok := strings.Cut(head, ";chunk-signature=")
	size, err := strconv.ParseUint(length, 16, 31)
	if !ok || err != nil || size > maxChunk || c.got+int64(size) > c.st.decoded {
		return nil, badChunk()
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(c.from, data); err != nil {
		return nil, badChunk()
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if err := c.check("AWS4-HMAC-SHA256-PAYLOAD", signature, empty, hexHash(data)); err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, c.end()
	}
	c.got += int64(size)
	if rest, err := c.line(); err != nil || rest != "" {
		return nil, badChunk()
	}
	return data, nil
}

// end reads what follows the last chunk.
func (c *chunks) end() error {
	if c.got != c.st.decoded {
		return badChunk()
	}
	line, err := c.line()
	if c.st.trailer != "" && err == nil {
		if line == "" { // some clients end the last chunk as all others
			if line, err = c.line(); err != nil {
				return err
			}
		}
		name, value, _ := strings.Cut(line, ":")
		c.checksum = strings.TrimSpace(value)
		if !strings.EqualFold(name, c.st.trailer) || len(c.checksum) != checksums[c.st.trailer] {
			return badChunk()
		}
		if line, err = c.line(); err != nil {
			return err
		}
		signature, ok := strings.CutPrefix(line, "x-amz-trailer-signature:")
		if !ok {
			return badChunk()
		}
		if err := c.check("AWS4-HMAC-SHA256-TRAILER", signature, hexHash([]byte(c.st.trailer+":"+c.checksum+"\n"))); err != nil {
			return err
		}
		line, err = c.line()
	}
	if err != nil || line != "" {
		return badChunk()
	}
	if _, err := c.from.ReadByte(); err != io.EOF {
		return badChunk()
	}
	return io.EOF
}

// check verifies one signature of the chain.
func (c *chunks) check(kind, signature string, hashes ...string) error {
	text := strings.Join(append([]string{kind, c.st.Time.Format(timeLayout), c.st.scope(), c.previous}, hashes...), "\n")
	m := hmac.New(sha256.New, c.st.key)
	m.Write([]byte(text))
	said, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(said, m.Sum(nil)) {
		return fault.New(fault.Unauthenticated, "a chunk of the body is not signed by this key")
	}
	c.previous = signature
	return nil
}
