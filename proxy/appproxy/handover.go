package appproxy

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/types"
)

// A hand-over gives a browser that is signed in at the proxy a session at the
// app's own address, where the proxy's cookie does not come:
//
//	GET app/…                          → launcher                     (signIn)
//	launcher, signed in                → app/x-teleport-auth          (begin)
//	app/x-teleport-auth                → launcher with a state, whose cookie stays here
//	launcher makes the session         → app/x-teleport-auth/finish#… (page)
//	the page's script posts the fragment back, and here the state of the browser and
//	that of the session must be the same; auth opens the session for it, once.
//
// Nothing that opens a session ever stands in a request line.

// handOverLife is how long a browser keeps the state of a hand-over.
const handOverLife = 60 * time.Second

// stateForm is a state: its secret, and the name of the cookie that has it too.
var stateForm = regexp.MustCompile(`^([0-9a-f]{64})_([0-9a-f]{32})$`)

// Trip is what a browser wants of the apps that it opens.
type Trip struct {
	Path string // where to go then, of the last app
	Apps string // hosts of those that it opens afterwards, with commas between them
	As   string // the role or identity of a cloud
}

// Clean drops what cannot be: it comes from the address bar.
func (t Trip) Clean() Trip {
	return Trip{Path: CleanPath(t.Path), Apps: cleanHosts(t.Apps), As: cleanAs(t.As)}
}

func (t Trip) values() url.Values {
	t = t.Clean()
	q := url.Values{"path": {t.Path}}
	for name, v := range map[string]string{"apps": t.Apps, "as": t.As} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

func asTold(q url.Values) Trip { return Trip{q.Get("path"), q.Get("apps"), q.Get("as")} }

// Strays says what of a trip leads elsewhere than it may, and is not followed; nil
// where nothing does.
func (t Trip) Strays() error {
	clean := t.Clean()
	if t.Path == "" {
		t.Path = clean.Path
	}
	if t == clean {
		return nil
	}
	return fault.New(fault.Invalid, "a sign-in was to lead elsewhere than to a page of an app: to %.200q, then %.200q as %.200q", t.Path, t.Apps, t.As)
}

// tellTrip records a trip that strays: it goes on without what it must not have.
func (s *Server) tellTrip(v *visit, t Trip) {
	if err := t.Strays(); err != nil {
		s.refused(v, err)
	}
}

// launcher is the path of the proxy's own page that opens the app at a host.
func launcher(host string, t Trip, more url.Values) string {
	q := t.values()
	for name, v := range more {
		q[name] = v
	}
	return "/web/launch/" + url.PathEscape(host) + "?" + q.Encode()
}

// Begin is where a browser that is signed in begins a hand-over.
func (h *Hosts) Begin(a *types.App, t Trip) string {
	return h.URL(a) + authPath + "?" + t.values().Encode()
}

// Finish is where a browser takes a session over that was made for its state.
func (h *Hosts) Finish(a *types.App, state, bearer string, t Trip) string {
	q := t.values()
	q.Set("state", state)
	q.Set("session", bearer)
	return h.URL(a) + authPath + "/finish#" + q.Encode()
}

// StateSecret is the part of a state that a session is made for.
func StateSecret(state string) (types.Secret, bool) {
	m := stateForm.FindStringSubmatch(state)
	if m == nil {
		return types.Secret{}, false
	}
	return types.NewSecret(m[1]), true
}

const maxPath = 4096

// CleanPath is a path with its query, of the same app, to go to after a sign-in.
// What is none, or leads elsewhere, is "/".
func CleanPath(p string) string {
	bad := func(c rune) bool { return c <= ' ' || c == 0x7f || c == '\\' || c == '#' }
	if len(p) > maxPath || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsFunc(p, bad) {
		return "/"
	}
	u, err := url.Parse(p)
	if err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(u.Path, authPath) || u.Path == logoutPath {
		return "/"
	}
	return p
}

// maxHosts bounds how many apps one visit opens after the first: the others that it
// needs, and itself.
const maxHosts = types.MaxRequiredApps

// signIn answers a request that nobody's session came with: a page of a browser
// leads to the sign-in and back to the same address; all else is told that it needs
// one, as no program can follow a redirect to a sign-in.
func (s *Server) signIn(v *visit) {
	if !wantsPage(v.r) {
		err := fault.New(fault.Unauthenticated, "no session with this app").WithHint("open %s in a browser and sign in", s.o.Hosts.URL(v.app))
		if readsPage(v.r) {
			err = fault.New(fault.Unauthenticated, "you are not signed in to %s, or not any more", v.app.Metadata.Name)
		}
		s.fail(v, err)
		return
	}
	v.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(v.w, v.r, "https://"+s.o.PublicAddr+launcher(s.o.Hosts.HostOf(v.app), Trip{Path: v.r.URL.RequestURI()}, nil), http.StatusFound)
}

// wantsPage reports whether a person opens a page, and may be led elsewhere first.
func wantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && readsPage(r)
}

