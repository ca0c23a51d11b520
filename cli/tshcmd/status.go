package tshcmd

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client/identityfile"
	"teleport/client/profile"
	"teleport/fault"
)

// statusEntry is one log-in as it is shown.
type statusEntry struct {
	Active  bool      `json:"active"`
	Proxy   string    `json:"proxy"`
	User    string    `json:"username"`
	Cluster string    `json:"cluster"`
	Roles   []string  `json:"roles"`
	Logins  []string  `json:"logins"`
	Expires time.Time `json:"valid_until"`
	Expired bool      `json:"expired"`

	now time.Time
}

func entryOf(p *profile.Profile, c *identityfile.Credential, active bool, now time.Time) statusEntry {
	return statusEntry{Active: active, Proxy: p.WebProxyAddr, User: p.User, Cluster: p.Cluster, Roles: c.Roles(), Logins: c.Logins(),
		Expires: c.Expires().UTC(), Expired: !now.Before(c.Expires()), now: now}
}

func (a *app) statusCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "Show who you are logged in as, and for how long",
		Long: `Show your log-ins; ">" marks the one in use.

The exit code is 3 when there is none, or when the one in use has expired.`,
		Example: "  tsh status\n  tsh status --format=json\n  tsh status >/dev/null || tsh login",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.status(format) },
	}
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat)
	return cmd
}

func (a *app) status(format string) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	entries, err := a.statusEntries()
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fault.New(fault.Unauthenticated, "you are not logged in").WithHint("log in first: tsh login --proxy=HOST --user=NAME")
	}
	if err := a.writeStatus(format, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Active && e.Expired {
			return fault.New(fault.Unauthenticated, "your log-in to %s has expired", e.Proxy).WithHint("log in again: tsh login")
		}
	}
	return nil
}

func (a *app) statusEntries() ([]statusEntry, error) {
	now := time.Now()
	if a.global.identity != "" {
		s, err := a.open()
		if err != nil {
			return nil, err
		}
		return []statusEntry{entryOf(s.profile, s.cred, true, now)}, nil
	}
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	current, err := a.pick(dir)
	if err != nil {
		return nil, loggedOut(err)
	}
	list, err := dir.List()
	if err != nil {
		return nil, err
	}
	var entries []statusEntry
	for _, p := range list {
		active := p.Name() == current.Name()
		cred, err := dir.Credential(p)
		if err != nil && active {
			return nil, loggedOut(err)
		}
		if err != nil {
			continue
		}
		entries = append(entries, entryOf(p, cred, active, now))
	}
	return entries, nil
}

func (a *app) writeStatus(format string, entries []statusEntry) error {
	if format != textFormat {
		return a.writeDocs(format, entries)
	}
	var b strings.Builder
	for _, e := range entries {
		e.write(&b)
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

func (e statusEntry) write(w io.Writer) {
	mark := "  "
	if e.Active {
		mark = "> "
	}
	until := e.Expires.Local().Format("2006-01-02 15:04:05 -0700")
	if e.Expired {
		until += " [EXPIRED]"
	} else {
		until += " [" + left(e.Expires.Sub(e.now)) + " left]"
	}
	fmt.Fprintf(w, "%sProxy:       %s\n", mark, e.Proxy)
	fmt.Fprintf(w, "  User:        %s\n", clean(e.User))
	fmt.Fprintf(w, "  Cluster:     %s\n", clean(e.Cluster))
	fmt.Fprintf(w, "  Roles:       %s\n", clean(strings.Join(e.Roles, ", ")))
	fmt.Fprintf(w, "  Logins:      %s\n", clean(strings.Join(e.Logins, ", ")))
	fmt.Fprintf(w, "  Valid until: %s\n\n", until)
}

// left writes a duration as people say it: hours and minutes.
func left(d time.Duration) string {
	d = d.Truncate(time.Minute)
	if d < time.Minute {
		return "less than a minute"
	}
	return strings.TrimSuffix(d.String(), "0s")
}
