package webapi

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"net/http"
	"regexp"
	"time"

	"github.com/pquerna/otp"

	"teleport/access"
	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/types"
)

// CookieName is the browser session's cookie. The prefix has browsers insist on
// Secure, Path=/ and this very host.
const CookieName = "__Host-session"

// linkToken is the shape of an invite or reset token; anything else cannot be
// one and is not asked for.
var linkToken = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

type (
	inviteAnswer struct {
		User      string `json:"user"`
		Cluster   string `json:"cluster"`
		Purpose   string `json:"purpose"` // invite or reset
		OTPURL    string `json:"otp_url,omitempty"`
		OTPSecret string `json:"otp_secret,omitempty"`
		OTPQR     string `json:"otp_qr,omitempty"` // base64 of a PNG
		Expires   int64  `json:"expires"`
	}
	acceptRequest struct {
		Password string `json:"password"`
		OTP      string `json:"otp"`
	}
	signInRequest struct {
		User     string `json:"user"`
		Password string `json:"password"`
		OTP      string `json:"otp"`
	}
	sessionAnswer struct {
		User    string   `json:"user"`
		Cluster string   `json:"cluster"`
		Roles   []string `json:"roles"`
		Expires int64    `json:"expires"`
		Version string   `json:"version"`
		Proxy   string   `json:"proxy"` // public address, for command lines
		// Rights are the verbs that the roles allow by kind, for the actions that
		// the UI offers. The auth service decides again when one is used.
		Rights map[string][]string `json:"rights"`
	}
)

// qrSize is the side of the QR picture in pixels.
const qrSize = 232

func (h *Handler) invite(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	token, addr, err := h.linkRequest(r)
	if err != nil {
		return err
	}
	in, err := h.o.Auth.GetInvite(r.Context(), &loginv1.GetInviteRequest{Token: token, ClientAddr: addr})
	if err != nil {
		return err
	}
	a := inviteAnswer{User: in.User, Cluster: in.Cluster, Purpose: in.Purpose, OTPURL: in.OtpUrl, OTPSecret: in.OtpSecret, Expires: in.ExpiresUnix}
	if in.OtpUrl != "" {
		if a.OTPQR, err = qrCode(in.OtpUrl); err != nil {
			return err
		}
	}
	return rpc.WriteJSON(w, a)
}

func qrCode(url string) (string, error) {
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the one-time password cannot be drawn")
	}
	img, err := key.Image(qrSize, qrSize)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the one-time password cannot be drawn")
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func (h *Handler) acceptInvite(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	token, addr, err := h.linkRequest(r)
	if err != nil {
		return err
	}
	var in acceptRequest
	if err := rpc.DecodeJSON(r, &in); err != nil {
		return err
	}
	out, err := h.o.Auth.AcceptInvite(r.Context(), &loginv1.AcceptInviteRequest{Token: token, Password: in.Password, Otp: in.OTP,
		ClientAddr: addr, UserAgent: userAgent(r)})
	if err != nil {
		return err
	}
	if out.Bearer != "" {
		setSession(w, out.Bearer, out.ExpiresUnix)
	}
	return rpc.WriteJSON(w, map[string]any{"user": out.User, "signed_in": out.Bearer != ""})
}

