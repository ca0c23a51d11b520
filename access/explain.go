package access

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"teleport/types"
)

// Explanation is a decision with everything that led to it, for people who ask
// why.
type Explanation struct {
	User     string `json:"user"`
	Kind     string `json:"kind"`
	Name     string `json:"name,omitempty"`
	Shown    string `json:"shown,omitempty"` // how people know it: a node's host name
	Action   string `json:"action"`
	Login    string `json:"login,omitempty"`
	DBName   string `json:"db_name,omitempty"` // the database within the server
	ClientIP string `json:"client_ip,omitempty"`
	// At is the moment that was decided for.
	At       time.Time `json:"at"`
	Decision Decision  `json:"decision"`
	// Logins are those that the user may open on the resource.
	Logins []string  `json:"logins,omitempty"`
	Roles  []RoleSay `json:"roles"`
	// Limits hold wherever a role of the user allows something; they are merged
	// over all roles, so the one that set a limit need not be the one that allows.
	Limits []LimitOrigin `json:"limits"`
}

// RoleSay is what one role of the user says about the request.
type RoleSay struct {
	Role    string   `json:"role"`
	Allows  bool     `json:"allows"` // this role alone would
	Denies  bool     `json:"denies"`
	Reasons []Reason `json:"reasons"`
}

// LimitOrigin is one limit in force and who set it: roles, the cluster's
// settings, or nobody.
type LimitOrigin struct {
	Name  string   `json:"name"`
	Value string   `json:"value"`
	Roles []string `json:"roles,omitempty"`
	From  string   `json:"from"` // "role", the kind of a settings document, or "default"
}

// FromDefault is the From of a limit that nobody set.
const FromDefault = "default"

// Explain decides a request as Decide does, and tells what each role says. A role
// that the identity names and that Roles lacks is told to be missing.
func Explain(r Request) Explanation {
	e := Explanation{Action: string(r.Action), Login: r.Login, DBName: r.DBName, At: r.Now, Kind: r.Kind, Decision: Decide(r), Roles: []RoleSay{}}
	if r.ClientAddr.IsValid() {
		e.ClientIP = r.ClientAddr.String()
	}
	if r.Resource != nil {
		e.Kind, e.Name, e.Shown = r.Resource.Head().Kind, r.Resource.Head().Metadata.Name, displayName(r.Resource)
	} else if r.Subject != nil {
		e.Name = r.Subject.Head().Metadata.Name
	}
	if r.Identity == nil {
		return e
	}
	e.User = r.Identity.Name
	if r.Resource != nil && familyOf(e.Kind).usage == "ssh" {
		e.Logins = Logins(r)
	}
	e.Logins = append(e.Logins, AppPrincipals(r)...)
	for _, name := range r.Identity.Authority.Roles {
		e.Roles = append(e.Roles, sayOf(r, name))
	}
	e.Limits = Origins(r.Roles, r.Settings)
	return e
}

// sayOf asks one role alone.
func sayOf(r Request, name string) RoleSay {
	out := RoleSay{Role: name}
	i := slices.IndexFunc(r.Roles, func(role *types.Role) bool { return role.Metadata.Name == name })
	if i < 0 {
		out.Reasons = []Reason{*reason(CodeRoleMissing, name, "there is no role %s; it gives nothing", name)}
		return out
	}
	if r.Action == ActionList {
		r.Subject = r.Resource
	}
	env := newDecider(&r).vars() // expressions see all roles of the user
	r.Roles = r.Roles[i : i+1]
	d, alone := newDecider(&r), newDecider(&r)
	d.env, alone.env = env, env
	if r.Action == ActionRule || r.Action == ActionList {
		out.Reasons, out.Denies = d.saysRule(name)
	} else {
		out.Reasons, out.Denies = d.saysUse(name)
	}
	dec := alone.decide()
	if out.Allows = dec.Allow; !dec.Allow && len(out.Reasons) == 0 {
		out.Reasons = dec.Reasons
	}
	if dec.Allow {
		out.Reasons = append(out.Reasons, *reason(CodeAllowed, name, "allows it (%s)", dec.Rule))
	}
	return out
}

