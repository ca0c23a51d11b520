package appaccess

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"teleport/types"
)

// Headers between the proxy of a browser's user and the agent.
const (
	// HeaderRequestID names a request in the audit log and on pages of errors. The
	// proxy may choose it, where it is the one who speaks (a bridge certificate).
	HeaderRequestID = "X-Request-Id"
	// HeaderAssertion is the signed token that tells an app who the user is.
	HeaderAssertion = "Teleport-Jwt-Assertion"
	// HeaderError is on answers of the agent itself, and never on an app's: what went
	// wrong, in one word. The body is then JSON.
	HeaderError = "X-Teleport-App-Error"
	// CookiePrefix begins the names of cookies between browser and proxy. Apps never
	// see them, and never set them.
	CookiePrefix = "__Host-grv_"
)

// unsay drops what a client says in a header, however it spells it.
func unsay(h http.Header, name string) {
	key := types.HeaderKey(name)
	for said := range h {
		if types.HeaderIs(said, key) {
			delete(h, said)
		}
	}
}

// forwarded copies the headers of a request singly, and drops what only the agent
// may tell the app.
func forwarded(from http.Header) http.Header {
	out := make(http.Header, len(from)+2) // mostly: of a browser's request most of ours replace the proxy's
	for name, values := range from {
		switch {
		case name == "Cookie":
			if kept := withoutOwn(values); len(kept) > 0 {
				out[name] = kept
			}
		case !types.OwnHeader(name):
			out[name] = values[:len(values):len(values)]
		}
	}
	return out
}

// withoutOwn drops our cookies of a request, and leaves the others as they are.
func withoutOwn(lines []string) []string {
	var out []string
	for _, line := range lines {
		var kept []string
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if pair != "" && !strings.HasPrefix(pair, CookiePrefix) {
				kept = append(kept, pair)
			}
		}
		if len(kept) > 0 {
			out = append(out, strings.Join(kept, "; "))
		}
	}
	return out
}

// answered drops of an app's answer what only we say.
func answered(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Teleport-") {
			h.Del(name)
		}
	}
	if set := h["Set-Cookie"]; len(set) > 0 {
		set = slices.DeleteFunc(set, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), CookiePrefix) })
		if len(set) == 0 {
			h.Del("Set-Cookie")
		} else {
			h["Set-Cookie"] = set
		}
	}
}

// relocated is where a redirect of the app leads: to the public address, where it
// names one of the app's own hosts, and as it says otherwise.
func relocated(location, public string, hosts []string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || public == "" {
		return location
	}
	name := strings.ToLower(u.Hostname())
	if !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) || strings.EqualFold(h, u.Host) }) {
		return location
	}
	u.Scheme, u.Host, u.User = "https", public, nil
	return u.String()
}

// originOf is what the app hears as the origin of a request that its own page made:
// itself, by the name that it knows. Other origins are told as they are, so that the
// app's own defence against foreign pages holds.
func originOf(origin, asked, target string) string {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, asked) {
		return origin
	}
	return target
}

// share adds the headers by which pages of other origins may read answers.
func share(h http.Header, origin string, c *types.AppCORS) {
	any := slices.Contains(c.AllowedOrigins, types.Wildcard)
	if origin == "" || !any && !slices.Contains(c.AllowedOrigins, origin) {
		return
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
	if any {
		origin = types.Wildcard
	} else {
		h.Add("Vary", "Origin")
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	for name, list := range map[string][]string{"Access-Control-Allow-Methods": c.AllowedMethods, "Access-Control-Allow-Headers": c.AllowedHeaders,
		"Access-Control-Expose-Headers": c.ExposedHeaders} {
		if len(list) > 0 {
			h.Set(name, strings.Join(list, ", "))
		}
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
	}
}
