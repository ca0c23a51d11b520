package types

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate implements Resource.
func (u *User) Validate() error {
	if err := u.check(KindUser, &u.Spec); err != nil {
		return err
	}
	for i, r := range u.Spec.Roles {
		if err := at(IndexPath("spec.roles", i), CheckName("role", r)); err != nil {
			return err
		}
	}
	return checkTraits("spec.traits", u.Spec.Traits)
}

func checkTraits(path string, traits map[string][]string) error {
	for name, values := range traits {
		for i, v := range values {
			p := IndexPath(JoinPath(path, name), i)
			if len(v) > maxText {
				return fieldFault(p, "is longer than %d bytes", maxText)
			}
			if name == "logins" {
				if err := at(p, CheckLogin(v)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Validate implements Resource.
func (t *Token) Validate() error {
	if t.Spec.JoinMethod == "" {
		t.Spec.JoinMethod = "token"
	}
	for i, r := range t.Spec.Roles {
		role, err := ParseSystemRole(string(r))
		if err != nil || role == RoleAdmin || role == RoleInstance {
			return fieldFault(IndexPath("spec.roles", i), "%q is not a role that a token can give", r).WithHint("roles are: Node, Proxy, Auth, App, Db, Kube, WindowsDesktop, Discovery, Bot")
		}
		t.Spec.Roles[i] = role
	}
	if err := t.check(KindToken, &t.Spec); err != nil {
		return err
	}
	if len(t.Spec.Roles) == 0 {
		return fieldFault("spec.roles", "names no role")
	}
	if slices.Contains(t.Spec.Roles, RoleBot) != (t.Spec.BotName != "") {
		return fieldFault("spec.bot_name", "goes together with the role Bot")
	}
	return oneOf("spec.join_method", t.Spec.JoinMethod, "token")
}

// ParseSystemRole reads a system role in any letter case ("node", "Node").
func ParseSystemRole(s string) (SystemRole, error) {
	for _, r := range []SystemRole{RoleAuth, RoleProxy, RoleNode, RoleKube, RoleApp, RoleDb, RoleDesktop, RoleDiscover, RoleBot, RoleInstance, RoleAdmin} {
		if strings.EqualFold(s, string(r)) {
			return r, nil
		}
	}
	return "", fieldFault("", "%q is not a system role", s)
}

// Validate implements Resource. The name is the cluster's, the sub kind the type.
func (c *CertAuthority) Validate() error {
	if c.SubKind == "" {
		c.SubKind = string(c.Spec.Type)
	}
	if err := c.check(KindCertAuthority, &c.Spec); err != nil {
		return err
	}
	if string(c.Spec.Type) != c.SubKind || c.SubKind == "" {
		return fieldFault("spec.type", "%q is not the sub kind %q", c.Spec.Type, c.SubKind)
	}
	if c.Spec.Cluster != c.Metadata.Name {
		return fieldFault("spec.cluster", "%q is not the name %q", c.Spec.Cluster, c.Metadata.Name)
	}
	if c.Spec.Phase == "" {
		c.Spec.Phase = "standby"
	}
	return firstErr(at("spec.cluster", CheckHostname(c.Spec.Cluster)),
		oneOf("spec.phase", c.Spec.Phase, "standby", "init", "update_clients", "update_servers", "rollback"))
}

// Validate implements Resource.
func (l *Lock) Validate() error {
	if err := l.check(KindLock, &l.Spec); err != nil {
		return err
	}
	if l.Spec.Target == (LockTarget{}) {
		return fieldFault("spec.target", "names nobody").WithHint("set at least one of user, role, login, mfa_device, device, server_id, windows_desktop, access_request, session")
	}
	return checkText("spec.message", l.Spec.Message)
}

// Validate implements Resource.
func (n *Node) Validate() error {
	if n.SubKind == "" {
		n.SubKind = SubKindTeleport
	}
	if err := n.check(KindNode, &n.Spec); err != nil {
		return err
	}
	if err := at("spec.hostname", CheckHostname(n.Spec.Hostname)); err != nil {
		return err
	}
	for k, c := range n.Spec.CmdLabels {
		if err := at(JoinPath("spec.cmd_labels", k), CheckLabel(k, c.Result)); err != nil {
			return err
		}
	}
	if n.SubKind != SubKindTeleport {
		if err := n.checkAgentless(); err != nil {
			return err
		}
	}
	return firstErr(checkAddr("spec.addr", n.Spec.Addr), checkAddrs("spec.public_addrs", n.Spec.PublicAddrs))
}

// checkAgentless checks what nobody announces for a server without an agent: the
// name by which its host certificate is known, and where it is dialled.
func (n *Node) checkAgentless() error {
	if !isUUID(n.Metadata.Name) {
		return fieldFault("metadata.name", "%q is not a UUID, by which a server without an agent is known", n.Metadata.Name).
			WithHint("make one with uuidgen, and sign the server's host certificate for it")
	}
	host, port, err := net.SplitHostPort(n.Spec.Addr)
	if err != nil || host == "" {
		return fieldFault("spec.addr", "%q is not the host:port of a server without an agent", n.Spec.Addr).WithHint("such as 10.0.0.9:22")
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return fieldFault("spec.addr", "%q has no port from 1 to 65535", n.Spec.Addr)
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsUnspecified() || ip.IsMulticast()) {
		return fieldFault("spec.addr", "%q is no address that a proxy could dial", n.Spec.Addr)
	}
	return nil
}

// isUUID reports whether s is a UUID as it is written: lower case, with dashes.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		if dash != (s[i] == '-') || !dash && !hex {
			return false
		}
	}
	return true
}

func checkAddrs(path string, addrs []string) error {
	for i, a := range addrs {
		if err := checkAddr(IndexPath(path, i), a); err != nil {
			return err
		}
	}
	return nil
}

// checkAddr checks host or host:port; "" passes.
func checkAddr(path, addr string) error {
	if addr == "" {
		return nil
	}
	host := addr
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	if host == "" || net.ParseIP(host) != nil {
		return nil
	}
	return at(path, CheckHostname(host))
}

// Validate implements Resource.
func (p *Proxy) Validate() error { return p.Spec.checkServer(&p.Header, KindProxy) }

// Validate implements Resource.
func (a *AuthServer) Validate() error { return a.Spec.checkServer(&a.Header, KindAuthServer) }

func (s *ServerSpec) checkServer(h *Header, kind string) error {
	if err := h.check(kind, s); err != nil {
		return err
	}
	return firstErr(at("spec.hostname", CheckHostname(s.Hostname)), checkAddr("spec.addr", s.Addr),
		checkAddrs("spec.public_addrs", s.PublicAddrs), checkAddr("spec.peer_addr", s.PeerAddr))
}

// Validate implements Resource.
func (i *Instance) Validate() error {
	if err := i.check(KindInstance, &i.Spec); err != nil {
		return err
	}
	return at("spec.hostname", CheckHostname(i.Spec.Hostname))
}

// Validate implements Resource.
func (c *ClusterName) Validate() error {
	if err := c.check(KindClusterName, &c.Spec); err != nil {
		return err
	}
	return at("spec.cluster_name", CheckHostname(c.Spec.ClusterName))
}

// Validate implements Resource. It fills the defaults.
func (p *AuthPreference) Validate() error {
	s := &p.Spec
	if len(s.SecondFactors) == 0 {
		switch s.SecondFactor {
		case "", "otp":
			s.SecondFactors = []string{"otp"}
		case "webauthn":
			s.SecondFactors = []string{"webauthn"}
		case "on":
			s.SecondFactors = []string{"otp", "webauthn"}
		default:
			return fieldFault("spec.second_factor", "%q is not possible: a second factor is always required", s.SecondFactor).WithHint("use otp, webauthn or on")
		}
		s.SecondFactor = ""
	}
	fillText(&s.Type, "local")
	fillText(&s.LockingMode, "best_effort")
	fillText(&s.SignatureAlgorithmSuite, "balanced-v1")
	fillDuration(&s.DefaultSessionTTL, DefaultSessionTTL)
	if s.AllowLocalAuth == nil {
		yes := true
		s.AllowLocalAuth = &yes
	}
	return p.check(KindAuthPreference, s)
}

// DefaultSessionTTL is the life of a user certificate where nothing else is said.
const DefaultSessionTTL = 12 * time.Hour

// Validate implements Resource. It fills the defaults.
func (n *NetworkingConfig) Validate() error {
	s := &n.Spec
	fillText(&s.RoutingStrategy, "unambiguous_match")
	fillDuration(&s.KeepAliveInterval, 5*time.Minute)
	fillDuration(&s.SSHDialTimeout, 30*time.Second)
	fillDuration(&s.ProxyPingInterval, 30*time.Second)
	if s.KeepAliveCountMax == 0 {
		s.KeepAliveCountMax = 3
	}
	if s.ProxyListenerMode < 0 || s.ProxyListenerMode > 1 {
		return fieldFault("spec.proxy_listener_mode", "wants 0 (separate) or 1 (multiplex)")
	}
	return n.check(KindNetworkingConfig, s)
}

// Validate implements Resource. It fills the defaults.
func (r *RecordingConfig) Validate() error {
	fillText(&r.Spec.Mode, "node")
	if r.Spec.ProxyChecksHostKeys == nil {
		yes := true
		r.Spec.ProxyChecksHostKeys = &yes
	}
	return r.check(KindRecordingConfig, &r.Spec)
}

func fillText(s *string, v string) {
	if *s == "" {
		*s = v
	}
}

func fillDuration(d *Duration, v time.Duration) {
	if *d == 0 {
		*d = Duration(v)
	}
}

// Validate implements Resource.
func (e *UserEpoch) Validate() error {
	if err := e.check(KindUserEpoch, &e.Spec); err != nil {
		return err
	}
	if e.Spec.NotBefore.IsZero() {
		return fieldFault("spec.not_before", "is missing")
	}
	return nil
}

// Validate implements Resource.
func (c *UserCredentials) Validate() error {
	if err := c.check(KindUserCredentials, &c.Spec); err != nil {
		return err
	}
	if p := c.Spec.Password; p != nil {
		if p.Algorithm != "argon2id" || p.Time == 0 || p.MemoryKiB == 0 || p.Threads == 0 || len(p.Salt) < 16 || p.Hash.Empty() {
			return fieldFault("spec.password", "is not a whole argon2id hash")
		}
	}
	for i, d := range c.Spec.OTP {
		if d.ID == "" || d.Secret.Empty() {
			return fieldFault(IndexPath("spec.otp", i), "needs id and secret")
		}
	}
	return nil
}

// Validate implements Resource.
func (t *UserToken) Validate() error {
	if err := t.check(KindUserToken, &t.Spec); err != nil {
		return err
	}
	if t.Spec.Purpose != PurposeInvite && t.Spec.Purpose != PurposeReset {
		return fieldFault("spec.purpose", "wants invite or reset")
	}
	if t.Spec.Expires.IsZero() {
		return fieldFault("spec.expires", "is missing")
	}
	return at("spec.user", CheckName("user", t.Spec.User))
}

// Validate implements Resource.
func (w *WebSession) Validate() error {
	if err := w.check(KindWebSession, &w.Spec); err != nil {
		return err
	}
	if len(w.Spec.SecretHash) != 32 {
		return fieldFault("spec.secret_hash", "wants 32 bytes")
	}
	if w.Spec.Expires.IsZero() {
		return fieldFault("spec.expires", "is missing")
	}
	return at("spec.user", CheckName("user", w.Spec.User))
}