// saysUse lists each thing that a role has against a use of a resource, and not
// only the first.
func (d *decider) saysUse(name string) (out []Reason, denies bool) {
	role := d.roles[0]
	if familyOf(d.r.Resource.Head().Kind).labels == nil {
		return nil, false
	}
	if d.deniesLabels(role) {
		out, denies = append(out, *reason(CodeDeniedByRole, name, "its deny labels match, or cannot be evaluated")), true
	}
	db, app := databaseOf(d.r.Resource), appOf(d.r.Resource)
	if app != nil {
		if why := d.deniesApp(); why != nil && !denies {
			out, denies = append(out, *why), true
		}
	} else if db != nil {
		if why := d.deniesDatabase(db); why != nil && !denies {
			out, denies = append(out, *why), true
		}
	} else if d.r.Login != "" {
		if why := d.deniesLogin(d.r.Login); why != nil {
			out, denies = append(out, *reason(CodeLoginDenied, name, "it denies the login %s", d.r.Login)), true
		}
	}
	d.matchRoles()
	switch {
	case len(d.matched) == 0:
		out = append(out, *d.labelsSay(role))
	case db != nil:
		out = append(out, d.saysDatabase(db, role)...)
	case app != nil:
		out = append(out, d.saysApp(app, role)...)
	case d.r.Login != "" && !d.grantsLogin(role, d.r.Login):
		out = append(out, *reason(CodeRoleLogin, name, "its labels match, and it does not grant the login %s", d.r.Login))
	case d.r.Login == "" && len(d.possibleLogins()) == 0:
		out = append(out, *reason(CodeRoleLogin, name, "its labels match, and it grants no login"))
	}
	return out, denies
}

// labelsSay tells what an allow selector lacks.
func (d *decider) labelsSay(role *types.Role) *Reason {
	name := role.Metadata.Name
	sel, expr := familyOf(d.r.Resource.Head().Kind).labels(&role.Spec.Allow)
	switch {
	case len(sel) == 0 && expr == "":
		return reason(CodeRoleLabels, name, "it allows no %s at all", d.r.Resource.Head().Kind)
	case len(sel) == 0 || d.allowSelects(sel):
		if _, err := d.evalLabels(expr); err != nil {
			return reason(CodeRoleLabels, name, "its label expression cannot be evaluated, so it allows nothing")
		}
		return reason(CodeRoleLabels, name, "its label expression is false")
	}
	for _, key := range slices.Sorted(maps.Keys(sel)) {
		if key != types.Wildcard && !d.allowSelects(types.Labels{key: sel[key]}) {
			return reason(CodeRoleLabels, name, "its labels do not match: it wants %s in %v", key, []string(sel[key]))
		}
	}
	return reason(CodeRoleLabels, name, "its labels do not match")
}

// saysRule lists what a role has against a verb on a kind.
func (d *decider) saysRule(name string) (out []Reason, denies bool) {
	r := d.r
	if r.Action == ActionList {
		r.Kind, r.Verb, r.Subject = r.Resource.Head().Kind, types.VerbList, r.Resource
	}
	if why := d.ruleDenies(); why != nil {
		out, denies = append(out, *reason(CodeRuleDenied, name, "a deny rule covers it")), true
	}
	if role, _ := d.ruleAllows(); role == nil && r.Action == ActionRule {
		text := "no rule of it covers %s of %s"
		if slices.ContainsFunc(d.roles[0].Spec.Allow.Rules, func(rule types.Rule) bool {
			return coversKind(rule.Resources, r.Kind) && allowsVerb(rule.Verbs, r.Verb)
		}) {
			text = "a rule of it covers %s of %s, but its where clause does not hold"
		}
		out = append(out, *reason(CodeNoRule, name, text, r.Verb, r.Kind))
	}
	return out, denies
}

// origin is how one limit is read of merged options, and who may set it.
type origin struct {
	name    string
	value   func(*Options) string
	set     func(*types.RoleOptions) bool
	cluster string // kind of the settings document that may set it too
	isSet   func(*Settings) bool
}

func life(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.String()
}

