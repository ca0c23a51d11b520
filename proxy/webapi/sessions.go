package webapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"regexp"
	"sync"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/types"
)

// sessions remembers what the auth service said of a cookie: a certificate for
// this proxy's own key, until it is half spent, and that the session lives, for a
// second. So a session that ended at another proxy ends here, and asking again
// costs auth a look and no certificate. The cookie's secret itself is kept only
// as a hash.
type sessions struct {
	o     Options
	asked lifecycle.Shared[*webSession]

	mu     sync.Mutex
	live   map[[32]byte]*webSession
	pruned time.Time
}

type webSession struct {
	id    *types.Identity
	leaf  *x509.Certificate
	renew time.Time // when the certificate is half spent
	asOf  time.Time // when auth last said that the session lives
	ends  time.Time // when the session ends, unless somebody ends it before
}

// backgroundHeader marks a call that a timer of the page makes and nobody asked
// for. It does not put off the idle limit.
const backgroundHeader = "X-Teleport-Background"

// asking is a cookie as it came, with what auth wants to know of the request.
type asking struct {
	bearer, clientAddr string
	background         bool
}

const (
	recheck     = time.Second // how long an answer of auth is believed
	pruneEvery  = time.Minute
	maxSessions = 50_000
)

// bearerForm is the shape of a session cookie; anything else is none of ours and
// is not asked about.
var bearerForm = regexp.MustCompile(`^[0-9a-f]{32}\.[0-9a-f]{32}$`)

func newSessions(o Options) *sessions { return &sessions{o: o, live: map[[32]byte]*webSession{}} }

func hashOf(bearer string) [32]byte { return sha256.Sum256([]byte("web session\x00" + bearer)) }

func (s *sessions) forget(bearer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, hashOf(bearer))
}

// use returns the session of a cookie.
func (s *sessions) use(ctx context.Context, a asking) (*webSession, error) {
	if !bearerForm.MatchString(a.bearer) {
		return nil, fault.New(fault.Unauthenticated, "the session is not valid").WithHint("Sign in again.")
	}
	key := hashOf(a.bearer)
	now := s.o.Now()
	s.mu.Lock()
	w := s.live[key]
	s.mu.Unlock()
	if w != nil && now.Sub(w.asOf) < recheck && now.Before(w.id.Authority.Expires) {
		return w, nil
	}
	answer, err := s.asked.Do(ctx, a.question(key), askTimeout, func(ctx context.Context) (*webSession, error) {
		if w != nil && now.Before(w.renew) {
			return s.check(ctx, w, a)
		}
		fresh, err := s.fetch(ctx, a)
		if err != nil {
			return nil, err
		}
		return s.check(ctx, fresh, a) // which says when the session ends
	})
	if err != nil {
		if ctx.Err() == nil { // who left says nothing of the session
			s.forget(a.bearer)
		}
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
	s.live[key] = answer
	return answer, nil
}

// prune drops now and then what is of no use any more: sessions that have ended,
// and certificates that the next request would replace. When there are too many,
// it drops all that are not in use at the moment. The caller holds s.mu.
func (s *sessions) prune(now time.Time) {
	full := len(s.live) >= maxSessions
	if !full && now.Sub(s.pruned) < pruneEvery {
		return
	}
	s.pruned = now
	for k, w := range s.live {
		spent := !now.Before(w.renew) || !now.Before(w.ends)
		if now.Sub(w.asOf) >= recheck && (full || spent) {
			delete(s.live, k)
		}
	}
}

// question names what is asked, so that a person's call does not join a timer's.
func (a asking) question(key [32]byte) string {
	if a.background {
		return string(key[:]) + " background"
	}
	return string(key[:])
}

// ends returns when the session of a cookie that was just used ends.
func (s *sessions) ends(bearer string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.live[hashOf(bearer)]
	if !ok {
		return time.Time{}, false
	}
	return w.ends, true
}

// askTimeout bounds what auth is asked at a time.
const askTimeout = 15 * time.Second

// check asks auth whether a session that is known here lives.
func (s *sessions) check(ctx context.Context, w *webSession, a asking) (*webSession, error) {
	asked := s.o.Now()
	out, err := s.o.Auth.CheckWebSession(ctx, &loginv1.CheckWebSessionRequest{Bearer: a.bearer, ClientAddr: a.clientAddr, Background: a.background})
	if err != nil {
		return nil, err
	}
	again := *w
	again.asOf, again.ends = asked, time.Unix(out.ExpiresUnix, 0)
	return &again, nil
}

// fetch shows the bearer to auth. The key is made here and stays here.
func (s *sessions) fetch(ctx context.Context, a asking) (*webSession, error) {
	asked := s.o.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	out, err := s.o.Auth.UseWebSession(ctx, &loginv1.UseWebSessionRequest{Bearer: a.bearer, Keys: &loginv1.UserKeys{TlsPublic: der},
		ClientAddr: a.clientAddr, Background: a.background})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(out.TlsCert)
	if block == nil {
		return nil, fault.New(fault.Internal, "the auth service sent no certificate for this session")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the auth service sent a certificate that cannot be read")
	}
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, s.o.Policy.Trust(), s.o.Now(), types.IdentityUser)
	if err != nil {
		return nil, err
	}
	half := id.Authority.Expires.Sub(asked) / 2
	return &webSession{id: id, leaf: leaf, renew: asked.Add(half), asOf: asked}, nil
}

// identify says who makes a request: the person behind the session cookie, or
// nobody.
func (h *Handler) identify(r *http.Request) (rpc.Caller, error) {
	addr, err := h.ClientAddr(r)
	if err != nil {
		return rpc.Caller{}, err
	}
	c := rpc.Caller{Addr: addr}
	cookie, err := r.Cookie(CookieName)
	if err != nil || cookie.Value == "" {
		return c, nil
	}
	w, err := h.sessions.use(r.Context(), asking{bearer: cookie.Value, clientAddr: addr.String(), background: r.Header.Get(backgroundHeader) != ""})
	if err != nil {
		return c, err
	}
	c.Identity, c.Certificate = w.id, w.leaf
	return c, nil
}
