package types

import (
	"net/netip"
	"time"
)

// UserCredentials is how a local user proves who they are (kind
// user_credentials, v1, name = user name). Internal: no API returns it. Encode
// writes its secrets; fmt, slog and plain encoding/json do not.
type UserCredentials struct {
	Header
	Spec UserCredentialsSpec `json:"spec"`
}

// UserCredentialsSpec is the body of UserCredentials.
type UserCredentialsSpec struct {
	Password *PasswordHash `json:"password,omitempty"` // nil: no password login
	OTP      []OTPDevice   `json:"otp,omitempty"`
	// Failures are the times of failed attempts inside the lock-out window, oldest first.
	Failures  []time.Time `json:"failures,omitempty"`
	ChangedAt time.Time   `json:"changed_at,omitzero"`
}

// PasswordHash is an argon2id hash with the parameters it was made with, so that
// they can be raised and old hashes still verify.
type PasswordHash struct {
	Algorithm string `json:"algorithm"`  // argon2id
	Time      uint32 `json:"time"`       // passes
	MemoryKiB uint32 `json:"memory_kib"` // memory
	Threads   uint8  `json:"threads"`
	Salt      []byte `json:"salt"`
	Hash      Secret `json:"hash"` // base64 of the raw hash
}

// OTPDevice is an authenticator app (TOTP).
type OTPDevice struct {
	ID       string    `json:"id"` // UUID; the mfa_device_uuid of certificates
	Name     string    `json:"name"`
	Secret   Secret    `json:"secret"` // base32 shared secret
	AddedAt  time.Time `json:"added_at"`
	LastUsed time.Time `json:"last_used,omitzero"`
	// LastStep is the time step of the last code accepted: a code works once.
	LastStep int64 `json:"last_step,omitempty"`
}

// UserToken is an invite or reset link (kind user_token, v1). Its name is the
// hash of the secret in the link, never the secret itself. Internal.
type UserToken struct {
	Header
	Spec UserTokenSpec `json:"spec"`
}

// Purposes of a UserToken.
const (
	PurposeInvite = "invite"
	PurposeReset  = "reset"
)

// UserTokenSpec is the body of UserToken.
type UserTokenSpec struct {
	Purpose string `json:"purpose"` // invite | reset
	User    string `json:"user"`
	// OTPSecret is offered to the person, the same for every view of the link
	// until it is spent (base32).
	OTPSecret Secret    `json:"otp_secret,omitzero"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	CreatedBy string    `json:"created_by,omitempty"`
	Failures  int       `json:"failures,omitempty"` // wrong codes typed; the link dies after a few
}

// WebSession is a browser's session (kind web_session, v1, name = session id).
// The cookie holds id and secret; only the secret's hash is kept here, and the
// key material is sealed under a key derived from the secret, so that the store
// alone logs nobody in. Internal.
type WebSession struct {
	Header
	Spec WebSessionSpec `json:"spec"`
}

// WebSessionSpec is the body of WebSession.
type WebSessionSpec struct {
	User       string    `json:"user"`
	SecretHash []byte    `json:"secret_hash"` // SHA-256 of the cookie's secret
	Sealed     []byte    `json:"sealed"`      // AEAD of key and certificates; authd defines the plain form
	Created    time.Time `json:"created"`
	LastUsed   time.Time `json:"last_used,omitzero"`
	Expires    time.Time `json:"expires"`
	LoginIP    string    `json:"login_ip,omitempty"`
	// PinnedIP, when valid, is the only address that may use the session.
	PinnedIP  netip.Addr `json:"pinned_ip,omitzero"`
	UserAgent string     `json:"user_agent,omitempty"`
}

// revealed is the stored form of a Secret.
type revealed string

type storedPassword struct {
	Algorithm string   `json:"algorithm"`
	Time      uint32   `json:"time"`
	MemoryKiB uint32   `json:"memory_kib"`
	Threads   uint8    `json:"threads"`
	Salt      []byte   `json:"salt"`
	Hash      revealed `json:"hash"`
}

type storedOTP struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Secret   revealed  `json:"secret"`
	AddedAt  time.Time `json:"added_at"`
	LastUsed time.Time `json:"last_used,omitzero"`
	LastStep int64     `json:"last_step,omitempty"`
}

type storedCredentials struct {
	Header
	Spec struct {
		Password  *storedPassword `json:"password,omitempty"`
		OTP       []storedOTP     `json:"otp,omitempty"`
		Failures  []time.Time     `json:"failures,omitempty"`
		ChangedAt time.Time       `json:"changed_at,omitzero"`
	} `json:"spec"`
}

// storedForm returns what Encode writes: the document with its secrets.
func (c *UserCredentials) storedForm() any {
	var s storedCredentials
	s.Header, s.Spec.Failures, s.Spec.ChangedAt = c.Header, c.Spec.Failures, c.Spec.ChangedAt
	if p := c.Spec.Password; p != nil {
		s.Spec.Password = &storedPassword{p.Algorithm, p.Time, p.MemoryKiB, p.Threads, p.Salt, revealed(p.Hash.Reveal())}
	}
	for _, d := range c.Spec.OTP {
		s.Spec.OTP = append(s.Spec.OTP, storedOTP{d.ID, d.Name, revealed(d.Secret.Reveal()), d.AddedAt, d.LastUsed, d.LastStep})
	}
	return &s
}

type storedUserToken struct {
	Header
	Spec struct {
		Purpose   string    `json:"purpose"`
		User      string    `json:"user"`
		OTPSecret revealed  `json:"otp_secret,omitempty"`
		Created   time.Time `json:"created"`
		Expires   time.Time `json:"expires"`
		CreatedBy string    `json:"created_by,omitempty"`
		Failures  int       `json:"failures,omitempty"`
	} `json:"spec"`
}

func (t *UserToken) storedForm() any {
	var s storedUserToken
	s.Header = t.Header
	s.Spec.Purpose, s.Spec.User, s.Spec.OTPSecret = t.Spec.Purpose, t.Spec.User, revealed(t.Spec.OTPSecret.Reveal())
	s.Spec.Created, s.Spec.Expires, s.Spec.CreatedBy, s.Spec.Failures = t.Spec.Created, t.Spec.Expires, t.Spec.CreatedBy, t.Spec.Failures
	return &s
}
