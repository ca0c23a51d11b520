package dbaccess

import (
	"net/netip"
	"regexp"
	"strings"
)

var addressLike = regexp.MustCompile(`[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+`)

// WithoutAddresses is what a database said without the addresses of machines in it:
// how its agents reach it is not for everybody who may use it.
func WithoutAddresses(said string) string {
	return addressLike.ReplaceAllStringFunc(said, func(token string) string {
		for _, text := range []string{token, strings.TrimRight(token, ".:")} { // as a sentence may end
			_, err := netip.ParseAddr(text)
			_, err2 := netip.ParseAddrPort(text)
			if err == nil || err2 == nil {
				return "(address)" + token[len(text):]
			}
		}
		return token
	})
}
