package spawn

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"teleport/fault"
)

// MayLogin checks what the host itself says of an account: /etc/nologin, and in
// the shadow file an account that has expired or whose password an administrator
// has locked. An account without a password is not locked: certificates are how
// people come in here.
func (a *Accounts) MayLogin(acc Account, now time.Time) error {
	if acc.UID != 0 {
		if msg, closed := a.nologin(); closed {
			return fault.New(fault.Denied, "logins are closed on this host: %s", msg)
		}
	}
	line, err := findLine(a.Root+"/etc/shadow", acc.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return nil // a host without shadow, or our own account
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "cannot read whether the account %s is locked", acc.Name)
	}
	return checkShadow(acc.Name, line, now)
}

func (a *Accounts) nologin() (string, bool) {
	f, err := os.Open(a.Root + "/etc/nologin")
	if err != nil {
		return "", false
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1024)) //nolint:errcheck // an unreadable reason is still a closed door
	msg := strings.TrimSpace(strings.Map(printableRune, string(b)))
	if msg == "" {
		msg = "/etc/nologin exists"
	}
	return msg, true
}

func printableRune(r rune) rune {
	if r < 0x20 || r == 0x7f {
		return ' '
	}
	return r
}

// checkShadow reads name:password:lastchange:min:max:warn:inactive:expire:.
// Days are counted from 1970-01-01.
func checkShadow(name, line string, now time.Time) error {
	f := strings.Split(line, ":")
	if len(f) < 8 {
		return nil // not in the file: known to a name service
	}
	if rest := strings.TrimLeft(f[1], "!"); rest != f[1] && (strings.HasPrefix(rest, "$") || len(rest) >= 13) {
		return fault.New(fault.Denied, "the account %s is locked on this host", name).
			WithHint("an administrator of the host unlocks it with: usermod -U %s", name)
	}
	if f[7] == "" {
		return nil
	}
	days, err := strconv.ParseInt(f[7], 10, 64)
	if err != nil {
		return fault.New(fault.Denied, "the shadow entry of %s cannot be read", name)
	}
	if days >= 0 && now.Unix()/86400 >= days {
		return fault.New(fault.Denied, "the account %s has expired on this host", name).
			WithHint("an administrator of the host extends it with: chage -E -1 %s", name)
	}
	return nil
}

// Defaults are the parts of /etc/login.defs that a session starts with.
type Defaults struct {
	Path     string // ENV_PATH
	RootPath string // ENV_SUPATH
	Umask    int
	MailDir  string
}

// Defaults reads /etc/login.defs; what it does not say has the usual values.
func (a *Accounts) Defaults() Defaults {
	d := Defaults{
		Path:     "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
		RootPath: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		Umask:    0o022,
	}
	b, err := os.ReadFile(a.Root + "/etc/login.defs")
	if err != nil {
		return d
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		switch f[0] {
		case "ENV_PATH":
			d.Path = strings.TrimPrefix(f[1], "PATH=")
		case "ENV_SUPATH":
			d.RootPath = strings.TrimPrefix(f[1], "PATH=")
		case "UMASK":
			if n, err := strconv.ParseInt(f[1], 8, 32); err == nil && n >= 0 && n <= 0o777 {
				d.Umask = int(n)
			}
		case "MAIL_DIR":
			d.MailDir = f[1]
		}
	}
	return d
}
