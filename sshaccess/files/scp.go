package files

import (
	"path"
	"strings"
)

// SCP is the server half of the old copy protocol, as clients ask for it.
type SCP struct {
	Upload bool
	Path   string
}

// ParseSCP recognises "scp … -t path" and "scp … -f path". It is for the audit
// log and the right to copy files; the command itself is run by a shell.
func ParseSCP(command string) (c SCP, ok bool) {
	f := strings.Fields(command)
	if len(f) < 2 || path.Base(f[0]) != "scp" {
		return SCP{}, false
	}
	for i, arg := range f[1:] {
		if arg == "--" || !strings.HasPrefix(arg, "-") {
			rest := f[1+i:]
			if arg == "--" {
				rest = rest[1:]
			}
			c.Path = strings.Join(rest, " ")
			break
		}
		if strings.ContainsAny(arg, "tf") {
			ok = true
			c.Upload = strings.Contains(arg, "t")
		}
	}
	return c, ok
}
