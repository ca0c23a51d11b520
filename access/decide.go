package access

import (
	"slices"

	"teleport/predicate"
	"teleport/types"
)

// Decide answers a request. It is pure and safe for concurrent use. The order:
// the bearer (identity, life, locks, epoch, address), the certificate's own
// limits (usage, route, requested resources), deny of any role, allow by one
// single role, second factor and device, switches of the action. Nothing is
// allowed by default.
func Decide(r Request) Decision { return newDecider(&r).decide() }

func (d *decider) decide() Decision {
	if why := d.checkBearer(); why != nil {
		return d.refuse(why)
	}
	switch d.r.Action {
	case ActionRule:
		return d.decideRule()
	case ActionList:
		return d.decideList()
	case ActionJoin:
		return d.decideJoin()
	case ActionDial, ActionLogin, ActionForwardLocal, ActionForwardRemote, ActionForwardAgent, ActionFileCopy, ActionX11, ActionDatabase, ActionApp:
		return d.decideUse()
	}
	return d.refuse(reason(CodeUnknownAction, "", "the action %q is not known", d.r.Action))
}

// Logins returns the logins that the bearer may open on the resource, sorted.
// Action and Login of the request are ignored.
func Logins(r Request) []string {
	r.Action, r.Login = ActionDial, ""
	d := newDecider(&r)
	if d.checkBearer() != nil || d.checkTarget() != nil || d.anyDenies() != nil {
		return nil
	}
	d.matchRoles()
	if d.checkProofs() != nil {
		return nil
	}
	return d.possibleLogins()
}

// decider is the working state of one decision.
type decider struct {
	r       *Request
	roles   []*types.Role
	traits  predicate.Traits
	labels  map[string]string
	matched []*types.Role // roles whose allow labels match the resource
	env     predicate.Vars
	buf     []string // expansions of the role at hand
}

func newDecider(r *Request) *decider {
	d := &decider{r: r, roles: r.Roles, labels: r.Labels}
	if r.Identity == nil {
		return d
	}
	traits := r.Identity.Authority.Traits
	if r.Live && d.outdated() {
		traits = r.Epoch.Traits
		d.roles = slices.DeleteFunc(slices.Clone(r.Roles), func(role *types.Role) bool {
			return !slices.Contains(r.Epoch.Roles, role.Metadata.Name)
		})
	}
	d.traits = predicate.Traits{Internal: traits, External: traits}
	if d.labels == nil {
		d.labels = labelsOf(r.Resource)
	}
	return d
}

func labelsOf(res types.Resource) map[string]string {
	switch t := res.(type) {
	case nil:
		return nil
	case *types.Node:
		if len(t.Spec.CmdLabels) > 0 {
			return t.AllLabels()
		}
	case types.Fronted:
		return t.AllLabels()
	case types.FrontedServer:
		return t.Of().AllLabels()
	}
	return res.Head().Metadata.Labels
}

// outdated reports whether the certificate is older than the user's roles.
func (d *decider) outdated() bool {
	return d.r.Epoch != nil && d.r.Identity.IssuedAt.Before(d.r.Epoch.NotBefore)
}

func (d *decider) refuse(why *Reason, details ...Reason) Decision {
	return Decision{Reasons: append([]Reason{*why}, details...), Policy: d.r.Policy}
}