func count(n int) string {
	if n == 0 {
		return "unlimited"
	}
	return strconv.Itoa(n)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func origins() []origin {
	return []origin{
		{"max_session_ttl", func(o *Options) string { return life(o.MaxSessionTTL) }, func(r *types.RoleOptions) bool { return r.MaxSessionTTL != 0 }, "", nil},
		{"client_idle_timeout", func(o *Options) string { return life(o.ClientIdleTimeout) }, func(r *types.RoleOptions) bool { return r.ClientIdleTimeout != 0 },
			types.KindNetworkingConfig, func(s *Settings) bool { return s.Networking.ClientIdleTimeout != 0 }},
		{"disconnect_expired_cert", func(o *Options) string { return onOff(o.DisconnectExpiredCert) }, func(r *types.RoleOptions) bool { return r.DisconnectExpiredCert != nil },
			types.KindAuthPreference, func(s *Settings) bool { return s.Auth.DisconnectExpiredCert }},
		{"max_sessions", func(o *Options) string { return count(o.MaxSessions) }, func(r *types.RoleOptions) bool { return r.MaxSessions != 0 }, "", nil},
		{"max_connections", func(o *Options) string { return count(o.MaxConnections) }, func(r *types.RoleOptions) bool { return r.MaxConnections != 0 }, "", nil},
		{"pin_source_ip", func(o *Options) string { return onOff(o.PinSourceIP) }, func(r *types.RoleOptions) bool { return r.PinSourceIP != nil }, "", nil},
		{"lock", func(o *Options) string { return map[bool]string{true: "strict", false: "best_effort"}[o.StrictLock] }, func(r *types.RoleOptions) bool { return r.Lock != "" },
			types.KindAuthPreference, func(s *Settings) bool { return s.Auth.LockingMode == "strict" }},
		{"record_session", func(o *Options) string {
			return map[bool]string{true: "strict", false: "best_effort"}[o.StrictRecording]
		}, func(r *types.RoleOptions) bool { return r.RecordSession != nil }, "", nil},
		{"record_db_parameters", func(o *Options) string { return o.DBParameters }, func(r *types.RoleOptions) bool { return r.RecordDBParameters != "" }, "", nil},
		{"forward_agent", func(o *Options) string { return onOff(o.ForwardAgent) }, func(r *types.RoleOptions) bool { return r.ForwardAgent != nil }, "", nil},
		{"port_forwarding_local", func(o *Options) string { return onOff(o.PortForwardLocal) }, setsForwarding, "", nil},
		{"port_forwarding_remote", func(o *Options) string { return onOff(o.PortForwardRemote) }, setsForwarding, "", nil},
		{"ssh_file_copy", func(o *Options) string { return onOff(o.FileCopy) }, func(r *types.RoleOptions) bool { return r.SSHFileCopy != nil }, "", nil},
		{"permit_x11_forwarding", func(o *Options) string { return onOff(o.X11) }, func(r *types.RoleOptions) bool { return r.PermitX11Forwarding != nil }, "", nil},
		{"permit_pty", func(o *Options) string { return onOff(o.PTY) }, func(r *types.RoleOptions) bool { return r.PermitPTY != nil }, "", nil},
	}
}

func setsForwarding(r *types.RoleOptions) bool {
	return r.PortForwarding != nil || r.SSHPortForwarding != nil
}

// Origins lists the merged limits of roles, each with whoever set it.
func Origins(roles []*types.Role, s Settings) []LimitOrigin {
	merged := MergeOptions(roles, s)
	var out []LimitOrigin
	for _, o := range origins() {
		l := LimitOrigin{Name: o.name, Value: o.value(&merged), From: FromDefault}
		for _, role := range roles {
			alone := MergeOptions([]*types.Role{role}, Settings{})
			if o.set(&role.Spec.Options) && o.value(&alone) == l.Value {
				l.Roles, l.From = append(l.Roles, role.Metadata.Name), "role"
			}
		}
		if l.From == FromDefault && o.isSet != nil && o.isSet(&s) {
			l.From = o.cluster
		}
		out = append(out, l)
	}
	return out
}
