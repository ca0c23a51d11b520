package predicate

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
)

// MatchPattern matches s against a pattern of labels and names: a literal, a
// glob in which * is any sequence, or ^regexp$, which always spans the whole
// text. Regular expressions are compiled through c, which may be nil. An error
// means that the pattern is broken, and the result is false.
func MatchPattern(c *Cache, pattern, s string) (bool, error) {
	switch {
	case pattern == "*":
		return true, nil
	case strings.HasPrefix(pattern, "^"):
		re, err := c.regexp(pattern)
		if err != nil {
			return false, err
		}
		return len(s) <= MaxSource && re.MatchString(s), nil
	case strings.Contains(pattern, "*"):
		return glob(pattern, s), nil
	}
	return pattern == s, nil
}

// CheckPattern reports what is wrong with a pattern.
func CheckPattern(pattern string) error {
	if len(pattern) > MaxSource {
		return invalid("the pattern is longer than %d bytes", MaxSource)
	}
	if strings.HasPrefix(pattern, "^") {
		_, err := compilePattern(pattern)
		return err
	}
	return nil
}

// compilePattern compiles ^inner$ so that it spans the whole text also when
// inner has alternatives. inner must be a regular expression by itself.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > MaxSource || len(pattern) < 2 || !strings.HasPrefix(pattern, "^") || !strings.HasSuffix(pattern, "$") || strings.HasSuffix(pattern, `\$`) {
		return nil, invalid("the regular expression %q must start with ^ and end with $", pattern)
	}
	inner := pattern[1 : len(pattern)-1]
	if _, err := syntax.Parse(inner, syntax.Perl); err != nil {
		return nil, invalid("%q is not a regular expression: %s", pattern, plain(err))
	}
	return compileRegexp(`\A(?:` + inner + `)\z`)
}

// glob matches * as any sequence, without allocation and in O(len(p)·len(s)).
func glob(p, s string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && p[i] == s[j]:
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}

// Cache keeps compiled programs, templates and patterns by their source text. It
// is safe for concurrent use and bounded. As the key is the source itself, it
// can never be stale. A nil Cache compiles anew each time.
type Cache struct {
	mu sync.RWMutex
	m  map[cacheKey]any
}

type cacheKey struct {
	what byte
	src  string
}

const maxCached = 8192

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{m: map[cacheKey]any{}} }

func cached[T any](c *Cache, what byte, src string, compile func() (T, error)) (T, error) {
	if c == nil {
		return compile()
	}
	key := cacheKey{what, src}
	c.mu.RLock()
	v, ok := c.m[key].(T)
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := compile()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxCached {
		clear(c.m)
	}
	c.m[key] = v
	return v, nil
}

func (c *Cache) regexp(pattern string) (*regexp.Regexp, error) {
	return cached(c, 'p', pattern, func() (*regexp.Regexp, error) { return compilePattern(pattern) })
}

// Where compiles a where clause.
func (c *Cache) Where(src string) (*Program, error) {
	return cached(c, 'w', src, func() (*Program, error) { return Compile(Where(), src) })
}

// LabelExpr compiles a label expression.
func (c *Cache) LabelExpr(src string) (*Program, error) {
	return cached(c, 'l', src, func() (*Program, error) { return Compile(LabelExpr(), src) })
}

// TargetExpr compiles an expression that selects resources.
func (c *Cache) TargetExpr(src string) (*Program, error) {
	return cached(c, 's', src, func() (*Program, error) { return Compile(TargetExpr(), src) })
}

// Template parses a template.
func (c *Cache) Template(src string) (*Template, error) {
	return cached(c, 't', src, func() (*Template, error) { return ParseTemplate(src) })
}
