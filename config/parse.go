package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"teleport/fault"
	"teleport/types"
)

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

// ReadFile parses the file at path.
func ReadFile(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Unreadable(err, "config file "+path)
	}
	if info.Size() > maxFile {
		return nil, fault.New(fault.Invalid, "config file %s is larger than 1 MiB", path)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		// It names commands that the agent runs and tokens that it believes.
		return nil, fault.New(fault.Untrusted, "anybody may write in the config file %s", path).WithHint("Run: chmod o-w %s", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Unreadable(err, "config file "+path)
	}
	return Parse(filepath.ToSlash(path), b)
}

// Parse reads a document; name stands for the file in errors.
func Parse(name string, text []byte) (*File, error) {
	if len(text) > maxFile {
		return nil, fault.New(fault.Invalid, "%s is larger than 1 MiB", name)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, syntaxFault(name, err)
	}
	f := &File{}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil, fault.New(fault.Invalid, "%s is empty", name).WithHint("Write one with: teleport configure")
	}
	if len(tree.Docs) > 1 {
		return nil, fault.New(fault.Invalid, "%s holds more than one document", name)
	}
	c := checker{name: name}
	c.check(tree.Docs[0].Body, reflect.TypeOf(*f), nil)
	if c.err != nil {
		return nil, c.err
	}
	if err := yaml.NodeToValue(tree.Docs[0].Body, f, yaml.CustomUnmarshaler(unmarshalFlag),
		yaml.CustomUnmarshaler(unmarshalStrings), yaml.CustomUnmarshaler(unmarshalDuration)); err != nil {
		return nil, syntaxFault(name, err)
	}
	if f.Version != "v3" {
		return nil, fault.New(fault.Invalid, "%s: version is %q, and this program reads v3", name, f.Version).
			WithHint("Start the file with the line: version: v3")
	}
	return f, nil
}

// checker walks the syntax tree beside the struct and reports the first key
// that the struct does not know.
type checker struct {
	name string
	err  error
}

func (c *checker) check(n ast.Node, t reflect.Type, path []string) {
	if c.err != nil || n == nil {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if ok {
			for _, v := range seq.Values {
				c.check(v, t.Elem(), path)
			}
		}
		return
	case reflect.Struct:
	default:
		return
	}
	if t == reflect.TypeOf(Flag{}) {
		return
	}
	fields := keysOf(t)
	seen := map[string]bool{}
	for _, kv := range mappingValues(n) {
		key := kv.Key.String()
		field, ok := fields[key]
		if !ok {
			c.err = c.unknown(kv, key, t, path)
			return
		}
		if seen[key] {
			c.err = c.at(kv, "key %q stands twice", dotted(path, key))
			return
		}
		seen[key] = true
		c.check(kv.Value, field.Type, append(path[:len(path):len(path)], key))
	}
}

func (c *checker) at(kv *ast.MappingValueNode, format string, args ...any) *fault.Error {
	pos := kv.Key.GetToken().Position
	return fault.New(fault.Invalid, "%s:%d:%d: %s", c.name, pos.Line, pos.Column, fmt.Sprintf(format, args...))
}

// unknown says what is wrong with a key: it belongs elsewhere, or it is a typo.
func (c *checker) unknown(kv *ast.MappingValueNode, key string, t reflect.Type, path []string) *fault.Error {
	err := c.at(kv, "unknown key %q%s", key, under(path))
	var names []string
	for k := range keysOf(t) {
		names = append(names, k)
	}
	sort.Strings(names)
	if places := placesOf(key, reflect.TypeOf(File{}), nil); len(places) > 0 {
		return err.WithHint("%q belongs under %s.", key, strings.Join(places, " or "))
	}
	if near := nearest(key, names); near != "" {
		return err.WithHint("Did you mean %q?", near)
	}
	return err.WithHint("Known keys here: %s.", strings.Join(names, ", "))
}

func under(path []string) string {
	if len(path) == 0 {
		return " at the top of the file"
	}
	return " under " + strings.Join(path, ".")
}

func dotted(path []string, key string) string {
	return strings.Join(append(path[:len(path):len(path)], key), ".")
}

// keysOf maps the yaml names of a struct to its fields.
func keysOf(t reflect.Type) map[string]reflect.StructField {
	m := map[string]reflect.StructField{}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			m[name] = t.Field(i)
		}
	}
	return m
}

// placesOf lists the sections in which key is known.
func placesOf(key string, t reflect.Type, path []string) []string {
	var out []string
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		if name == key {
			out = append(out, strings.Join(path, "."))
		}
		out = append(out, placesOf(key, f.Type, append(path[:len(path):len(path)], name))...)
	}
	for i, p := range out {
		if p == "" {
			out[i] = "the top of the file"
		}
	}
	return out
}

func mappingValues(n ast.Node) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

// nearest returns the known name within an edit distance of a third of its length.
func nearest(s string, names []string) string {
	best, limit := "", 1+len(s)/3
	for _, n := range names {
		if d := editDistance(s, n); d <= limit {
			best, limit = n, d-1
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev, row[j] = row[j], min(row[j]+1, row[j-1]+1, cost)
		}
	}
	return row[len(b)]
}

func unmarshalFlag(f *Flag, b []byte) error { return f.UnmarshalText(b) }

func unmarshalDuration(d *types.Duration, b []byte) error {
	return d.UnmarshalText([]byte(strings.Trim(strings.TrimSpace(string(b)), `"'`)))
}

func unmarshalStrings(s *Strings, b []byte) error {
	var list []string
	if yaml.Unmarshal(b, &list) == nil {
		*s = list
		return nil
	}
	var one string
	if err := yaml.Unmarshal(b, &one); err != nil {
		return err
	}
	*s = Strings{one}
	return nil
}

// syntaxFault reduces the library's message, which starts with "[line:column]"
// and quotes the source over several lines, to "file:line:column: what".
func syntaxFault(name string, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	at, what, ok := strings.Cut(strings.TrimPrefix(text, "["), "] ")
	switch {
	case !ok || at == text:
		return fault.New(fault.Invalid, "%s: %s", name, text)
	case strings.Contains(what, "'\t'"):
		return fault.New(fault.Invalid, "%s:%s: a tab stands where spaces must", name, at).WithHint("YAML is indented with spaces.")
	}
	return fault.New(fault.Invalid, "%s:%s: %s", name, at, what)
}
