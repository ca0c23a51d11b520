package access

import (
	"slices"
	"strings"

	"teleport/predicate"
	"teleport/types"
)

// Codes of reasons about apps.
const (
	CodeAppPrincipalDenied     = "app_principal_denied"
	CodeAppPrincipalNotAllowed = "app_principal_not_allowed"
	CodeAppPrincipalUnknown    = "app_principal_unknown"
	CodeAppPortUnknown         = "app_port_unknown"
	CodeRoleAppField           = "role_lacks_app_field" // detail: labels match, and the cloud's field lacks the value
)

// labelAccountID is the label of an app whose roles are of one account of AWS.
const labelAccountID = "aws_account_id"

// cloudPrincipal is what roles list of a cloud.
type cloudPrincipal struct {
	cloud string
	field string // of roles
	what  string
	of    func(*types.AppRoute) string
	list  func(*types.RoleConditions) []string
	fold  bool // letter case says nothing
}

var cloudPrincipals = []cloudPrincipal{
	{types.CloudAWS, "aws_role_arns", "AWS role", func(a *types.AppRoute) string { return a.AWSRoleARN },
		func(c *types.RoleConditions) []string { return c.AWSRoleARNs }, false},
	{types.CloudAzure, "azure_identities", "Azure identity", func(a *types.AppRoute) string { return a.AzureIdentity },
		func(c *types.RoleConditions) []string { return c.AzureIdentities }, true},
	{types.CloudGCP, "gcp_service_accounts", "GCP service account", func(a *types.AppRoute) string { return a.GCPServiceAccount },
		func(c *types.RoleConditions) []string { return c.GCPServiceAccounts }, false},
}

// names reports whether a list of a role names a principal, as lists does.
func (d *decider) names(p *cloudPrincipal, list []string, value string, deny bool) bool {
	if !p.fold {
		return d.lists(list, value, deny)
	}
	return slices.ContainsFunc(list, func(l string) bool {
		if !predicate.IsTemplate(l) {
			return l == types.Wildcard || strings.EqualFold(l, value)
		}
		return slices.ContainsFunc(predicate.AppendExpanded(nil, d.r.Cache, l, d.traits), func(x string) bool {
			return strings.EqualFold(x, value) && (deny || value != types.Wildcard) || deny && x == types.Wildcard
		})
	})
}

func appOf(res types.Resource) *types.App {
	switch t := res.(type) {
	case *types.App:
		return t
	case *types.AppServer:
		return &t.Spec.App
	}
	return nil
}

// decideApp decides the use of an app: by the labels, and for the API of a cloud as
// which role or identity there. Labels and that must come from one role.
func (d *decider) decideApp() Decision {
	app := appOf(d.r.Resource)
	if d.r.Action != ActionDial && d.r.Action != ActionApp {
		return d.refuse(reason(CodeKindNotSupported, "", "%s cannot be used in this way", d.r.Resource.Head().Kind))
	}
	if why := d.deniesApp(); why != nil {
		return d.refuse(why)
	}
	d.matchRoles()
	if len(d.matched) == 0 {
		return d.refuse(d.noRole(), d.explainLabels()...)
	}
	if why := d.checkProofs(); why != nil {
		return d.refuse(why)
	}
	if d.r.Action == ActionDial {
		return d.allow(d.matched[0], "labels")
	}
	role, why, details := d.grantApp(app)
	if why != nil {
		return d.refuse(why, details...)
	}
	dec := d.allow(role, "labels")
	// What is open in an app's session, an event stream too, ends with the certificate:
	// the app was told until when the user is known.
	if end := d.r.Identity.Authority.Ends(); dec.Limits.Deadline.IsZero() || end.Before(dec.Limits.Deadline) {
		dec.Limits.Deadline = end
	}
	return dec
}

// grantApp finds the role that both matches and lists what is asked for.
func (d *decider) grantApp(app *types.App) (*types.Role, *Reason, []Reason) {
	if why := d.fitsApp(app); why != nil {
		return nil, why, nil
	}
	p := principalOf(app)
	if p == nil {
		return d.matched[0], nil, nil
	}
	value := p.of(&d.r.App)
	var details []Reason
	for _, role := range d.matched {
		if d.listsPrincipal(p, role, value) {
			return role, nil, nil
		}
		details = append(details, *reason(CodeRoleAppField, role.Metadata.Name, "the role %s matches, and its %s does not list %s", role.Metadata.Name, p.field, value))
	}
	return nil, reason(CodeAppPrincipalNotAllowed, "", "the %s %s is not allowed on %s: no role that matches it has %s in %s",
		p.what, value, displayName(d.r.Resource), value, p.field), details
}

