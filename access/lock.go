package access

import (
	"slices"
	"strings"
	"time"

	"teleport/types"
)

// LockSubject is what locks are held against.
type LockSubject struct {
	User           string
	Roles          []string
	Login          string
	MFADevice      string
	Device         string
	ServerID       string
	WindowsDesktop string
	AccessRequests []string
	Session        string
}

// LockInForce reports whether a lock hits the subject at the given time: every
// field that its target sets must match. A target without fields hits nobody.
func LockInForce(l *types.Lock, s LockSubject, now time.Time) bool {
	t := &l.Spec.Target
	if *t == (types.LockTarget{}) || l.Spec.Expires != nil && !now.Before(*l.Spec.Expires) {
		return false
	}
	return (t.User == "" || t.User == s.User) &&
		(t.Role == "" || slices.Contains(s.Roles, t.Role)) &&
		(t.Login == "" || t.Login == s.Login) &&
		(t.MFADevice == "" || t.MFADevice == s.MFADevice) &&
		(t.Device == "" || t.Device == s.Device) &&
		(t.ServerID == "" || t.ServerID == s.ServerID) &&
		(t.WindowsDesktop == "" || t.WindowsDesktop == s.WindowsDesktop) &&
		(t.AccessRequest == "" || slices.Contains(s.AccessRequests, t.AccessRequest)) &&
		(t.Session == "" || t.Session == s.Session)
}

// LockText is the line that people see of a lock in force.
func LockText(l *types.Lock) string {
	var what []string
	t := &l.Spec.Target
	for _, p := range [][2]string{{"User", t.User}, {"Role", t.Role}, {"Login", t.Login}, {"MFADevice", t.MFADevice}, {"Device", t.Device},
		{"ServerID", t.ServerID}, {"WindowsDesktop", t.WindowsDesktop}, {"AccessRequest", t.AccessRequest}, {"Session", t.Session}} {
		if p[1] != "" {
			what = append(what, p[0]+`:"`+p[1]+`"`)
		}
	}
	text := "lock targeting " + strings.Join(what, " ") + " is in force"
	if l.Spec.Message != "" {
		text += ": " + l.Spec.Message
	}
	return text
}

func (d *decider) lockSubject(login string) LockSubject {
	id := d.r.Identity
	s := LockSubject{User: id.Name, Roles: id.Authority.Roles, Login: login, MFADevice: id.Proofs.MFADevice,
		Device: id.Proofs.DeviceID, ServerID: d.r.HostID, AccessRequests: id.Proofs.AccessRequests}
	if t, ok := d.r.Subject.(*types.SessionTracker); ok && d.r.Action == ActionJoin {
		s.Session, s.ServerID = t.Metadata.Name, t.Spec.HostID
	}
	if d.r.Resource != nil {
		h := d.r.Resource.Head()
		switch {
		case h.Kind == "windows_desktop":
			s.WindowsDesktop = h.Metadata.Name
		case h.Kind == types.KindNode && s.ServerID == "":
			s.ServerID = h.Metadata.Name
		}
	}
	return s
}

func (d *decider) checkLocks() *Reason {
	if len(d.r.Locks) > 0 {
		s := d.lockSubject(d.r.Login)
		for _, l := range d.r.Locks {
			if LockInForce(l, s, d.r.Now) {
				return reason(CodeLocked, "", "%s", LockText(l))
			}
		}
	}
	if d.r.LocksStale && strictLock(d.roles, d.r.Settings) {
		return reason(CodeLocksStale, "", "locks may be out of date, and strict locking is on; try again in a moment")
	}
	return nil
}

// lockedLogin reports whether a lock hits one login, where none is named yet.
func (d *decider) lockedLogin(login string) bool {
	if len(d.r.Locks) == 0 {
		return false
	}
	s := d.lockSubject(login)
	return slices.ContainsFunc(d.r.Locks, func(l *types.Lock) bool { return LockInForce(l, s, d.r.Now) })
}
