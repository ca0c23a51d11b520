package sigv4wire

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"teleport/fault"
)

// canonical is the form of a request that is signed.
func (s *Signed) canonical(r *Request, payload, without string) (string, error) {
	path, query, _ := strings.Cut(r.Target, "?")
	cpath, err := canonicalPath(path, s.Service == "s3")
	if err != nil {
		return "", err
	}
	cquery, err := canonicalQuery(query, without)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + cpath + "\n" + cquery + "\n")
	for _, name := range s.Headers {
		value, ok := r.value(name)
		if !ok {
			return "", fault.New(fault.Unauthenticated, "the header %q is signed and not there", name)
		}
		b.WriteString(name + ":" + value + "\n")
	}
	b.WriteString("\n" + strings.Join(s.Headers, ";") + "\n" + payload)
	return b.String(), nil
}

// value is a header in its signed form: trimmed, runs of spaces as one, repeated
// ones joined.
func (r *Request) value(name string) (string, bool) {
	switch name {
	case "host":
		return r.Host, true
	case "content-length": // what came is what counts
		return strconv.FormatInt(max(int64(len(r.Body)), r.Length), 10), true
	}
	for key, values := range r.Header {
		if !strings.EqualFold(key, name) {
			continue
		}
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' }), " ")
		}
		return strings.Join(out, ","), true
	}
	return "", false
}

// canonicalPath encodes a path that came encoded once more, without its dots and
// empty segments. S3 alone takes a path for what it is, encoded once.
func canonicalPath(path string, s3 bool) (string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", malformed()
	}
	if s3 {
		plain, err := url.PathUnescape(path)
		return encode(plain, true), wrong(err)
	}
	var segments []string
	for seg := range strings.SplitSeq(path[1:], "/") {
		switch {
		case seg == "" || seg == ".":
		case seg == "..":
			segments = segments[:max(len(segments)-1, 0)]
		default:
			segments = append(segments, encode(seg, false))
		}
	}
	out := "/" + strings.Join(segments, "/")
	if strings.HasSuffix(path, "/") && out != "/" {
		out += "/"
	}
	return out, nil
}

// canonicalQuery sorts the parameters, each encoded once.
func canonicalQuery(query, without string) (string, error) {
	type pair struct{ key, value string }
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		k, err := url.QueryUnescape(key)
		if err != nil {
			return "", wrong(err)
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return "", wrong(err)
		}
		if without == "" || k != without {
			pairs = append(pairs, pair{encode(k, false), encode(v, false)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value)) })
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = p.key + "=" + p.value
	}
	return strings.Join(out, "&"), nil
}

func wrong(err error) error {
	return fault.Wrap(err, fault.Unauthenticated, "the target of the request cannot be read")
}

// encode escapes everything but the unreserved characters of RFC 3986, and
// slashes where they are kept.
func encode(s string, slashes bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0, slashes && c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
