package output

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"

	"teleport/fault"
	"teleport/types"
)

// Format is how a command prints: text, json or yaml.
type Format string

// The formats that --format takes.
const (
	Text Format = "text"
	JSON Format = "json"
	YAML Format = "yaml"
)

// ParseFormat reads the value of a --format flag; "" is text.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case "":
		return Text, nil
	case Text, JSON, YAML:
		return f, nil
	}
	return "", fault.New(fault.Invalid, "%q is not a format", s).WithHint("use text, json or yaml")
}

// String, Set and Type make a Format a flag: a wrong one is refused before a
// command does anything.
func (f *Format) String() string { return string(*f) }

// Set implements the value of a flag.
func (f *Format) Set(s string) (err error) {
	*f, err = ParseFormat(s)
	return err
}

// Type implements the value of a flag.
func (f *Format) Type() string { return "format" }

// Write prints any value as JSON or YAML. The value is read by its JSON tags, so
// that both formats say the same.
func Write(w io.Writer, f Format, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the result cannot be printed")
	}
	return writeJSON(w, f, b)
}

// WriteDocuments prints resources in the form that ReadDocuments reads: YAML
// documents divided by "---", or a JSON list.
func WriteDocuments(w io.Writer, f Format, docs []types.Resource) error {
	if f == JSON {
		list := make([]json.RawMessage, len(docs))
		for i, d := range docs {
			b, err := types.Encode(d)
			if err != nil {
				return err
			}
			list[i] = b
		}
		return Write(w, JSON, list)
	}
	for i, d := range docs {
		b, err := types.Encode(d)
		if err != nil {
			return err
		}
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
		}
		if err := writeJSON(w, YAML, b); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, f Format, doc []byte) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return fault.Wrap(err, fault.Internal, "the result cannot be printed")
	}
	var buf bytes.Buffer
	if f == JSON {
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fault.Wrap(err, fault.Internal, "the result cannot be printed")
		}
	} else {
		yamlWriter{plain: regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+(),-]+)*$`)}.value(&buf, v, 0, false)
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// yamlWriter writes YAML in one plain style: sorted keys, block lists, and double
// quotes around whatever another reader of YAML could take for something else
// (yes, 1.0, "*", {{…}}). It is written out here because that promise must hold
// for every text: a document printed, edited and read back is the same.
type yamlWriter struct{ plain *regexp.Regexp }

func (y yamlWriter) value(b *bytes.Buffer, v any, indent int, inline bool) {
	switch t := v.(type) {
	case map[string]any:
		y.mapping(b, t, indent, inline)
	case []any:
		y.list(b, t, indent)
	case string:
		b.WriteString(y.text(t) + "\n")
	case json.Number:
		b.WriteString(t.String() + "\n")
	case bool:
		if t {
			b.WriteString("true\n")
		} else {
			b.WriteString("false\n")
		}
	default:
		b.WriteString("null\n")
	}
}

func (y yamlWriter) mapping(b *bytes.Buffer, m map[string]any, indent int, inline bool) {
	if len(m) == 0 {
		b.WriteString("{}\n")
		return
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 || !inline {
			b.WriteString(strings.Repeat(" ", indent))
		}
		b.WriteString(y.text(k) + ":")
		y.child(b, m[k], indent+2)
	}
}

// child writes what follows a key: scalars and empty values on the same line.
func (y yamlWriter) child(b *bytes.Buffer, v any, indent int) {
	switch t := v.(type) {
	case map[string]any:
		if len(t) > 0 {
			b.WriteString("\n")
			y.mapping(b, t, indent, false)
			return
		}
	case []any:
		if len(t) > 0 {
			b.WriteString("\n")
			y.list(b, t, indent-2)
			return
		}
	}
	b.WriteString(" ")
	y.value(b, v, indent, true)
}

func (y yamlWriter) list(b *bytes.Buffer, l []any, indent int) {
	if len(l) == 0 {
		b.WriteString("[]\n")
		return
	}
	for _, v := range l {
		b.WriteString(strings.Repeat(" ", indent) + "- ")
		if inner, ok := v.([]any); ok && len(inner) > 0 {
			b.WriteString("\n")
			y.list(b, inner, indent+2)
			continue
		}
		y.value(b, v, indent+2, true)
	}
}

func (y yamlWriter) text(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf":
	default:
		if len(s) < 200 && y.plain.MatchString(s) {
			return s
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimRight(buf.String(), "\n")
}
