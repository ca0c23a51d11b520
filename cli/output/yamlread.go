package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"teleport/fault"
	"teleport/types"
)

// Bounds of input files.
const (
	maxFile  = 4 << 20
	maxDepth = 64
)

// Document is one YAML document turned into JSON, with the lines of its fields.
type Document struct {
	JSON  []byte
	name  string
	start int
	lines map[string]int
}

// ReadDocuments reads a file of resources, YAML or JSON, several documents
// divided by "---". Each is decoded strictly and validated. name stands in
// errors: "roles.yaml:12: spec.allow.node_label: unknown key", with the hint
// that names the nearest known key.
func ReadDocuments(name string, r io.Reader) ([]types.Resource, error) {
	docs, err := ReadYAML(name, r)
	if err != nil {
		return nil, err
	}
	var out []types.Resource
	for i := range docs {
		res, err := types.Decode(docs[i].JSON)
		if err != nil {
			return nil, docs[i].Locate(err)
		}
		out = append(out, res)
	}
	if len(out) == 0 {
		return nil, fault.New(fault.Invalid, "%s holds no document", name)
	}
	return out, nil
}

// ReadYAML reads a file of YAML or JSON documents and turns each into JSON.
// Empty documents are left out. Anchors, aliases, tags and merge keys are
// refused, as they make a document say what nobody sees. Duplicate keys stay in
// the JSON for a strict decoder to refuse.
func ReadYAML(name string, r io.Reader) ([]Document, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fault.Unreadable(err, name)
	}
	if len(data) > maxFile {
		return nil, fault.New(fault.Invalid, "%s is larger than %d MiB", name, maxFile>>20)
	}
	if flowDepth(data) > maxDepth {
		return nil, fault.New(fault.Invalid, "%s is nested too deeply", name)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxFault(name, err)
	}
	var docs []Document
	for _, d := range file.Docs {
		if d.Body == nil || d.Body.Type() == ast.NullType || d.Body.Type() == ast.CommentType {
			continue
		}
		doc := Document{name: name, start: lineOf(d.Body), lines: map[string]int{}}
		w := &jsonWriter{doc: &doc}
		if err := w.node(d.Body, "", 0); err != nil {
			return nil, err
		}
		doc.JSON = w.buf.Bytes()
		docs = append(docs, doc)
	}
	return docs, nil
}

// Locate puts file and line before an error about a field of the document. The
// kind and the hint stay.
func (d *Document) Locate(err error) error {
	line := d.start
	var fe *types.FieldError
	if errors.As(err, &fe) {
		line = d.lineOfPath(fe.Path)
	}
	out := fault.New(fault.KindOf(err), "%s:%d: %s", d.name, line, fault.Message(err))
	if hint := fault.Hint(err); hint != "" {
		return out.WithHint("%s", hint)
	}
	return out
}

// lineOfPath finds the line of a field, or of the nearest field around it.
func (d *Document) lineOfPath(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		cut := -1
		for i := len(path) - 1; i > 0; i-- {
			if path[i] == '.' || path[i] == '[' {
				cut = i
				break
			}
		}
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return d.start
}

// syntaxFault takes line and message out of the parser's error.
func syntaxFault(name string, err error) error {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		message, line := at.GetMessage(), at.GetToken().Position.Line
		if strings.Contains(message, "'\t'") || strings.HasPrefix(message, "found character '\t'") {
			return fault.New(fault.Invalid, "%s:%d: a tab stands where spaces must", name, line).WithHint("YAML is indented with spaces")
		}
		return fault.New(fault.Invalid, "%s:%d: %s", name, line, Clean(message))
	}
	return fault.Wrap(err, fault.Invalid, "%s is not YAML", name)
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// flowDepth bounds the nesting of brackets before the parser recurses into them.
func flowDepth(data []byte) int {
	depth, deepest := 0, 0
	for _, b := range data {
		switch b {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth = max(depth-1, 0)
		case '\n':
			if depth > maxDepth {
				return depth
			}
		}
	}
	return deepest
}

type jsonWriter struct {
	doc *Document
	buf bytes.Buffer
}

func (w *jsonWriter) fail(n ast.Node, format string, args ...any) error {
	return fault.New(fault.Invalid, "%s:%d: %s", w.doc.name, lineOf(n), fmt.Sprintf(format, args...))
}

func (w *jsonWriter) node(n ast.Node, path string, depth int) error {
	if depth > maxDepth {
		return w.fail(n, "the document is nested too deeply")
	}
	if path != "" && w.doc.lines[path] == 0 {
		w.doc.lines[path] = lineOf(n)
	}
	switch t := n.(type) {
	case nil:
		w.buf.WriteString("null")
	case *ast.MappingNode:
		return w.mapping(t.Values, path, depth)
	case *ast.MappingValueNode:
		return w.mapping([]*ast.MappingValueNode{t}, path, depth)
	case *ast.SequenceNode:
		return w.sequence(t, path, depth)
	case *ast.NullNode:
		w.buf.WriteString("null")
	case *ast.StringNode:
		return w.scalar(t, t.Value)
	case *ast.LiteralNode:
		return w.scalar(t, t.Value.Value)
	case *ast.BoolNode:
		return w.scalar(t, t.Value)
	case *ast.IntegerNode:
		return w.scalar(t, t.Value)
	case *ast.FloatNode:
		if math.IsInf(t.Value, 0) || math.IsNaN(t.Value) {
			return w.fail(n, "is not a number that can be written")
		}
		w.buf.WriteString(strconv.FormatFloat(t.Value, 'g', -1, 64))
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return w.fail(n, "anchors, aliases and merge keys are not possible here; write the value out")
	case *ast.TagNode:
		return w.fail(n, "tags are not possible here")
	default:
		return w.fail(n, "this form of YAML is not possible here")
	}
	return nil
}

func (w *jsonWriter) scalar(n ast.Node, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return w.fail(n, "cannot be read")
	}
	w.buf.Write(b)
	return nil
}

func (w *jsonWriter) mapping(values []*ast.MappingValueNode, path string, depth int) error {
	w.buf.WriteByte('{')
	for i, kv := range values {
		key, err := w.key(kv)
		if err != nil {
			return err
		}
		if i > 0 {
			w.buf.WriteByte(',')
		}
		if err := w.scalar(kv, key); err != nil {
			return err
		}
		w.buf.WriteByte(':')
		at := types.JoinPath(path, key)
		w.doc.lines[at] = lineOf(kv.Key) // of a key given twice, the second
		if err := w.node(kv.Value, at, depth+1); err != nil {
			return err
		}
	}
	w.buf.WriteByte('}')
	return nil
}

// key reads a mapping key. Numbers and truth values count as the text they are
// written with, as label keys may look like them.
func (w *jsonWriter) key(kv *ast.MappingValueNode) (string, error) {
	switch k := kv.Key.(type) {
	case *ast.StringNode:
		return k.Value, nil
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode, *ast.NullNode:
		return k.GetToken().Value, nil
	}
	return "", w.fail(kv, "the key must be plain text")
}

func (w *jsonWriter) sequence(s *ast.SequenceNode, path string, depth int) error {
	w.buf.WriteByte('[')
	for i, v := range s.Values {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		if err := w.node(v, types.IndexPath(path, i), depth+1); err != nil {
			return err
		}
	}
	w.buf.WriteByte(']')
	return nil
}
