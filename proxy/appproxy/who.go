package appproxy

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/cert"
	"teleport/fault"
	"teleport/types"
)

// The cookies of a session, and the beginning of the name of those that hold the
// state of a hand-over. The prefix has browsers insist on Secure, Path=/ and this
// very host.
const (
	sessionCookie = "__Host-grv_app_session"
	subjectCookie = "__Host-grv_app_session_subject"
	stateCookie   = "__Host-grv_app_auth_state_"
	ourCookies    = "__Host-grv_app_"
)

// isHalf reports whether a text has the shape of either half of a session: 32 digits
// of 16. Anything else is none of ours.
func isHalf(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(text) == 32
}

// copyLag is how long a session that the copy has not got may take to arrive: it
// was opened a moment ago, through another proxy.
const copyLag = 500 * time.Millisecond

// handOverLag is the same of a session that a browser brings from the launcher: a
// person waits, who would have to begin again.
const handOverLag = 5 * time.Second

// who says whose request it is: of the client whose certificate is shown, or of the
// session whose two cookies come with it; nil: nobody's. The visitor is left by the
// caller.
func (s *Server) who(v *visit) (*visitor, error) {
	if v.r.TLS != nil && len(v.r.TLS.PeerCertificates) > 0 {
		return s.byCertificate(v)
	}
	id, secret, ok := pair(v.r)
	if !ok {
		return nil, nil
	}
	doc := s.known(v.r.Context(), id)
	if doc == nil || doc.Pending() || !s.o.Now().Before(doc.Spec.Expires) {
		return nil, nil
	}
	bad := ""
	switch {
	case !doc.Matches(secret):
		bad = "the secret is not that of the session"
	case doc.Spec.App != v.app.Metadata.Name:
		bad = "the session is with another app"
	case doc.Spec.PinnedIP.IsValid() && doc.Spec.PinnedIP != v.client.Addr().Unmap().WithZone(""):
		bad = "the session is pinned to the address of its login"
	}
	if bad != "" {
		v.user = doc.Spec.User
		return nil, fault.New(fault.Unauthenticated, "the cookies of this request open nothing: %s", bad).WithHint("sign in again")
	}
	return s.visitors.enter(id, func() *visitor {
		return &visitor{user: doc.Spec.User, app: doc.Spec.App,
			over: func() error {
				if s.lives(id) {
					return nil
				}
				return errEnded()
			},
			fetch: func(ctx context.Context, client netip.AddrPort, key *bridgeKey) ([]byte, error) {
				out, err := s.o.Auth.UseAppSession(ctx, &loginv1.UseAppSessionRequest{Bearer: bearerOf(id, secret), TlsPublic: key.public, ClientAddr: client.String()})
				if err != nil {
					s.tell(ctx, Failure{User: doc.Spec.User, Proven: true, App: doc.Spec.App, Client: client, Err: err})
					return nil, err
				}
				return out.TlsCert, nil
			}}
	})
}

// pair reads the two cookies of a session (RFC 6265 §5.4), as they are written. Two of
// one name are none: which of them counts would be a guess. net/http would read all
// cookies, for each request.
func pair(r *http.Request) (id string, secret types.Secret, ok bool) {
	text, ids, texts := "", 0, 0
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(part, "=")
			switch textproto.TrimString(name) {
			case sessionCookie:
				id = textproto.TrimString(value)
				ids++
			case subjectCookie:
				text = textproto.TrimString(value)
				texts++
			}
		}
	}
	if ids != 1 || texts != 1 || !isHalf(id) || !isHalf(text) {
		return "", secret, false
	}
	return id, types.NewSecret(text), true
}

// bearerOf is what auth knows a session by.
func bearerOf(id string, secret types.Secret) string { return id + "." + secret.Reveal() }

// lives reports whether the copy has a session that is not over.
func (s *Server) lives(id string) bool {
	doc, ok := s.o.Sessions.AppSession(id)
	return ok && s.o.Now().Before(doc.Spec.Expires)
}

// known finds a session in the copy, and gives it a moment to arrive.
func (s *Server) known(ctx context.Context, id string) *types.AppSession {
	return s.arrives(ctx, id, copyLag, func(doc *types.AppSession) bool { return !doc.Pending() })
}

// arrives waits until the copy has a session as it is wanted; nil: it never had.
func (s *Server) arrives(ctx context.Context, id string, within time.Duration, wanted func(*types.AppSession) bool) *types.AppSession {
	if doc, ok := s.o.Sessions.AppSession(id); ok && wanted(doc) {
		return doc
	}
	changes, stop := s.o.Sessions.Subscribe()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		if doc, ok := s.o.Sessions.AppSession(id); ok && wanted(doc) {
			return doc
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil
		}
	}
}

// again says how programs get a certificate that is good.
func again(err error, app string) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.KindOf(err), "%s", fault.Message(err)).WithHint("get another: tsh apps login %s", app)
}

// byCertificate is for clients that are no browsers: they show the certificate of
// tsh apps login, which names this app.
func (s *Server) byCertificate(v *visit) (*visitor, error) {
	id, err := s.o.Peer(*v.r.TLS)
	if err != nil {
		return nil, again(fault.Wrap(err, fault.Unauthenticated, "%s", fault.Message(err)), v.app.Metadata.Name)
	}
	v.user, v.proven = id.Name, true
	route := id.Authority.Route
	if route == nil || route.Kind != types.KindApp || route.Name != v.app.Metadata.Name {
		return nil, fault.New(fault.Denied, "the certificate is not for this app").WithHint("tsh apps login %s gets one that is", v.app.Metadata.Name)
	}
	if pin := id.Authority.PinnedIP; pin.IsValid() && pin != v.client.Addr().Unmap().WithZone("") {
		return nil, fault.New(fault.Denied, "this certificate may be used only from the address of its login").WithHint("log in again")
	}
	leaf := v.r.TLS.PeerCertificates[0]
	hash := sha256.Sum256(leaf.Raw)
	return s.visitors.enter("certificate "+hex.EncodeToString(hash[:]), func() *visitor {
		return &visitor{user: id.Name, app: route.Name,
			over: func() error { return again(cert.CheckTime(leaf.NotBefore, leaf.NotAfter, s.o.Now()), route.Name) },
			fetch: func(ctx context.Context, client netip.AddrPort, key *bridgeKey) ([]byte, error) {
				public, err := x509.ParsePKIXPublicKey(key.public)
				if err != nil {
					return nil, err
				}
				text, err := s.o.Bridge(ctx, leaf, client, public)
				if err != nil {
					s.tell(ctx, Failure{User: id.Name, Proven: true, App: route.Name, Client: client, Err: err})
				}
				return text, err
			}}
	})
}
