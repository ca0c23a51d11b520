package appaccess

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"teleport/fault"
)

// ownName refuses a browser that takes the app for a stranger's site: somebody may let a
// name of theirs lead to the person's machine, where tsh proxy app listens, and what is
// there is then of the same origin as their page. Every browser says that it is one.
// Names without a dot, and those below localhost and internal, nobody can own outside.
func (x *exchange) ownName(r *http.Request) error {
	if x.bridged() || !strings.HasPrefix(r.Header.Get("User-Agent"), "Mozilla/") {
		return nil
	}
	host := strings.ToLower((&url.URL{Host: x.asked}).Hostname())
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".internal") {
		return nil
	}
	own := []string{x.app.Spec.PublicAddr, x.visit.route.PublicAddr, x.way.target.Hostname()}
	if slices.ContainsFunc(own, func(name string) bool { return strings.EqualFold(name, host) }) {
		return nil
	}
	return fault.New(fault.Denied, "%.100q is no name of this app: a browser opens it at localhost, and the port of tsh", host)
}
