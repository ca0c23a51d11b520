package event

import "time"

// Types and codes about people and how they prove who they are.
const (
	TypeUserLogin      = "user.login"
	CodeUserLogin      = "T1000I"
	CodeUserLoginFail  = "T1000W"
	TypeUserLogout     = "user.logout"
	CodeUserLogout     = "TXU01I"
	TypeUserLockout    = "user.lockout"
	CodeUserLockout    = "TXU02W"
	TypeUserTokenUse   = "user_token.use"
	CodeUserTokenUse   = "TXU03I"
	CodeUserTokenFail  = "TXU03W"
	TypeUserCreate     = "user.create"
	CodeUserCreate     = "T1002I"
	TypeUserUpdate     = "user.update"
	CodeUserUpdate     = "T1003I"
	TypeUserDelete     = "user.delete"
	CodeUserDelete     = "T1004I"
	TypePasswordChange = "user.password_change"
	CodePasswordChange = "T1005I"
	TypeMFAAdd         = "mfa.add"
	CodeMFAAdd         = "T1006I"
	TypeMFADelete      = "mfa.delete"
	CodeMFADelete      = "T1007I"
	TypeResetToken     = "reset_password_token.create"
	CodeResetToken     = "T6000I"
	TypeAuth           = "auth"
	CodeAuthFail       = "T3007W"
	TypeCertCreate     = "cert.create"
	CodeCertCreate     = "TC000I"
	TypeAccessDenied   = "access.denied"
	CodeAccessDenied   = "TXD01W"
)

// UserLogin is an attempt to sign in, good or bad (CodeUserLogin,
// CodeUserLoginFail). A failure names the user as it was typed.
type UserLogin struct {
	Meta
	User
	Connection
	Status
	Method        string              `json:"method,omitempty" class:"public"` // local, oidc, saml, github, headless
	MFADeviceName string              `json:"mfa_device_name,omitempty" class:"sensitive"`
	MFADeviceUUID string              `json:"mfa_device_uuid,omitempty" class:"public"`
	MFADeviceType string              `json:"mfa_device_type,omitempty" class:"public"`
	Attributes    map[string][]string `json:"attributes,omitempty" class:"sensitive"`
	UserAgent     string              `json:"user_agent,omitempty" class:"sensitive"`
}

// UserLogout is the end of a login, asked for or forced.
type UserLogout struct {
	Meta
	User
	Connection
	Reason string `json:"reason,omitempty" class:"public"` // user, expired, forced
}

// UserLockout is a user refused for a while after repeated failures.
type UserLockout struct {
	Meta
	User
	Connection
	Failures int       `json:"failures,omitempty" class:"public"`
	Until    time.Time `json:"until,omitzero" class:"public"`
}

// UserTokenUse is an invite or reset link followed to its end (CodeUserTokenUse)
// or refused (CodeUserTokenFail).
type UserTokenUse struct {
	Meta
	User
	Connection
	Status
	Purpose string `json:"purpose,omitempty" class:"public"` // invite, reset
}

// UserCreate is a new user.
type UserCreate struct {
	Meta
	User
	Resource
	Connection
	Roles     []string `json:"roles,omitempty" class:"public"`
	Connector string   `json:"connector,omitempty" class:"public"` // local, or the SSO connector
}

// UserUpdate is a changed user.
type UserUpdate struct {
	Meta
	User
	Resource
	Connection
	Roles     []string `json:"roles,omitempty" class:"public"`
	Connector string   `json:"connector,omitempty" class:"public"`
}

// UserDelete is a removed user.
type UserDelete struct {
	Meta
	User
	Resource
	Connection
}

// PasswordChange is a password set or replaced by its owner.
type PasswordChange struct {
	Meta
	User
	Connection
}

// MFADevice says which second factor.
type MFADevice struct {
	MFADeviceName string `json:"mfa_device_name,omitempty" class:"sensitive"`
	MFADeviceUUID string `json:"mfa_device_uuid,omitempty" class:"public"`
	MFADeviceType string `json:"mfa_device_type,omitempty" class:"public"`
}

// MFAAdd is a second factor registered.
type MFAAdd struct {
	Meta
	User
	Connection
	MFADevice
}

// MFADelete is a second factor removed.
type MFADelete struct {
	Meta
	User
	Connection
	MFADevice
}

// ResetToken is an invite or reset link made for the user Name. The link
// itself is never part of it.
type ResetToken struct {
	Meta
	User
	Resource
	Connection
	Purpose string `json:"purpose,omitempty" class:"public"` // invite, reset
}

// AuthFail is an SSH or TLS authentication that was refused, or a login that
// the roles of an authenticated user do not allow; and what is refused at the
// address of an app, or on the way to one.
type AuthFail struct {
	Meta
	User
	Server
	Connection
	Status
	Decision *Decision `json:"decision,omitempty" class:"struct"`
	// ResourceKind and ResourceName say what was wanted, where that is known.
	ResourceKind string `json:"resource_kind,omitempty" class:"public"`
	ResourceName string `json:"resource_name,omitempty" class:"public"`
	RequestID    string `json:"request_id,omitempty" class:"public"` // as pages of errors show it
	// Count is how many refusals the event sums up; 0 is one.
	Count uint64 `json:"count,omitempty" class:"public"`
}

// CertCreate is an issued certificate with the identity it carries.
type CertCreate struct {
	Meta
	User // who asked
	Connection
	CertType    string   `json:"cert_type" class:"public"`         // user, host
	Profile     string   `json:"profile,omitempty" class:"public"` // login, route, bridge, host, …
	Identity    Identity `json:"identity" class:"struct"`
	Serial      string   `json:"serial,omitempty" class:"public"`
	Fingerprint string   `json:"fingerprint,omitempty" class:"public"` // of the public key
	UserAgent   string   `json:"user_agent,omitempty" class:"sensitive"`
}

// AccessDenied is an authenticated caller who was refused a verb of the API.
type AccessDenied struct {
	Meta
	User
	Resource
	Connection
	Status
	Procedure    string   `json:"procedure,omitempty" class:"public"`
	ResourceKind string   `json:"resource_kind,omitempty" class:"public"`
	Verb         string   `json:"verb,omitempty" class:"public"`
	Reasons      []string `json:"reasons,omitempty" class:"public"`
}
