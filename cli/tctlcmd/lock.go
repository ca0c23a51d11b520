package tctlcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func (a *app) lockCmd() *cobra.Command {
	var t types.LockTarget
	var message, expires string
	var ttl time.Duration
	var limited func() bool
	c := a.verb("lock", "Ban a user, role, login, host, device or session at once, live sessions included",
		"  tctl lock --user=alice --message='laptop stolen' --ttl=24h\n  tctl rm lock/UUID   # lift it", cobra.NoArgs,
		func(ctx context.Context, api *authclient.Client, _ []string) error {
			l := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: uuid.NewString()}},
				Spec: types.LockSpec{Target: t, Message: message}}
			switch {
			case limited() && ttl <= 0:
				return fault.New(fault.Invalid, "--ttl %s is not a time to come", ttl).WithHint("leave it out for a lock that holds until it is removed")
			case limited() && expires != "":
				return fault.New(fault.Invalid, "say --ttl or --expires, not both")
			case limited():
				at := time.Now().Add(ttl).UTC().Truncate(time.Second)
				l.Spec.Expires = &at
			case expires != "":
				at, err := output.ParseTime(expires)
				if err != nil {
					return err
				}
				l.Spec.Expires = &at
			}
			if err := l.Validate(); err != nil {
				return err
			}
			if _, err := authclient.Put(ctx, api, authclient.Create, l); err != nil {
				return err
			}
			a.warnOfNobody(ctx, api, t)
			_, err := fmt.Fprintf(a.Out, "Lock %s is in force. Lift it with: tctl rm lock/%s\n", l.Name(), l.Name())
			return err
		})
	fl := c.Flags()
	limited = func() bool { return fl.Changed("ttl") }
	fl.StringVar(&t.User, "user", "", "user to lock")
	fl.StringVar(&t.Role, "role", "", "role to lock")
	fl.StringVar(&t.Login, "login", "", "OS login to lock")
	fl.StringVar(&t.ServerID, "server-id", "", "UUID of the host to lock")
	fl.StringVar(&t.MFADevice, "mfa-device", "", "UUID of the second factor to lock")
	fl.StringVar(&t.Device, "device", "", "UUID of the device to lock")
	fl.StringVar(&t.WindowsDesktop, "windows-desktop", "", "desktop to lock")
	fl.StringVar(&t.AccessRequest, "access-request", "", "access request to lock")
	fl.StringVar(&t.Session, "session", "", "id of the live session to end, as tsh sessions ls shows it")
	fl.StringVar(&message, "message", "", "what people are told")
	fl.DurationVar(&ttl, "ttl", 0, "how long the lock holds (default: until it is removed)")
	fl.StringVar(&expires, "expires", "", "until when the lock holds: 2026-01-31T12:00:00Z")
	return c
}

// warnOfNobody says it where a lock names something that does not exist, as a
// slip of the keys would lock nobody. The lock stands all the same: what it names
// may be about to come, or be known to another cluster.
func (a *app) warnOfNobody(ctx context.Context, api *authclient.Client, t types.LockTarget) {
	for _, of := range []struct{ what, kind, name string }{
		{"user", types.KindUser, t.User}, {"role", types.KindRole, t.Role},
		{"host", types.KindInstance, t.ServerID}, {"live session", types.KindSessionTracker, t.Session},
	} {
		if of.name == "" {
			continue
		}
		known, err := namesOf(ctx, api, of.kind)
		if err != nil || slices.Contains(known, of.name) {
			continue // whoever may lock need not be able to list
		}
		near := ""
		if n := types.Nearest(of.name, known); n != "" {
			near = fmt.Sprintf("; did you mean %q?", n)
		}
		_, _ = fmt.Fprintf(a.Err, "WARNING: no %s is called %q now%s\n", of.what, of.name, near) // the lock is made
	}
}

// namesOf lists the names of a kind's documents, as far as the caller sees them.
func namesOf(ctx context.Context, api *authclient.Client, kind string) ([]string, error) {
	var names []string
	for doc, err := range api.ListDocuments(ctx, kind, authclient.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		var head types.Header
		if err := json.Unmarshal(doc, &head); err != nil {
			return nil, err
		}
		names = append(names, head.Metadata.Name)
	}
	return names, nil
}
