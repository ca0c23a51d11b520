package identityfile

import (
	"bytes"
	"strings"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
)

const marker = "@cert-authority "

type hostLine struct {
	cluster string
	key     ssh.PublicKey
}

// KnownHosts writes the authority as lines of a known_hosts file. The first
// pattern is the cluster's name; extra are further host names that its
// certificates speak for, such as the proxy's.
func (a Authority) KnownHosts(extra ...string) string {
	var b strings.Builder
	for _, k := range a.SSHKeys {
		b.WriteString(a.hostLine(k, extra...))
	}
	return b.String()
}

func (a Authority) hostLine(k ssh.PublicKey, extra ...string) string {
	patterns := append([]string{a.Cluster, "*." + a.Cluster}, extra...)
	return marker + strings.Join(patterns, ",") + " " + keys.SSHLine(k) + " type=host\n"
}

// ParseKnownHosts collects the authorities of a known_hosts file, in the order
// in which clusters first appear. Lines that are not of @cert-authority are
// kept apart in others, byte for byte, for whoever rewrites the file.
func ParseKnownHosts(data []byte) (list []Authority, others []byte, err error) {
	for _, line := range bytes.SplitAfter(data, []byte("\n")) {
		if !bytes.HasPrefix(line, []byte(marker)) {
			others = append(others, line...)
			continue
		}
		h, err := parseHostLine(line)
		if err != nil {
			return nil, nil, err
		}
		list = addKey(list, h)
	}
	return list, others, nil
}

func addKey(list []Authority, h hostLine) []Authority {
	for i := range list {
		if list[i].Cluster == h.cluster {
			list[i].SSHKeys = append(list[i].SSHKeys, h.key)
			return list
		}
	}
	return append(list, Authority{Cluster: h.cluster, SSHKeys: []ssh.PublicKey{h.key}})
}

func parseHostLine(line []byte) (hostLine, error) {
	mark, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
	if err != nil || mark != "cert-authority" {
		return hostLine{}, fault.New(fault.Invalid, "an @cert-authority line does not parse")
	}
	if err := keys.CheckSSHPublic(key); err != nil {
		return hostLine{}, err
	}
	for _, h := range hosts {
		if h != "" && !strings.ContainsAny(h, "*?!|[/") && !strings.HasPrefix(h, ".") {
			return hostLine{cluster: h, key: key}, nil
		}
	}
	return hostLine{}, fault.New(fault.Invalid, "an @cert-authority line names no cluster")
}
