package access

import (
	"slices"
	"strconv"

	"teleport/types"
)

// decideRule decides a verb on a kind of document: any deny rule that matches
// refuses, then any allow rule allows. A certificate that is limited to one
// family or one resource has no say about documents.
func (d *decider) decideRule() Decision {
	a := &d.r.Identity.Authority
	if d.r.Action == ActionRule {
		if a.Route != nil || d.r.Identity.Kind == types.IdentityBridge {
			return d.refuse(reason(CodeRouteMismatch, "", "a certificate for one resource cannot be used for this"))
		}
		if len(a.Usage) > 0 {
			return d.refuse(reason(CodeUsageMismatch, "", "the certificate is only for %v", a.Usage))
		}
	}
	if d.r.Kind == "" || d.r.Verb == "" || d.r.Verb == types.Wildcard {
		return d.refuse(reason(CodeUnknownAction, "", "no kind or verb is named"))
	}
	if why := d.ruleDenies(); why != nil {
		return d.refuse(why)
	}
	if role, rule := d.ruleAllows(); role != nil {
		return d.allow(role, rule)
	}
	return d.refuse(reason(CodeNoRule, "", "no role allows to %s %s", d.r.Verb, d.r.Kind))
}

func (d *decider) ruleDenies() *Reason {
	for _, role := range d.roles {
		for i := range role.Spec.Deny.Rules {
			rule := &role.Spec.Deny.Rules[i]
			if coversKind(rule.Resources, d.r.Kind) && deniesVerb(rule.Verbs, d.r.Verb) && d.where(rule.Where, true) {
				return reason(CodeRuleDenied, role.Metadata.Name, "the role %s denies to %s %s", role.Metadata.Name, d.r.Verb, d.r.Kind)
			}
		}
	}
	return nil
}

func (d *decider) ruleAllows() (*types.Role, string) {
	for _, role := range d.roles {
		for i := range role.Spec.Allow.Rules {
			rule := &role.Spec.Allow.Rules[i]
			if coversKind(rule.Resources, d.r.Kind) && allowsVerb(rule.Verbs, d.r.Verb) && d.where(rule.Where, false) {
				return role, "rules[" + strconv.Itoa(i) + "]"
			}
		}
	}
	return nil, ""
}

// where evaluates a clause; onError is the answer when it cannot be evaluated.
func (d *decider) where(src string, onError bool) bool {
	if src == "" {
		return true
	}
	p, err := d.r.Cache.Where(src)
	if err != nil {
		return onError
	}
	ok, err := p.Eval(d.vars())
	if err != nil {
		return onError
	}
	return ok
}

func coversKind(resources []string, kind string) bool {
	for _, r := range resources {
		if r == kind || r == types.Wildcard {
			return true
		}
		if r == "auth_connector" && (kind == "oidc" || kind == "saml" || kind == "github") {
			return true
		}
	}
	return false
}

// allowsVerb: read includes the read without secrets.
func allowsVerb(verbs []string, verb string) bool {
	return slices.Contains(verbs, types.Wildcard) || slices.Contains(verbs, verb) ||
		verb == types.VerbReadNoSecrets && slices.Contains(verbs, types.VerbRead)
}

// deniesVerb: denying either form of read denies both, as one contains the other.
func deniesVerb(verbs []string, verb string) bool {
	if slices.Contains(verbs, types.Wildcard) || slices.Contains(verbs, verb) {
		return true
	}
	return (verb == types.VerbRead || verb == types.VerbReadNoSecrets) &&
		(slices.Contains(verbs, types.VerbRead) || slices.Contains(verbs, types.VerbReadNoSecrets))
}