// setSession hands the session's bearer to the browser and to nobody else: no
// script reads it, no other host gets it.
func setSession(w http.ResponseWriter, bearer string, expiresUnix int64) {
	http.SetCookie(w, &http.Cookie{Name: CookieName, Value: bearer, Path: "/", Expires: time.Unix(expiresUnix, 0),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

func (h *Handler) linkRequest(r *http.Request) (token, addr string, err error) {
	token = r.PathValue("token")
	if !linkToken.MatchString(token) {
		return "", "", fault.New(fault.NotFound, "this link is not valid, or was used already").WithHint("Ask for a new one.")
	}
	a, err := h.ClientAddr(r)
	return token, a.String(), err
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	var in signInRequest
	if err := rpc.DecodeJSON(r, &in); err != nil {
		return err
	}
	addr, err := h.ClientAddr(r)
	if err != nil {
		return err
	}
	out, err := h.o.Auth.StartWebSession(r.Context(), &loginv1.StartWebSessionRequest{User: in.User, Password: in.Password, Otp: in.OTP,
		ClientAddr: addr.String(), UserAgent: userAgent(r)})
	if err != nil {
		return err
	}
	setSession(w, out.Bearer, out.ExpiresUnix)
	return rpc.WriteJSON(w, map[string]any{"user": out.User, "expires": out.ExpiresUnix})
}

func (h *Handler) signOut(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	http.SetCookie(w, &http.Cookie{Name: CookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	c, err := r.Cookie(CookieName)
	if err != nil {
		return rpc.WriteJSON(w, struct{}{})
	}
	h.sessions.forget(c.Value)
	addr, err := h.ClientAddr(r)
	if err != nil {
		return err
	}
	if err := h.o.Auth.EndWebSession(r.Context(), &loginv1.EndWebSessionRequest{Bearer: c.Value, ClientAddr: addr.String()}); err != nil &&
		fault.KindOf(err) != fault.NotFound && fault.KindOf(err) != fault.Unauthenticated {
		return err
	}
	return rpc.WriteJSON(w, struct{}{})
}

func (h *Handler) whoAmI(w http.ResponseWriter, r *http.Request, c rpc.Caller) error {
	id := c.Identity
	ends := id.Authority.Expires // of the certificate, which the proxy renews while the session lives
	if cookie, err := r.Cookie(CookieName); err == nil {
		if t, ok := h.sessions.ends(cookie.Value); ok {
			ends = t
		}
	}
	return rpc.WriteJSON(w, sessionAnswer{User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles,
		Expires: ends.Unix(), Version: h.o.Version, Proxy: h.o.PublicAddr, Rights: h.rights(c)})
}

func (h *Handler) rights(c rpc.Caller) map[string][]string {
	out := map[string][]string{}
	for _, x := range []struct{ kind, verb string }{{types.KindToken, "create"}} {
		req := h.request(c, nil, access.ActionRule)
		req.Kind, req.Verb = x.kind, x.verb
		if access.Decide(req).Allow {
			out[x.kind] = append(out[x.kind], x.verb)
		}
	}
	return out
}

// resource is one row of the list.
type resource struct {
	Kind        string            `json:"kind"`
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Address     string            `json:"address,omitempty"`
	Tunnel      bool              `json:"tunnel"`
	Version     string            `json:"version,omitempty"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels"`
	Logins      []string          `json:"logins"`           // of an app in a cloud: roles or identities there
	Launch      string            `json:"launch,omitempty"` // path that opens an app
	Cloud       string            `json:"cloud,omitempty"`
	Type        string            `json:"type,omitempty"`  // of an app, as tsh says it
	Ports       []string          `json:"ports,omitempty"` // of a tcp app that has several: one, or first-last
	Ill         string            `json:"ill,omitempty"`   // why no agent finds that an app answers
}

// resources lists what the caller may see, with the logins that would work.
func (h *Handler) resources(w http.ResponseWriter, _ *http.Request, c rpc.Caller) error {
	items := []resource{}
	for _, n := range h.o.Policy.Nodes() {
		if !access.Decide(h.request(c, n, access.ActionList)).Allow {
			continue
		}
		logins := access.Logins(h.request(c, n, access.ActionDial))
		if logins == nil {
			logins = []string{}
		}
		items = append(items, resource{Kind: n.Kind, ID: n.Name(), Name: n.Spec.Hostname, Address: n.Spec.Addr, Tunnel: n.Spec.UseTunnel,
			Version: n.Spec.ServerVersion, Description: n.Metadata.Description, Labels: n.AllLabels(), Logins: logins})
	}
	return rpc.WriteJSON(w, map[string]any{"items": append(items, h.appRows(c)...)})
}
