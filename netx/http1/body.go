package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
)

// maxTrailer bounds what may follow a body, in bytes.
const maxTrailer = 16 << 10

// body is that of a message on a connection. It is for one reader.
type body struct {
	br   *bufio.Reader
	from io.Reader // what is left of the body, without its framing
	left int64     // of a body with a length; -1: it ends otherwise
	// trailer gets what follows a chunked body, merged into what was announced.
	trailer *http.Header
	strict  bool // it is a request's, which says only what it has announced
	chunked bool
	err     error // what reads return from now on
}

// lengthBody is the next n bytes.
func lengthBody(br *bufio.Reader, n int64) *body {
	b := &body{br: br, from: br, left: n}
	if n == 0 {
		b.err = io.EOF
	}
	return b
}

// chunkedBody ends with a chunk of no length; trailer gets what comes after it.
func chunkedBody(br *bufio.Reader, trailer *http.Header) *body {
	return &body{br: br, from: httputil.NewChunkedReader(br), left: -1, chunked: true, trailer: trailer}
}

// restBody ends with the connection.
func restBody(br *bufio.Reader) *body { return &body{br: br, from: br, left: -1} }

// Read implements io.Reader. The last bytes come with io.EOF where that is known.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.from.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
		switch {
		case b.left == 0:
			err = io.EOF
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
	} else if b.chunked && errors.Is(err, io.EOF) {
		err = b.finish()
	}
	b.err = err
	return n, err
}

// more reports whether something of the body is at hand: half of the head of a chunk,
// which an application may have sent for what it says next, is not.
func (b *body) more() bool {
	n := b.br.Buffered()
	if n == 0 || !b.chunked {
		return n > 0
	}
	here, err := b.br.Peek(n)
	return err == nil && bytes.IndexByte(bytes.TrimPrefix(here, []byte("\r\n")), '\n') >= 0
}

// finish reads what follows the last chunk.
func (b *body) finish() error {
	text, err := readTrailer(b.br)
	if err != nil {
		return err
	}
	if text == "\r\n" {
		return io.EOF
	}
	h, err := parseFields(text, b.strict)
	if err != nil {
		return err
	}
	for name, values := range h {
		if !trails(name) {
			continue
		}
		if _, announced := (*b.trailer)[name]; b.strict && !announced {
			continue
		}
		if *b.trailer == nil {
			*b.trailer = http.Header{}
		}
		(*b.trailer)[name] = values
	}
	return io.EOF
}

// readTrailer reads the fields after a body, and the empty line that ends them; mostly
// that is all.
func readTrailer(br *bufio.Reader) (string, error) {
	text := ""
	for {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case errors.Is(err, bufio.ErrBufferFull) || len(text)+len(line) > maxTrailer:
			return "", errTooLarge
		case err != nil:
			return "", err
		}
		end := string(line) == "\r\n" || string(line) == "\n"
		if end && text == "" && len(line) == 2 {
			return "\r\n", nil
		}
		if text += string(line); end {
			return text, nil
		}
	}
}

// over reports whether the whole of the body has been read.
func (b *body) over() bool { return errors.Is(b.err, io.EOF) }