// principalOf is what is asked for of an app's cloud; nil for apps of no cloud.
func principalOf(app *types.App) *cloudPrincipal {
	for i := range cloudPrincipals {
		if cloudPrincipals[i].cloud == app.Spec.Cloud {
			return &cloudPrincipals[i]
		}
	}
	return nil
}

// fitsApp holds what is asked for against what the app is.
func (d *decider) fitsApp(app *types.App) *Reason {
	shown := displayName(d.r.Resource)
	for _, p := range cloudPrincipals {
		value := p.of(&d.r.App)
		switch {
		case p.cloud == app.Spec.Cloud && value == "":
			return reason(CodeAppPrincipalUnknown, "", "no %s is named, and %s is used as one", p.what, shown)
		case p.cloud != app.Spec.Cloud && value != "":
			return reason(CodeAppPrincipalNotAllowed, "", "%s is not used as the %s %s", shown, p.what, value)
		}
	}
	if account := d.labels[labelAccountID]; app.Spec.Cloud == types.CloudAWS && account != "" && accountOf(d.r.App.AWSRoleARN) != account {
		return reason(CodeAppPrincipalNotAllowed, "", "the AWS role %s is not of the account %s, as the label %s of %s demands",
			d.r.App.AWSRoleARN, account, labelAccountID, shown)
	}
	if port := d.r.App.TargetPort; port != 0 && (!app.Spec.TCP() || !app.Spec.HasPort(port)) {
		return reason(CodeAppPortUnknown, "", "%s has no port %d", shown, port)
	}
	return nil
}

// accountOf is the account in the name of a role: arn:PARTITION:iam::ACCOUNT:role/NAME.
func accountOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return ""
	}
	return parts[4]
}

// listsPrincipal reports whether a role lists the principal. Of accounts of GCP no
// role lists all: it would have to know all that there will be.
func (d *decider) listsPrincipal(p *cloudPrincipal, role *types.Role, value string) bool {
	list := p.list(&role.Spec.Allow)
	if p.cloud == types.CloudGCP {
		list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == types.Wildcard })
	}
	return d.names(p, list, value, false)
}

// deniesApp looks for a deny in any role: labels first, then the cloud's principals.
func (d *decider) deniesApp() *Reason {
	for _, role := range d.roles {
		name := role.Metadata.Name
		if d.deniesLabels(role) {
			return reason(CodeDeniedByRole, name, "the role %s denies access to %s", name, displayName(d.r.Resource))
		}
		for i := range cloudPrincipals {
			p := &cloudPrincipals[i]
			if value := p.of(&d.r.App); value != "" && d.names(p, p.list(&role.Spec.Deny), value, true) {
				return reason(CodeAppPrincipalDenied, name, "the role %s denies the %s %s", name, p.what, value)
			}
		}
	}
	return nil
}

// saysApp lists what a role whose labels match lacks of what is asked for.
func (d *decider) saysApp(app *types.App, role *types.Role) []Reason {
	p := principalOf(app)
	if d.r.Action == ActionDial || p == nil || p.of(&d.r.App) == "" || d.listsPrincipal(p, role, p.of(&d.r.App)) {
		return nil
	}
	return []Reason{*reason(CodeRoleAppField, role.Metadata.Name, "its labels match, and its %s does not list %s", p.field, p.of(&d.r.App))}
}

// AppPrincipals returns the roles or identities that the bearer may use in the cloud
// of an app, sorted; none for an app of no cloud. A "*" of a role is left out, as
// it names none. Action and App of the request are ignored.
func AppPrincipals(r Request) []string {
	app := appOf(r.Resource)
	if app == nil {
		return nil
	}
	p := principalOf(app)
	if p == nil {
		return nil
	}
	var named []string
	traits := newDecider(&r).traits
	for _, role := range r.Roles {
		for _, l := range p.list(&role.Spec.Allow) {
			named = predicate.AppendExpanded(named, r.Cache, l, traits)
		}
	}
	slices.Sort(named)
	return slices.DeleteFunc(slices.Compact(named), func(value string) bool {
		r.Action, r.App = ActionApp, app.Spec.RouteAs(value)
		return value == types.Wildcard || !Decide(r).Allow
	})
}
