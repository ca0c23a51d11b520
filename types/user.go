package types

import "time"

// User is a person's account (kind user, v2). Credentials live in a kind of
// their own (UserCredentials) that no API returns.
type User struct {
	Header
	Spec   UserSpec   `json:"spec"`
	Status UserStatus `json:"status,omitzero"`
}

// UserSpec holds what an administrator edits.
type UserSpec struct {
	Roles     []string            `json:"roles,omitempty"`
	Traits    map[string][]string `json:"traits,omitempty"`
	CreatedBy *CreatedBy          `json:"created_by,omitempty"`
	Expires   *time.Time          `json:"expires,omitempty"`
}

// CreatedBy records who made an account.
type CreatedBy struct {
	Time      time.Time `json:"time"`
	User      string    `json:"user,omitempty"`
	Connector string    `json:"connector,omitempty"`
}

// UserStatus is the lock-out state after failed logins.
type UserStatus struct {
	IsLocked      bool       `json:"is_locked,omitempty"`
	LockedMessage string     `json:"locked_message,omitempty"`
	LockedTime    *time.Time `json:"locked_time,omitempty"`
	LockExpires   *time.Time `json:"lock_expires,omitempty"`
}

// UserEpoch tells agents that certificates of a user issued before NotBefore
// carry roles or traits that the user no longer has: they must be re-issued,
// and live sessions are decided again.
type UserEpoch struct {
	Header
	Spec UserEpochSpec `json:"spec"`
}

// UserEpochSpec is the body of UserEpoch. Roles and Traits are the user's
// current ones, from which live sessions are decided again. NotBefore is the
// exact time of the change: rounded down, it would miss a certificate issued in
// the same second with the old roles. LoginAfter is the last time that the
// account was reset or its name given to somebody: a certificate from before it
// may be a thief's or another person's, and issues no other.
type UserEpochSpec struct {
	NotBefore  time.Time           `json:"not_before"`
	LoginAfter time.Time           `json:"login_after,omitzero"`
	Deleted    bool                `json:"deleted,omitempty"`
	Roles      []string            `json:"roles,omitempty"`
	Traits     map[string][]string `json:"traits,omitempty"`
}
