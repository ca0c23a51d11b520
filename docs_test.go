package teleport_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"teleport/config"
)

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// TestLinksInTheDocsResolve checks every relative link of every page, with the
// heading that it names.
func TestLinksInTheDocsResolve(t *testing.T) {
	sourceTree(t, ".md", func(name string) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(readText(t, name), ""), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(readText(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", name, target, anchor)
			}
		}
	})
}

// anchors are the names by which a page's headings are linked.
func anchors(page string) []string {
	var names []string
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		names = append(names, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConfigPageHasEveryKey compares the first column of the tables in
// docs/config.md with the keys that the parser knows.
func TestConfigPageHasEveryKey(t *testing.T) {
	var known []string
	configKeys(reflect.TypeFor[config.File](), "", &known)
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)`").FindAllStringSubmatch(readText(t, "docs/config.md"), -1) {
		told = append(told, m[1])
	}
	for _, k := range known {
		if !slices.Contains(told, k) {
			t.Errorf("docs/config.md does not explain %s", k)
		}
	}
	for _, k := range told {
		if !slices.Contains(known, k) {
			t.Errorf("docs/config.md explains %s, which is no key", k)
		}
	}
	if len(told) != len(known) {
		t.Errorf("docs/config.md has %d rows for %d keys", len(told), len(known))
	}
}

// configKeys lists the keys of a struct by their dotted path. Structs without
// tagged fields, such as Flag, are values.
func configKeys(t reflect.Type, prefix string, keys *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		of := f.Type
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && hasKeys(of) {
			configKeys(of, prefix+name+".", keys)
		} else {
			*keys = append(*keys, prefix+name)
		}
	}
}

func hasKeys(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return true
		}
	}
	return false
}

// TestRulesNameTestsThatExist checks each `package.TestName` of the page about
// the security rules: a renamed test must not leave a rule unguarded unseen.
func TestRulesNameTestsThatExist(t *testing.T) {
	tests := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	sourceTree(t, "_test.go", func(name string) {
		for _, m := range decl.FindAllStringSubmatch(readText(t, name), -1) {
			tests[filepath.ToSlash(filepath.Dir(name))+"."+m[1]] = true
		}
	})
	for _, page := range []string{"docs/security-rules.md", "docs/threat-model.md"} {
		for _, m := range regexp.MustCompile("`([a-z0-9/.]+\\.(?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(readText(t, page), -1) {
			if !tests[m[1]] {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
	for i := range 12 {
		if row := fmt.Sprintf("\n| %d |", i+1); !strings.Contains(readText(t, "docs/security-rules.md"), row) {
			t.Errorf("docs/security-rules.md has no row for rule %d", i+1)
		}
	}
}
