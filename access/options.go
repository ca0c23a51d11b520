package access

import (
	"slices"
	"time"

	"teleport/predicate"
	"teleport/types"
)

// Options are the options of all roles of a user merged: least permissive wins,
// but for the switches where one role that allows is enough. The issuer of
// certificates uses them as they are; Decide narrows them by the certificate.
type Options struct {
	MaxSessionTTL         time.Duration
	ForwardAgent          bool
	PortForwardLocal      bool
	PortForwardRemote     bool
	FileCopy              bool
	X11                   bool
	PTY                   bool
	MaxSessions           int
	MaxConnections        int
	ClientIdleTimeout     time.Duration
	DisconnectExpiredCert bool
	PinSourceIP           bool
	StrictLock            bool
	StrictRecording       bool   // of SSH sessions
	DBParameters          string // types.DBParametersNone and so on
	CertExtensions        []types.CertExtension
}

// MergeOptions merges the options of roles with the cluster's settings. With no
// roles everything that a role must grant is off.
func MergeOptions(roles []*types.Role, s Settings) Options {
	o := Options{
		MaxSessionTTL: types.DefaultMaxSessionTTL, FileCopy: len(roles) > 0, PTY: len(roles) > 0,
		ClientIdleTimeout: s.Networking.ClientIdleTimeout.Std(), DisconnectExpiredCert: s.Auth.DisconnectExpiredCert,
		StrictLock: strictLock(roles, s),
	}
	for i, role := range roles {
		r := &role.Spec.Options
		ttl := r.MaxSessionTTL.Std()
		if ttl == 0 {
			ttl = types.DefaultMaxSessionTTL
		}
		if i == 0 || ttl < o.MaxSessionTTL {
			o.MaxSessionTTL = ttl
		}
		o.ForwardAgent = o.ForwardAgent || on(r.ForwardAgent)
		o.X11 = o.X11 || on(r.PermitX11Forwarding)
		o.FileCopy = o.FileCopy && !off(r.SSHFileCopy)
		o.PTY = o.PTY && !off(r.PermitPTY)
		o.MaxSessions = lowest(o.MaxSessions, r.MaxSessions)
		o.MaxConnections = lowest(o.MaxConnections, r.MaxConnections)
		o.ClientIdleTimeout = lowest(o.ClientIdleTimeout, r.ClientIdleTimeout.Std())
		o.DisconnectExpiredCert = o.DisconnectExpiredCert || on(r.DisconnectExpiredCert)
		o.PinSourceIP = o.PinSourceIP || on(r.PinSourceIP)
		o.StrictRecording = o.StrictRecording || strictRecording(r.RecordSession)
		o.DBParameters = strictestParameters(o.DBParameters, r.RecordDBParameters)
		o.CertExtensions = append(o.CertExtensions, r.CertExtensions...)
	}
	o.PortForwardLocal, o.PortForwardRemote = portForwarding(roles)
	if o.DBParameters == "" {
		o.DBParameters = types.DBParametersNone
	}
	return o
}

// strictestParameters returns the level at which less is told, where "" is that of
// a role that says nothing about it. A level that is not known tells nothing.
func strictestParameters(a, b string) string {
	rank := map[string]int{types.DBParametersTypes: 1, types.DBParametersValues: 2}
	if a == "" || b != "" && rank[b] < rank[a] {
		return b
	}
	return a
}

// lowest returns the smaller limit, where 0 means none.
func lowest[T int | time.Duration](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func strictRecording(r *types.RecordSession) bool {
	if r == nil {
		return false
	}
	mode := r.SSH
	if mode == "" {
		mode = r.Default
	}
	return mode == "strict"
}

func strictLock(roles []*types.Role, s Settings) bool {
	return s.Auth.LockingMode == "strict" ||
		slices.ContainsFunc(roles, func(r *types.Role) bool { return r.Spec.Options.Lock == "strict" })
}

// portForwarding merges the two generations of the switch. The older one set to
// true in any role turns both directions on. Else an explicit off of a direction
// wins. Else the older one must not be off in every role.
func portForwarding(roles []*types.Role) (local, remote bool) {
	if len(roles) == 0 {
		return false, false
	}
	local, remote = true, true
	oldOff := true
	for _, role := range roles {
		o := &role.Spec.Options
		if on(o.PortForwarding) {
			return true, true
		}
		if f := o.SSHPortForwarding; f != nil {
			oldOff = false
			local = local && !(f.Local != nil && off(f.Local.Enabled))
			remote = remote && !(f.Remote != nil && off(f.Remote.Enabled))
		}
		if o.PortForwarding == nil {
			oldOff = false
		}
	}
	return local && !oldOff, remote && !oldOff
}

// limits narrows the merged options by what the certificate permits.
func (d *decider) limits() Limits {
	o, a := MergeOptions(d.roles, d.r.Settings), &d.r.Identity.Authority
	l := Limits{
		IdleTimeout: o.ClientIdleTimeout, MaxSessions: o.MaxSessions, MaxConnections: o.MaxConnections,
		StrictRecording: o.StrictRecording, StrictLock: o.StrictLock,
		DBParameters:     o.DBParameters,
		PortForwardLocal: o.PortForwardLocal && a.PermitPortForward, PortForwardRemote: o.PortForwardRemote && a.PermitPortForward,
		AgentForward: o.ForwardAgent && a.PermitAgent, X11: o.X11 && a.PermitX11, PTY: o.PTY && a.PermitPTY, FileCopy: o.FileCopy,
	}
	if o.DisconnectExpiredCert {
		l.Deadline = a.Ends()
	}
	return l
}

// RoleLogins returns the logins that roles give to a user with the given traits:
// the union of what they allow without what any of them denies, sorted. These
// are the principals of the user's certificate. Results that are no logins are
// dropped. Who has no login and may join sessions has types.JoinLogin.
func RoleLogins(roles []*types.Role, traits map[string][]string) []string {
	tr := predicate.Traits{Internal: traits, External: traits}
	var out, denied []string
	for _, r := range roles {
		out = append(out, predicate.ExpandAll(nil, r.Spec.Allow.Logins, tr)...)
		denied = append(denied, predicate.ExpandAll(nil, r.Spec.Deny.Logins, tr)...)
	}
	out = slices.DeleteFunc(out, func(l string) bool {
		return types.CheckLogin(l) != nil || slices.Contains(denied, l) || slices.Contains(denied, types.Wildcard)
	})
	if len(out) == 0 && slices.ContainsFunc(roles, func(r *types.Role) bool { return len(r.Spec.Allow.JoinSessions) > 0 }) {
		return []string{types.JoinLogin} // an SSH certificate has a principal
	}
	slices.Sort(out)
	return slices.Compact(out)
}