// checkBearer refuses bearers whom no role can help.
func (d *decider) checkBearer() *Reason {
	r, id := d.r, d.r.Identity
	switch {
	case id == nil:
		return reason(CodeNoIdentity, "", "nobody is identified")
	case id.Kind != types.IdentityUser && id.Kind != types.IdentityBridge || id.Name == "":
		return reason(CodeNotAUser, "", "%s is not a user", id)
	case r.Now.IsZero() || !r.Now.Before(id.Authority.Ends()) && !d.mayOutlive():
		return reason(CodeExpired, "", "the certificate expired at %s", id.Authority.Ends().UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if why := d.checkLocks(); why != nil {
		return why
	}
	if r.Epoch != nil && r.Epoch.Deleted {
		return reason(CodeUserDeleted, "", "the user %s was deleted", id.Name)
	}
	if !r.Live && d.outdated() {
		return reason(CodeReissueRequired, "", "the roles of %s changed after this certificate was issued; log in again (tsh login --force)", id.Name)
	}
	for _, name := range r.Unreadable {
		if slices.Contains(id.Authority.Roles, name) {
			return reason(CodeRoleUnreadable, name, "the role %s holds fields that this version does not know; upgrade it", name)
		}
	}
	return d.checkAddress()
}

// mayOutlive tells what an ended certificate is still good for: a session that
// goes on. Where it must not, Limits.Deadline ends it (disconnect_expired_cert).
func (d *decider) mayOutlive() bool {
	return d.r.Live && (d.r.Action == ActionLogin || d.r.Action == ActionDial || d.r.Action == ActionJoin)
}

func (d *decider) checkAddress() *Reason {
	pinned := d.r.Identity.Authority.PinnedIP
	if !pinned.IsValid() {
		for _, role := range d.roles {
			if on(role.Spec.Options.PinSourceIP) {
				return reason(CodeIPNotPinned, role.Metadata.Name, "the role %s wants certificates pinned to an address; log in again", role.Metadata.Name)
			}
		}
		return nil
	}
	if got := d.r.ClientAddr.Unmap().WithZone(""); got != pinned.Unmap().WithZone("") {
		return reason(CodeIPMismatch, "", "the certificate is pinned to another address than %s", got)
	}
	return nil
}

// checkTarget holds the resource against the certificate's own limits.
func (d *decider) checkTarget() *Reason {
	if d.r.Resource == nil {
		return reason(CodeKindNotSupported, "", "no resource is named")
	}
	h, a := d.r.Resource.Head(), &d.r.Identity.Authority
	if s, ok := d.r.Resource.(types.FrontedServer); ok {
		h = s.Of().Head() // what certificates and requests name
	}
	f := familyOf(h.Kind)
	if f.usage == "" {
		return reason(CodeKindNotSupported, "", "%s is not a kind of protected resource", h.Kind)
	}
	if len(a.Usage) > 0 && !slices.Contains(a.Usage, f.usage) {
		return reason(CodeUsageMismatch, "", "the certificate is only for %v", a.Usage)
	}
	if rt := a.Route; rt != nil && (rt.Kind != h.Kind || rt.Name != h.Metadata.Name || rt.Cluster != "" && rt.Cluster != d.r.Identity.Cluster) {
		return reason(CodeRouteMismatch, "", "the certificate is only for %s %s", rt.Kind, rt.Name)
	}
	if len(a.ResourceIDs) > 0 && !slices.ContainsFunc(a.ResourceIDs, func(id types.ResourceID) bool {
		return id.Kind == h.Kind && id.Name == h.Metadata.Name && (id.Cluster == "" || id.Cluster == d.r.Identity.Cluster)
	}) {
		return reason(CodeNotRequested, "", "%s %s is not among the requested resources", h.Kind, h.Metadata.Name)
	}
	return nil
}

// decideList says whether a resource shows in listings: permitted by labels, or
// by a rule with the verb list.
func (d *decider) decideList() Decision {
	if d.r.Resource == nil {
		return d.refuse(reason(CodeKindNotSupported, "", "no resource is named"))
	}
	kind := d.r.Resource.Head().Kind
	d.r.Kind, d.r.Verb, d.r.Subject = kind, types.VerbList, d.r.Resource
	if familyOf(kind).usage == "" {
		return d.decideRule()
	}
	if why := d.checkTarget(); why != nil {
		return d.refuse(why)
	}
	d.r.Login = ""
	if why := d.anyDenies(); why != nil {
		return d.refuse(why)
	}
	if why := d.ruleDenies(); why != nil {
		return d.refuse(why)
	}
	if d.matchRoles(); len(d.matched) > 0 {
		return d.allow(d.matched[0], "labels")
	}
	if role, rule := d.ruleAllows(); role != nil {
		return d.allow(role, rule)
	}
	return d.refuse(d.noRole())
}

func (d *decider) decideUse() Decision {
	if why := d.checkTarget(); why != nil {
		return d.refuse(why)
	}
	switch kind := d.r.Resource.Head().Kind; {
	case databaseOf(d.r.Resource) != nil:
		return d.decideDatabase()
	case appOf(d.r.Resource) != nil:
		return d.decideApp()
	case kind != types.KindNode || d.r.Action == ActionDatabase || d.r.Action == ActionApp:
		return d.refuse(reason(CodeKindNotSupported, "", "%s cannot be used in this way", kind))
	}
	if d.r.Action != ActionDial && d.r.Login == "" {
		return d.refuse(reason(CodeLoginUnknown, "", "no login is named"))
	}
	if why := d.anyDenies(); why != nil {
		return d.refuse(why)
	}
	d.matchRoles()
	if len(d.matched) == 0 {
		return d.refuse(d.noRole(), d.explainLabels()...)
	}
	if why := d.checkProofs(); why != nil {
		return d.refuse(why)
	}
	role, why, details := d.grant()
	if why != nil {
		return d.refuse(why, details...)
	}
	dec := d.allow(role, "labels")
	if why := d.checkSwitch(&dec.Limits); why != nil {
		return d.refuse(why)
	}
	return dec
}

// grant finds the one role that both matches the labels and grants the login.
func (d *decider) grant() (*types.Role, *Reason, []Reason) {
	login, host := d.r.Login, displayName(d.r.Resource)
	if login == "" {
		logins := d.possibleLogins()
		if len(logins) == 0 {
			return nil, reason(CodeLoginNotAllowed, "", "no login of this certificate is allowed on %s", host), d.explainLabels()
		}
		login = logins[0]
	}
	if !slices.Contains(d.r.Identity.Authority.Logins, login) {
		return nil, reason(CodeLoginNotInCert, "", "the login %s is not in the certificate", login), nil
	}
	for _, role := range d.matched {
		if d.grantsLogin(role, login) {
			return role, nil, nil
		}
	}
	var details []Reason
	for _, role := range d.matched {
		details = append(details, *reason(CodeRoleLogin, role.Metadata.Name, "the role %s matches but does not grant the login %s", role.Metadata.Name, login))
	}
	return nil, reason(CodeLoginNotAllowed, "", "the login %s is not allowed on %s", login, host), append(details, d.explainLabels()...)
}

// possibleLogins returns the certificate's logins that some matching role grants
// and that neither a deny nor a lock forbids.
func (d *decider) possibleLogins() []string {
	var out []string
	for _, login := range d.r.Identity.Authority.Logins {
		if slices.Contains(out, login) || d.deniesLogin(login) != nil || d.lockedLogin(login) {
			continue
		}
		if slices.ContainsFunc(d.matched, func(r *types.Role) bool { return d.grantsLogin(r, login) }) {
			out = append(out, login)
		}
	}
	slices.Sort(out)
	return out
}

// grantsLogin reports whether a role grants a login after expansion. Results
// that are no logins are dropped.
func (d *decider) grantsLogin(role *types.Role, login string) bool {
	for _, l := range role.Spec.Allow.Logins {
		if l == login {
			return types.CheckLogin(login) == nil
		}
		if predicate.IsTemplate(l) {
			d.buf = predicate.AppendExpanded(d.buf[:0], d.r.Cache, l, d.traits)
			if slices.Contains(d.buf, login) {
				return types.CheckLogin(login) == nil
			}
		}
	}
	return false
}

// anyDenies looks for a deny in any role: labels first, then the login.
func (d *decider) anyDenies() *Reason {
	for _, role := range d.roles {
		if d.deniesLabels(role) {
			return reason(CodeDeniedByRole, role.Metadata.Name, "the role %s denies access to %s", role.Metadata.Name, displayName(d.r.Resource))
		}
	}
	if d.r.Login != "" {
		return d.deniesLogin(d.r.Login)
	}
	return nil
}

func (d *decider) deniesLogin(login string) *Reason {
	for _, role := range d.roles {
		for _, l := range role.Spec.Deny.Logins {
			hit := l == login || l == types.Wildcard
			if !hit && predicate.IsTemplate(l) {
				d.buf = predicate.AppendExpanded(d.buf[:0], d.r.Cache, l, d.traits)
				hit = slices.Contains(d.buf, login)
			}
			if hit {
				return reason(CodeLoginDenied, role.Metadata.Name, "the role %s denies the login %s", role.Metadata.Name, login)
			}
		}
	}
	return nil
}

// checkProofs asks for the second factor and the device that the cluster or a
// matching role demands.
func (d *decider) checkProofs() *Reason {
	proofs, s := &d.r.Identity.Proofs, &d.r.Settings.Auth
	mfa, mfaRole := s.RequireSessionMFA, ""
	device, deviceRole := s.DeviceTrust != nil && s.DeviceTrust.Mode == "required", ""
	for _, role := range d.matched {
		o := &role.Spec.Options
		if o.RequireSessionMFA > mfa {
			mfa, mfaRole = o.RequireSessionMFA, role.Metadata.Name
		}
		if o.DeviceTrustMode == "required" || o.DeviceTrustMode == "required-for-humans" {
			device, deviceRole = true, role.Metadata.Name
		}
	}
	switch {
	case mfa >= types.MFAHardwareKey:
		return reason(CodeHardwareKeyRequired, mfaRole, "a hardware key is required (%s)", mfa)
	case mfa == types.MFASession && proofs.MFADevice == "":
		return reason(CodeMFARequired, mfaRole, "a second factor is required for each session")
	case device && proofs.DeviceID == "":
		return reason(CodeDeviceRequired, deviceRole, "a trusted device is required")
	}
	return nil
}

// checkSwitch holds the action against the switches that were merged.
func (d *decider) checkSwitch(l *Limits) *Reason {
	switch {
	case d.r.Action == ActionForwardLocal && !l.PortForwardLocal, d.r.Action == ActionForwardRemote && !l.PortForwardRemote:
		return reason(CodePortForwardingOff, "", "port forwarding is not allowed")
	case d.r.Action == ActionForwardAgent && !l.AgentForward:
		return reason(CodeAgentForwardingOff, "", "agent forwarding is not allowed")
	case d.r.Action == ActionFileCopy && !l.FileCopy:
		return reason(CodeFileCopyOff, "", "copying files is not allowed")
	case d.r.Action == ActionX11 && !l.X11:
		return reason(CodeX11Off, "", "X11 forwarding is not allowed")
	}
	return nil
}

func (d *decider) allow(role *types.Role, rule string) Decision {
	return Decision{
		Allow: true, Role: role.Metadata.Name, Rule: rule, Policy: d.r.Policy,
		Reasons: []Reason{{Code: CodeAllowed, Role: role.Metadata.Name, Text: "allowed by the role " + role.Metadata.Name}},
		Limits:  d.limits(),
	}
}

func (d *decider) noRole() *Reason {
	return reason(CodeNoRoleMatches, "", "no role allows access to %s", displayName(d.r.Resource))
}

func (d *decider) explainLabels() []Reason {
	var out []Reason
	for _, role := range d.roles {
		if !slices.Contains(d.matched, role) {
			out = append(out, *reason(CodeRoleLabels, role.Metadata.Name, "the labels of the role %s do not match", role.Metadata.Name))
		}
	}
	return out
}

// displayName is how people know a resource.
func displayName(res types.Resource) string {
	switch t := res.(type) {
	case *types.Node:
		if t.Spec.Hostname != "" {
			return t.Spec.Hostname
		}
	case types.FrontedServer:
		return t.Of().Head().Metadata.Name
	}
	return res.Head().Metadata.Name
}

// on reads a switch whose default is off.
func on(b types.Bool) bool { return b != nil && *b }

// off reads whether a switch is explicitly off.
func off(b types.Bool) bool { return b != nil && !*b }
