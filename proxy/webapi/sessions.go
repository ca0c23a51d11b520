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
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/types"
)

// sessions remembers, for a short while, what the auth service said of a
// cookie: a certificate for this proxy's own key. The cookie's secret itself is
// kept only as a hash. What is remembered never outlives recheck, so a session
// that ended elsewhere ends here too.
type sessions struct {
	o      Options
	flight singleflight.Group

	mu   sync.Mutex
	live map[[32]byte]*webSession
}

type webSession struct {
	id   *types.Identity
	leaf *x509.Certificate
	asOf time.Time
}

const (
	recheck     = 10 * time.Second // how long an answer of auth is believed
	maxSessions = 50_000
)

func newSessions(o Options) *sessions { return &sessions{o: o, live: map[[32]byte]*webSession{}} }

func hashOf(bearer string) [32]byte { return sha256.Sum256([]byte("web session\x00" + bearer)) }

func (s *sessions) forget(bearer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, hashOf(bearer))
}

// use returns the session of a cookie.
func (s *sessions) use(ctx context.Context, bearer, clientAddr string) (*webSession, error) {
	key := hashOf(bearer)
	now := s.o.Now()
	s.mu.Lock()
	w := s.live[key]
	s.mu.Unlock()
	if w != nil && now.Sub(w.asOf) < recheck && now.Before(w.id.Authority.Expires) {
		return w, nil
	}
	v, err, _ := s.flight.Do(string(key[:]), func() (any, error) { return s.fetch(ctx, bearer, clientAddr) })
	if err != nil {
		s.forget(bearer)
		return nil, err
	}
	w = v.(*webSession)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) >= maxSessions {
		for k, old := range s.live {
			if now.Sub(old.asOf) >= recheck {
				delete(s.live, k)
			}
		}
	}
	s.live[key] = w
	return w, nil
}

// fetch shows the bearer to auth. The key is made here and stays here.
func (s *sessions) fetch(ctx context.Context, bearer, clientAddr string) (*webSession, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	out, err := s.o.Auth.UseWebSession(ctx, &loginv1.UseWebSessionRequest{Bearer: bearer, Keys: &loginv1.UserKeys{TlsPublic: der}, ClientAddr: clientAddr})
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
	return &webSession{id: id, leaf: leaf, asOf: s.o.Now()}, nil
}

// identify says who makes a request: the person behind the session cookie, or
// nobody.
func (h *Handler) identify(r *http.Request) (rpc.Caller, error) {
	addr, err := h.clientAddr(r)
	if err != nil {
		return rpc.Caller{}, err
	}
	c := rpc.Caller{Addr: addr}
	cookie, err := r.Cookie(CookieName)
	if err != nil || cookie.Value == "" {
		return c, nil
	}
	if len(cookie.Value) > 512 {
		return c, fault.New(fault.Unauthenticated, "the session is not valid").WithHint("Sign in again.")
	}
	w, err := h.sessions.use(r.Context(), cookie.Value, addr.String())
	if err != nil {
		return c, err
	}
	c.Identity, c.Certificate = w.id, w.leaf
	return c, nil
}
