package access

import "fmt"

// Codes of reasons. They are stable: scripts, tests and audit events hold them.
const (
	CodeAllowed             = "allowed"
	CodeNoIdentity          = "no_identity"
	CodeNotAUser            = "not_a_user"
	CodeExpired             = "expired"
	CodeLocked              = "locked"
	CodeLocksStale          = "locks_stale"
	CodeUserDeleted         = "user_deleted"
	CodeReissueRequired     = "reissue_required"
	CodeRoleUnreadable      = "role_unreadable"
	CodeIPNotPinned         = "ip_not_pinned"
	CodeIPMismatch          = "ip_mismatch"
	CodeUsageMismatch       = "usage_mismatch"
	CodeRouteMismatch       = "route_mismatch"
	CodeNotRequested        = "not_in_requested_resources"
	CodeKindNotSupported    = "kind_not_supported"
	CodeUnknownAction       = "unknown_action"
	CodeDeniedByRole        = "denied_by_role"
	CodeLoginDenied         = "login_denied"
	CodeLoginUnknown        = "login_unknown"
	CodeLoginNotInCert      = "login_not_in_certificate"
	CodeLoginNotAllowed     = "login_not_allowed"
	CodeNoRoleMatches       = "no_role_matches"
	CodeRoleLabels          = "role_labels_do_not_match" // detail: one role's labels
	CodeRoleLogin           = "role_lacks_login"         // detail: labels match, login missing
	CodeRoleMissing         = "role_missing"             // detail: the user has it, the cluster does not
	CodeNoCertificate       = "no_certificate"           // a login of now would get none
	CodeMFARequired         = "mfa_required"
	CodeHardwareKeyRequired = "hardware_key_required"
	CodeDeviceRequired      = "device_required"
	CodePortForwardingOff   = "port_forwarding_off"
	CodeAgentForwardingOff  = "agent_forwarding_off"
	CodeFileCopyOff         = "file_copy_off"
	CodeX11Off              = "x11_off"
	CodeJoinDenied          = "join_denied"
	CodeNoJoin              = "no_role_allows_joining"
	CodeRuleDenied          = "rule_denied"
	CodeNoRule              = "no_rule_allows"
)

// reason makes a Reason with a formatted line.
func reason(code, role, format string, args ...any) *Reason {
	return &Reason{Code: code, Role: role, Text: fmt.Sprintf(format, args...)}
}

// Code returns the code of the first reason: what the decision rests on.
func (d Decision) Code() string {
	if len(d.Reasons) == 0 {
		return ""
	}
	return d.Reasons[0].Code
}

// Text returns the line of the first reason.
func (d Decision) Text() string {
	if len(d.Reasons) == 0 {
		return ""
	}
	return d.Reasons[0].Text
}
