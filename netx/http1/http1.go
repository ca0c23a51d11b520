// Package http1 is HTTP/1.1 (RFC 9110, RFC 9112) for what stands between a client
// and an application: a server and a client of the shapes of net/http, in which the
// goroutine that reads a request also sends it on, reads the answer and writes it
// back. net/http wakes up three others for each request, which costs a gateway more
// than everything else it does; it remains the right server for whoever answers
// requests himself, and for HTTP/2.
//
// A request that could mean one thing here and another one behind is refused: a
// length and a coding, two hosts, a line that ends in LF alone, a folded field.
// What an application answers is read with more patience, as net/http does.
package http1

import (
	"net/http"
	"net/textproto"
	"strings"

	"teleport/fault"
)

// malformed is a message that cannot be understood.
func malformed(what string, args ...any) error { return fault.New(fault.Invalid, what, args...) }

// hopByHop are the fields of one connection (RFC 9110 §7.6.1), and those that look
// like them.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade"}

// Asked is what a request asks of its connection that the next one is to offer too.
type Asked struct {
	Upgrade  string // the protocol to change to, "" for none
	Trailers bool   // the client reads them
}

// Take deletes from the header of a request what belongs to its connection, as
// StripHop does, and returns what of it goes on.
func Take(h http.Header) Asked {
	a := Asked{Upgrade: Upgrade(h), Trailers: hasToken(h["Te"], "trailers")}
	StripHop(h)
	return a
}

// Put asks it of the next connection.
func (a Asked) Put(h http.Header) {
	if a.Upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{a.Upgrade}
	}
	if a.Trailers {
		h["Te"] = []string{"trailers"}
	}
}

// StripHop deletes from h what belongs to one connection: the fields that
// Connection names, and those that always do.
func StripHop(h http.Header) {
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if token = textproto.TrimString(token); token != "" {
				h.Del(token)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// Upgrade is the protocol that a message asks or agrees to change to, "" for none.
func Upgrade(h http.Header) string {
	if len(h["Upgrade"]) == 0 || !hasToken(h["Connection"], "Upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}
