package appproxy

import (
	"bytes"
	"errors"
	"html"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"teleport/fault"
	"teleport/netx/http1"
)

// notice is what a person reads in place of the app.
type notice struct {
	title     string
	why, hint string
	text, to  string // the way on; none where text is ""
	// aside says that the way on opens beside the page, which the browser can send once
	// more: what was typed into a form is still in it.
	aside bool
}

// notice words what went wrong for the person before the browser. Nothing is said twice.
func (s *Server) notice(v *visit, err error) notice {
	app := "the app"
	if v.app != nil {
		app = v.app.Metadata.Name
	}
	kind, sent := fault.KindOf(err), v.r.Method != http.MethodGet && v.r.Method != http.MethodHead
	n := notice{title: title(err, app, sent), why: sentence(fault.Message(err)), hint: sentence(fault.Hint(err))}
	if v.app != nil && kind == fault.NotFound {
		n.title = "There is no such page"
	}
	if echoes(n.why, n.title) {
		n.why, n.hint = n.hint, ""
	}
	switch kind {
	case fault.Unauthenticated:
		n.text, n.to = "Sign in again", "/"
		if sent {
			n.text, n.aside, n.hint = "Sign in in another tab", true, "Sign in in another tab, and reload this page: the browser sends it once more."
		}
	case fault.Unavailable, fault.Timeout, fault.Internal, fault.Limit:
		n.text = "Try again"
		if sent { // a link would ask for the page that the form leads to, without the form
			n.text, n.hint = "", "Reload this page, and the browser sends it once more."
		}
	default:
		n.text, n.to = "To your resources", "https://"+s.o.PublicAddr+"/web/"
	}
	return n
}

// title is what a page says first.
func title(err error, app string, sent bool) string {
	switch {
	case errors.Is(err, http1.ErrPaused), sent && fault.KindOf(err) == fault.Unauthenticated:
		return "What you sent did not reach " + app
	case errors.Is(err, errHead):
		return "Your browser sends too much to " + app
	}
	switch fault.KindOf(err) {
	case fault.Denied, fault.Untrusted:
		return "You may not use " + app
	case fault.Unauthenticated:
		return "Your session with " + app + " has ended"
	case fault.Unavailable:
		return app + " cannot be reached"
	case fault.NotFound:
		return "There is no such app"
	case fault.Invalid:
		return "That request makes no sense"
	}
	return app + " does not answer"
}

// echoes reports whether a sentence says what the title has said.
func echoes(why, title string) bool {
	return strings.EqualFold(strings.TrimPrefix(strings.TrimSuffix(why, "."), "The app "), title)
}

// sentence makes one of a message; of none, none.
func sentence(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return strings.TrimRight(string(unicode.ToUpper(first))+s[n:], ".") + "."
}

// page is the notice as a document; id names the request.
func (n notice) page(id string) []byte {
	var b bytes.Buffer
	head := html.EscapeString(n.title)
	b.WriteString("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">" +
		"<title>" + head + "</title><link rel=\"stylesheet\" href=\"" + authPath + "/page.css\"></head>\n<body><main><h1>" + head + "</h1>\n")
	for _, p := range [][2]string{{"why", n.why}, {"hint", n.hint}} {
		if p[1] != "" {
			b.WriteString("<p class=\"" + p[0] + "\">" + html.EscapeString(p[1]) + "</p>\n")
		}
	}
	if n.text != "" {
		where := ""
		if n.aside {
			where = " target=\"_blank\" rel=\"noopener\""
		}
		b.WriteString("<p><a class=\"button\" href=\"" + html.EscapeString(n.to) + "\"" + where + ">" + html.EscapeString(n.text) + "</a></p>\n")
	}
	b.WriteString("<p class=\"id\">If you ask for help, name the request <code>" + html.EscapeString(id) + "</code>.</p>\n</main></body></html>\n")
	return b.Bytes()
}
