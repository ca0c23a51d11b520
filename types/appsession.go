package types

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"time"
)

// AppSession is a browser's session with one app (kind app_session, v1, name =
// session id). It is made of a live web session and ends with it. Proxies keep a
// copy, by which they know the browser without a call and hear of its end; the
// secret of the browser is kept nowhere, so that neither they nor the store can
// speak for anybody.
type AppSession struct {
	Header
	Spec AppSessionSpec `json:"spec"`
}

// AppSessionSpec is the body of AppSession.
type AppSessionSpec struct {
	User       string `json:"user"`
	App        string `json:"app"`         // name of the app
	WebSession string `json:"web_session"` // id of the session that it was made of
	SecretHash []byte `json:"secret_hash"` // SHA-256 of the cookie's secret
	// StateHash is the hash of the state with which the browser began; it is there
	// until that browser has taken the session over, and no request passes before.
	StateHash []byte `json:"state_hash,omitempty"`
	// Sealed is the certificate behind the session, under a key that only the
	// cookie's secret gives.
	Sealed []byte `json:"sealed"`
	// Params narrow the route: aws_role, azure_identity …
	Params  map[string]string `json:"params,omitempty"`
	Created time.Time         `json:"created"`
	Expires time.Time         `json:"expires"`
	LoginIP string            `json:"login_ip,omitempty"`
	// PinnedIP, when valid, is the only address that may use the session.
	PinnedIP  netip.Addr `json:"pinned_ip,omitzero"`
	UserAgent string     `json:"user_agent,omitempty"`
}

// Pending reports whether the browser has not taken the session over yet.
func (s *AppSession) Pending() bool { return len(s.Spec.StateHash) > 0 }

// Matches reports, in constant time, whether a secret is the session's.
func (s *AppSession) Matches(secret Secret) bool {
	return subtle.ConstantTimeCompare(s.Spec.SecretHash, HashAppSecret(secret)) == 1
}

// HashAppSecret is what is kept of the secret of a session with an app.
func HashAppSecret(secret Secret) []byte { return hashFor("app-session", secret) }

// HashAppState is what is kept of the state of a hand-over.
func HashAppState(state Secret) []byte { return hashFor("app-state", state) }

// hashFor keeps a hash made for one purpose from meaning anything for another.
func hashFor(purpose string, secret Secret) []byte {
	text := append(make([]byte, 0, 128), purpose...)
	sum := sha256.Sum256(append(append(text, 0), secret.Reveal()...))
	return sum[:]
}

// Validate implements Resource.
func (s *AppSession) Validate() error {
	if err := s.check(KindAppSession, &s.Spec); err != nil {
		return err
	}
	switch {
	case len(s.Spec.SecretHash) != 32:
		return fieldFault("spec.secret_hash", "wants 32 bytes")
	case len(s.Spec.StateHash) != 0 && len(s.Spec.StateHash) != 32:
		return fieldFault("spec.state_hash", "wants 32 bytes")
	case s.Spec.WebSession == "":
		return fieldFault("spec.web_session", "is missing")
	case s.Spec.Expires.IsZero():
		return fieldFault("spec.expires", "is missing")
	}
	if err := at("spec.app", CheckName("app", s.Spec.App)); err != nil {
		return err
	}
	return at("spec.user", CheckName("user", s.Spec.User))
}

func exampleAppSession() Resource {
	return &AppSession{Header: named(KindAppSession, "v1", "0011223344556677"), Spec: AppSessionSpec{User: "alice", App: "grafana",
		WebSession: "8899aabbccddeeff", SecretHash: make([]byte, 32), Sealed: []byte("sealed"), Created: exampleTime(), Expires: exampleTime().Add(time.Hour)}}
}