// readsPage reports whether a person looks at the answer: a browser navigates, or
// sends a form.
func readsPage(r *http.Request) bool {
	if wantsUpgrade(r) || strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest") {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/html")
}

// handOver answers the paths of the hand-over.
func (s *Server) handOver(v *visit) {
	securePage(v.w.Header())
	switch key := v.r.Method + " " + v.r.URL.Path; key {
	case "GET " + authPath:
		s.begin(v)
	case "POST " + authPath:
		s.finish(v)
	case "GET " + authPath + "/finish":
		s.static(v, "finish.html", "text/html; charset=utf-8")
	case "GET " + authPath + "/finish.js":
		s.static(v, "finish.js", "text/javascript; charset=utf-8")
	case "GET " + authPath + "/page.css":
		s.static(v, "page.css", "text/css; charset=utf-8")
	default:
		s.fail(v, fault.New(fault.NotFound, "there is nothing at this address"))
	}
}

func (s *Server) static(v *visit, name, mimeType string) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		s.fail(v, err)
		return
	}
	v.w.Header().Set("Content-Type", mimeType)
	_, _ = v.w.Write(b)
}

// begin leaves the state of a hand-over with the browser and sends it to the
// launcher with the same.
func (s *Server) begin(v *visit) {
	asked := asTold(v.r.URL.Query())
	s.tellTrip(v, asked)
	var b [48]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	secret, cookie := hex.EncodeToString(b[:32]), hex.EncodeToString(b[32:])
	http.SetCookie(v.w, &http.Cookie{Name: stateCookie + cookie, Value: secret, Path: "/", MaxAge: int(handOverLife.Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(v.w, v.r, "https://"+s.o.PublicAddr+launcher(s.o.Hosts.HostOf(v.app), asked, url.Values{"state": {secret + "_" + cookie}}), http.StatusFound)
}

// cleanAs is the name of a role or identity; what is none is "".
func cleanAs(s string) string {
	if len(s) > maxPath || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ""
	}
	return s
}

// cleanHosts is a list of hosts with commas between them; what is none is "".
func cleanHosts(list string) string {
	if strings.Trim(list, "abcdefghijklmnopqrstuvwxyz0123456789.-,") != "" || strings.Count(list, ",") >= maxHosts || len(list) > maxPath {
		return ""
	}
	return list
}

// finishRequest is what the page posts.
type finishRequest struct {
	State   string `json:"state"`
	Session string `json:"session"` // id.secret
	Path    string `json:"path"`
	Apps    string `json:"apps"`
	As      string `json:"as"`
}

// maxFinish bounds the body of a finishRequest.
const maxFinish = 16 << 10

// finish gives the session to the browser that began.
func (s *Server) finish(v *visit) {
	if o := v.r.Header.Get("Origin"); o != "" && o != "https://"+v.r.Host || o == "" && v.r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		s.fail(v, fault.New(fault.Denied, "this request did not come from a page of this app"))
		return
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxFinish)
	var in finishRequest
	if err := rpc.DecodeJSON(v.r, &in); err != nil {
		s.fail(v, err)
		return
	}
	id, secret, _ := strings.Cut(in.Session, ".")
	if !isHalf(id) || !isHalf(secret) {
		s.fail(v, fault.New(fault.Invalid, "the sign-in is not complete").WithHint("open the app again"))
		return
	}
	// Strangers cost no call of auth.
	doc := s.arrives(v.r.Context(), id, handOverLag, func(*types.AppSession) bool { return true })
	if doc == nil || !doc.Matches(types.NewSecret(secret)) {
		s.fail(v, fault.New(fault.Denied, "this sign-in is over, or was done before").WithHint("open the app again"))
		return
	}
	v.user = doc.Spec.User
	if err := s.ownState(v, in.State); err != nil { // nobody shall use what it brought
		if err := s.o.Auth.EndAppSession(v.r.Context(), &loginv1.EndAppSessionRequest{Bearer: in.Session}); err != nil {
			s.o.Log.Warn("the session of a failed sign-in to an app was not ended", "err", err)
		}
		s.fail(v, err)
		return
	}
	state, _ := StateSecret(in.State)
	out, err := s.o.Auth.OpenAppSession(v.r.Context(), &loginv1.OpenAppSessionRequest{Bearer: in.Session, App: v.app.Metadata.Name,
		State: state.Reveal(), ClientAddr: v.client.String()})
	if err != nil {
		v.told = fault.KindOf(err) == fault.Denied // by auth, which knows whose it was
		s.fail(v, err)
		return
	}
	s.tellTrip(v, Trip{Path: in.Path, Apps: in.Apps, As: in.As})
	opened, secret, _ := strings.Cut(out.Bearer, ".")
	if opened != id || !isHalf(secret) {
		s.fail(v, fault.New(fault.Internal, "the auth service opened another session"))
		return
	}
	s.arrives(v.r.Context(), id, copyLag, func(doc *types.AppSession) bool { return doc.Matches(types.NewSecret(secret)) }) // so that the next request finds it
	life := max(int(time.Unix(out.ExpiresUnix, 0).Sub(s.o.Now()).Seconds()), 1)
	setCookie(v.w, sessionCookie, id, life)
	setCookie(v.w, subjectCookie, secret, life)
	if err := rpc.WriteJSON(v.w, map[string]string{"next": s.next(in)}); err != nil {
		s.o.Log.Debug("a browser left before its sign-in was done", "err", err)
	}
}

// ownState checks that the browser which brings a session is the one that asked for
// it, and spends the state.
func (s *Server) ownState(v *visit, state string) error {
	m := stateForm.FindStringSubmatch(state)
	if m == nil {
		return fault.New(fault.Invalid, "the sign-in is not complete").WithHint("open the app again")
	}
	name := stateCookie + m[2]
	mine := v.r.CookiesNamed(name)
	http.SetCookie(v.w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	if len(mine) != 1 || subtle.ConstantTimeCompare([]byte(mine[0].Value), []byte(m[1])) != 1 {
		return fault.New(fault.Denied, "this sign-in did not begin in this browser, or took longer than a minute").WithHint("open the app again")
	}
	return nil
}

// next is where the browser goes with its session: to the launcher for the next
// app, or to what it asked for at first.
func (s *Server) next(in finishRequest) string {
	host, rest, _ := strings.Cut(cleanHosts(in.Apps), ",")
	if host == "" {
		return CleanPath(in.Path)
	}
	return "https://" + s.o.PublicAddr + launcher(host, Trip{Path: in.Path, Apps: rest, As: in.As}, url.Values{"chain": {"1"}})
}

// setCookie hands the browser half of a session.
func setCookie(w http.ResponseWriter, name, value string, life int) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: life, Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
}

// logOut ends the session of a browser with this app, and of no other.
func (s *Server) logOut(v *visit) {
	securePage(v.w.Header())
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodDelete && v.r.Method != http.MethodPost {
		s.fail(v, fault.New(fault.Invalid, "a session is ended with GET or DELETE"))
		return
	}
	setCookie(v.w, sessionCookie, "", -1)
	setCookie(v.w, subjectCookie, "", -1)
	if id, secret, ok := pair(v.r); ok {
		if err := s.o.Auth.EndAppSession(v.r.Context(), &loginv1.EndAppSessionRequest{Bearer: bearerOf(id, secret)}); err != nil {
			s.fail(v, err)
			return
		}
		if doc, ok := s.o.Sessions.AppSession(id); ok && doc.Matches(secret) {
			s.visitors.drop(id, errEnded())
		}
	}
	if !wantsPage(v.r) {
		v.w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(v.w, v.r, "https://"+s.o.PublicAddr+"/web/bye/"+url.PathEscape(s.o.Hosts.HostOf(v.app)), http.StatusFound)
}
