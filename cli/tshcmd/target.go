package tshcmd

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"teleport/client"
	"teleport/fault"
)

// maxHost bounds what a person may give as the name of a server, in bytes.
const maxHost = 1024

// target reads [user@]host. Host is a name, a UUID, an address, or labels
// k=v,k=v that one server has.
func (a *app) target(s *session, text, userOption string, port int) (client.Target, error) {
	login, host := "", text
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		login, host = text[:i], text[i+1:]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if err := checkHost(text, host); err != nil {
		return client.Target{}, err
	}
	if isIP(host) && port != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	for _, l := range []string{login, userOption, a.global.login, defaultLogin(s, a.osUser())} {
		if l != "" {
			return client.Target{Host: host, Login: l}, nil
		}
	}
	return client.Target{}, fault.New(fault.Invalid, "no login was named").WithHint("write LOGIN@%s", host)
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func checkHost(text, host string) error {
	bad := host == "" || len(host) > maxHost || strings.HasPrefix(host, "-") || strings.ContainsFunc(host, func(r rune) bool {
		return r < 0x20 || r == 0x7f || r == '/' || r == '@'
	})
	if bad || !strings.Contains(host, "=") && strings.ContainsAny(host, " \t") {
		return fault.New(fault.Invalid, "%q does not name a server", clean(text)).WithHint("write [user@]host, or labels as key=value")
	}
	return nil
}

// defaultLogin is this machine's user name, unless the certificate leaves only
// one other choice.
func defaultLogin(s *session, own string) string {
	if logins := s.cred.Logins(); len(logins) == 1 {
		return logins[0]
	}
	return own
}
