package types

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"

	"teleport/fault"
)

// Bounds of documents.
const (
	MaxDocument = 512 << 10 // bytes of one document
	maxDepth    = 48        // nested objects and lists
	maxNodes    = 100_000   // values in one document
)

// jsonNode is one parsed value. Keys keep their order and their duplicates, so
// that the strict decoder can refuse them.
type jsonNode struct {
	kind byte // one of { [ s n b 0
	keys []string
	vals []*jsonNode
	text string // of a string or number
	flag bool
	raw  []byte
}

type treeParser struct {
	data  []byte
	dec   *json.Decoder
	count int
}

// parseTree reads exactly one JSON value of bounded size and depth.
func parseTree(data []byte) (*jsonNode, error) {
	if len(data) > MaxDocument {
		return nil, fault.New(fault.Limit, "the document is larger than %d KiB", MaxDocument>>10)
	}
	if !utf8.Valid(data) {
		return nil, fault.New(fault.Invalid, "the document is not valid UTF-8")
	}
	p := &treeParser{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	tok, start, err := p.next()
	if err != nil {
		return nil, err
	}
	n, err := p.value(tok, start, 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, fault.New(fault.Invalid, "there is more text after the end of the document")
	}
	return n, nil
}

// next returns a token and the offset where its text starts.
func (p *treeParser) next() (json.Token, int, error) {
	start := int(p.dec.InputOffset())
	tok, err := p.dec.Token()
	if err != nil {
		return nil, 0, fault.Wrap(err, fault.Invalid, "the document is not JSON (near byte %d)", p.dec.InputOffset())
	}
	for start < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[start]) >= 0 {
		start++
	}
	return tok, start, nil
}

func (p *treeParser) value(tok json.Token, start, depth int) (*jsonNode, error) {
	if p.count++; p.count > maxNodes || depth > maxDepth {
		return nil, fault.New(fault.Limit, "the document is nested too deeply or has too many values")
	}
	n := &jsonNode{}
	switch t := tok.(type) {
	case json.Delim:
		if err := p.composite(n, t, depth); err != nil {
			return nil, err
		}
	case string:
		n.kind, n.text = 's', t
	case json.Number:
		n.kind, n.text = 'n', t.String()
	case bool:
		n.kind, n.flag = 'b', t
	case nil:
		n.kind = '0'
	}
	n.raw = p.data[start:p.dec.InputOffset()]
	return n, nil
}

func (p *treeParser) composite(n *jsonNode, open json.Delim, depth int) error {
	n.kind = byte(open)
	for p.dec.More() {
		if open == '{' {
			tok, _, err := p.next()
			if err != nil {
				return err
			}
			key, _ := tok.(string)
			n.keys = append(n.keys, key)
		}
		tok, start, err := p.next()
		if err != nil {
			return err
		}
		child, err := p.value(tok, start, depth+1)
		if err != nil {
			return err
		}
		n.vals = append(n.vals, child)
	}
	_, _, err := p.next() // the closing delimiter
	return err
}

// what names a value's JSON type for people.
func (n *jsonNode) what() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 's':
		return "text"
	case 'n':
		return "a number"
	case 'b':
		return "true or false"
	}
	return "nothing"
}
