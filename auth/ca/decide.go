package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/join"
	"teleport/types"
)

// profile is how one profile decides what its certificate says.
type profile struct {
	decide func(*deciding) (*types.Identity, error)
	// narrows demands that the result is no more than the subject's certificate.
	narrows bool
	// signer is the authority that signs, where it is not the one of the
	// identity's kind: such certificates pass nowhere as a user's of the cluster.
	signer types.CAType
	// sign makes another certificate than one that carries the identity.
	sign func(*deciding, *types.Identity, *signers) (Certs, error)
}

var profiles = map[Profile]profile{
	ProfileLogin:      {decide: (*deciding).login},
	ProfileReissue:    {decide: (*deciding).reissue, narrows: true},
	ProfileWebSession: {decide: (*deciding).webSession, narrows: true},
	ProfileAppSession: {decide: (*deciding).appSession, narrows: true},
	ProfileBridge:     {decide: (*deciding).bridge, narrows: true},
	ProfileBridgeSSH:  {decide: (*deciding).bridgeSSH, narrows: true},
	ProfileOpenSSH:    {decide: (*deciding).openSSH, narrows: true, signer: types.CAOpenSSH},
	ProfileDatabase:   {decide: (*deciding).database, narrows: true, signer: types.CADBClient, sign: signDatabase},
	ProfileAppToken:   {decide: (*deciding).appToken, narrows: true, signer: types.CAJWT, sign: signAppToken},
	ProfileSignUser:   {decide: (*deciding).signUser},
	ProfileSignHost:   {decide: (*deciding).signHost},
	ProfileSignDB:     {decide: (*deciding).signHost, signer: types.CADB, sign: signDatabaseServer},
	ProfileHostJoin:   {decide: (*deciding).hostJoin},
	ProfileHostSSHD:   {decide: (*deciding).hostSSHD},
	ProfileHostRenew:  {decide: (*deciding).hostRenew},
	ProfileHostSelf:   {decide: (*deciding).hostSelf},
	ProfileAdmin:      {decide: (*deciding).admin},
}

// deciding is one request on its way to a decision.
type deciding struct {
	i      *Issuer
	ctx    context.Context
	r      Request
	now    time.Time
	parent *types.Identity // of the subject's certificate, once verified
	caller *types.Identity // the proxy that asks, once verified
}

func (d *deciding) login() (*types.Identity, error) {
	c, ok := d.r.Subject.(Ceremony)
	if !ok {
		return nil, d.wrongSubject()
	}
	if age := d.now.Sub(c.At); age < 0 || age > ceremonyAge {
		return nil, fault.New(fault.Unauthenticated, "the login is too old to be used").WithHint("log in again")
	}
	a, err := d.i.c.Policy.Account(d.ctx, c.User)
	if err != nil {
		return nil, err
	}
	id := d.userIdentity(c.User, a)
	id.Proofs = types.Proofs{MFADevice: c.MFADevice, DeviceID: c.DeviceID, LoginIP: c.LoginIP.Unmap().WithZone("")}
	if id.Authority.PinnedIP, err = pinned(a, c.LoginIP); err != nil {
		return nil, err
	}
	if d.r.Route != nil || len(d.r.Usage) > 0 {
		return nil, fault.New(fault.Invalid, "a route is asked for with the certificate of a login, not with the login")
	}
	return id, d.i.c.Policy.CheckLocks(d.ctx, id)
}

// Preview is the identity that a login of a user would certify at a moment, from
// an address where that is known. Nothing is issued and no lock is looked at: it
// is for those who ask what a decision would be.
func (i *Issuer) Preview(ctx context.Context, user string, from netip.Addr, at time.Time) (*types.Identity, error) {
	a, err := i.c.Policy.Account(ctx, user)
	if err != nil {
		return nil, err
	}
	d := &deciding{i: i, ctx: ctx, now: at}
	id := d.userIdentity(user, a)
	id.IssuedAt = at
	if id.Authority.PinnedIP, err = pinned(a, from); err != nil {
		return nil, err
	}
	return cert.Canonical(id), nil
}

// userIdentity is all that an account allows, for as long as asked and allowed.
func (d *deciding) userIdentity(user string, a Account) *types.Identity {
	fallback := a.DefaultTTL
	if fallback == 0 {
		fallback = types.DefaultSessionTTL
	}
	id := &types.Identity{Kind: types.IdentityUser, Cluster: d.i.c.Cluster, Name: user}
	id.Authority = types.Authority{
		Expires: d.expiry(fallback, maxTTL(a), a.Expires),
		Roles:   slices.Clone(a.Roles), Traits: cloneTraits(a.Traits), Logins: slices.Clone(a.Logins),
		PermitPTY: a.PermitPTY, PermitAgent: a.PermitAgent, PermitPortForward: a.PermitPortForward, PermitX11: a.PermitX11,
	}
	return id
}

func maxTTL(a Account) time.Duration {
	if a.MaxTTL > 0 {
		return a.MaxTTL
	}
	return types.DefaultMaxSessionTTL
}

// expiry is the soonest of what was asked for (or the fallback), the longest life,
// and the given moments; zero moments are no bound.
func (d *deciding) expiry(fallback, longest time.Duration, moments ...time.Time) time.Time {
	ttl := d.r.TTL
	if ttl <= 0 {
		ttl = fallback
	}
	at := d.now.Add(min(max(ttl, MinTTL), longest))
	for _, m := range moments {
		if !m.IsZero() && m.Before(at) {
			at = m
		}
	}
	return at
}

// reissue narrows the user's own certificate to what the account still allows,
// and to a usage or a route.
func (d *deciding) reissue() (*types.Identity, error) {
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	id.Authority.Expires = d.expiry(maxTTL(a), maxTTL(a), id.Authority.Expires, a.Expires)
	return id, d.restrict(id)
}

func (d *deciding) webSession() (*types.Identity, error) {
	if _, err := d.proxy(); err != nil {
		return nil, err
	}
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	id.Authority.Expires = d.expiry(WebSessionTTL, min(WebSessionTTL, maxTTL(a)), id.Authority.Expires, a.Expires)
	return id, d.restrict(id)
}

// appSession is what stands behind a browser's session with one app: the browser's
// own certificate, for that app alone. Nothing but bridges are issued from it.
func (d *deciding) appSession() (*types.Identity, error) {
	if _, err := d.proxy(); err != nil {
		return nil, err
	}
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	if d.r.Route == nil || d.r.Route.Kind != types.KindApp {
		return nil, fault.New(fault.Invalid, "the certificate of a session with an app names the app")
	}
	id.Authority.Expires = d.expiry(maxTTL(a), maxTTL(a), id.Authority.Expires, a.Expires)
	id.Authority.DisallowReissue, id.Authority.Renewable = true, false
	return id, d.restrict(id)
}

// bridge wraps a user's live certificate for one resource and one proxy. A
// certificate that has a route already is bridged to that route only.
func (d *deciding) bridge() (*types.Identity, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	if err := d.restrict(id); err != nil {
		return nil, err
	}
	if id.Authority.Route == nil {
		return nil, fault.New(fault.Invalid, "a bridge certificate names the resource that it is for")
	}
	d.carry(id, proxy, a)
	return id, nil
}

// carry makes a bridge of a user's identity that has been narrowed.
func (d *deciding) carry(id, proxy *types.Identity, a Account) {
	at := &id.Authority
	id.Kind, at.ProxyUUID, at.UserExpires = types.IdentityBridge, proxy.Name, at.Expires
	at.DisallowReissue, at.Renewable = true, false
	if !a.Expires.IsZero() && a.Expires.Before(at.UserExpires) {
		at.UserExpires = a.Expires
	}
	at.Expires = d.expiry(BridgeTTL, BridgeTTL, at.UserExpires)
}

// bridgeSSH lets a proxy that ends a user's SSH go on to one node as one login,
// for a user whose live certificate it shows. What it opens there is the user's:
// the node decides about them, and hears from the certificate who records.
func (d *deciding) bridgeSSH() (*types.Identity, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	id, a, err := d.atOneNode("a bridge for SSH")
	if err != nil {
		return nil, err
	}
	at := &id.Authority
	if d.r.Login == types.JoinLogin {
		at.Logins = []string{types.JoinLogin} // which starts nothing
	} else if at.Logins = intersect([]string{d.r.Login}, at.Logins); len(at.Logins) == 0 {
		return nil, fault.New(fault.Denied, "user %q has no login %.60q", id.Name, d.r.Login)
	}
	d.carry(id, proxy, a)
	return id, nil
}

// atOneNode narrows the user's certificate to the node of the request, for an SSH
// key; what names the certificate.
func (d *deciding) atOneNode(what string) (*types.Identity, Account, error) {
	id, a, err := d.narrowed()
	if err != nil {
		return nil, Account{}, err
	}
	if d.r.Route == nil || d.r.Route.Kind != types.KindNode || d.r.Keys.SSH == nil || d.r.Keys.TLS != nil {
		return nil, Account{}, fault.New(fault.Invalid, "%s is for one SSH key and one node", what)
	}
	return id, a, d.restrict(id)
}

// openSSH lets a proxy enter one server without an agent as one login, for a user
// whose live certificate it shows. Stock servers know no routes: what bounds the certificate
// there is its login, its few minutes, and the key that never leaves the proxy.
func (d *deciding) openSSH() (*types.Identity, error) {
	if _, err := d.proxy(); err != nil {
		return nil, err
	}
	id, a, err := d.atOneNode("an openssh certificate")
	if err != nil {
		return nil, err
	}
	at := &id.Authority
	if at.Logins = intersect([]string{d.r.Login}, at.Logins); len(at.Logins) == 0 {
		return nil, fault.New(fault.Denied, "user %q has no login %.60q", id.Name, d.r.Login)
	}
	at.DisallowReissue, at.Renewable, at.PermitX11 = true, false, false
	at.Expires = d.expiry(OpenSSHTTL, OpenSSHTTL, at.Expires, a.Expires)
	return id, nil
}

// narrowed verifies the subject's certificate and cuts it down to what the account
// allows now.
func (d *deciding) narrowed() (*types.Identity, Account, error) {
	kinds := []types.IdentityKind{types.IdentityUser}
	if d.r.Profile == ProfileDatabase || d.r.Profile == ProfileAppToken {
		kinds = append(kinds, types.IdentityBridge)
	}
	p, err := d.certificate(kinds...)
	if err != nil {
		return nil, Account{}, err
	}
	route := p.Authority.Route != nil
	if (p.Authority.DisallowReissue || route) && !slices.Contains([]Profile{ProfileBridge, ProfileBridgeSSH, ProfileDatabase, ProfileAppToken}, d.r.Profile) {
		return nil, Account{}, fault.New(fault.Denied, "this certificate is for one use and issues no other").
			WithHint("ask with the certificate of the login")
	}
	if pin := p.Authority.PinnedIP; pin.IsValid() && d.r.Addr.Addr().Unmap().WithZone("") != pin.Unmap().WithZone("") {
		return nil, Account{}, fault.New(fault.Denied, "this certificate may be used only from the address of its login").WithHint("log in again")
	}
	a, err := d.i.c.Policy.Account(d.ctx, p.Name)
	if err != nil {
		return nil, Account{}, err
	}
	if p.IssuedAt.Before(a.LoginAfter) {
		return nil, Account{}, fault.New(fault.Unauthenticated, "the account of user %q was reset after this certificate was issued", p.Name).
			WithHint("log in again")
	}
	id := cloneIdentity(p)
	at := &id.Authority
	at.Roles = intersect(at.Roles, a.Roles)
	at.Logins = intersect(at.Logins, a.Logins)
	for name, values := range at.Traits {
		if at.Traits[name] = intersect(values, a.Traits[name]); len(at.Traits[name]) == 0 {
			delete(at.Traits, name)
		}
	}
	at.PermitPTY = at.PermitPTY && a.PermitPTY
	at.PermitAgent = at.PermitAgent && a.PermitAgent
	at.PermitPortForward = at.PermitPortForward && a.PermitPortForward
	at.PermitX11 = at.PermitX11 && a.PermitX11
	if a.PinIP && !at.PinnedIP.IsValid() {
		if at.PinnedIP, err = pinned(a, p.Proofs.LoginIP); err != nil {
			return nil, Account{}, err
		}
	}
	return id, a, nil
}

// restrict adds the usage and the route that were asked for.
func (d *deciding) restrict(id *types.Identity) error {
	a := &id.Authority
	if len(d.r.Usage) > 0 {
		if len(a.Usage) > 0 && len(intersect(d.r.Usage, a.Usage)) != len(d.r.Usage) {
			return fault.New(fault.Denied, "the certificate that asks is restricted to another usage")
		}
		a.Usage = slices.Clone(d.r.Usage)
	}
	if r := d.r.Route; r != nil {
		if r.Kind == "" || r.Name == "" {
			return fault.New(fault.Invalid, "a route names a kind and a resource")
		}
		if a.Route != nil && !sameRoute(a.Route, r) {
			return fault.New(fault.Denied, "the certificate that asks is for another resource")
		}
		a.Route = &types.Route{Cluster: r.Cluster, Kind: r.Kind, Name: r.Name, Params: maps.Clone(r.Params)}
	}
	return nil
}

// proxy verifies the caller's own certificate: a live host of role Proxy.
func (d *deciding) proxy() (*types.Identity, error) {
	p, err := d.processOf(types.RoleProxy)
	d.caller = p
	return p, err
}

// processOf verifies the caller's own certificate: a live host of a role.
func (d *deciding) processOf(role types.SystemRole) (*types.Identity, error) {
	p, err := tlscert.Verify(d.r.Caller, d.i.c.Trust(), d.now, types.IdentityHost)
	if err != nil {
		return nil, err
	}
	if p.Cluster != d.i.c.Cluster || !p.HasSystemRole(role) {
		return nil, fault.New(fault.Denied, "only a process of this cluster with the role %s may ask for this certificate", role)
	}
	return p, d.i.c.Policy.CheckLocks(d.ctx, p)
}

// certificate verifies the subject's own certificate of one of the kinds and notes
// it as the parent.
func (d *deciding) certificate(kinds ...types.IdentityKind) (*types.Identity, error) {
	id, err := d.verify(kinds...)
	if err != nil {
		return nil, err
	}
	if id.Cluster != d.i.c.Cluster {
		return nil, fault.New(fault.Denied, "identities of cluster %q get their certificates there", id.Cluster)
	}
	d.parent = id
	return id, d.i.c.Policy.CheckLocks(d.ctx, id)
}

// verify reads the identity of the subject's certificate. An SSH certificate is
// all that a proxy has of a user whose SSH it ends, and is good for that alone.
func (d *deciding) verify(kinds ...types.IdentityKind) (*types.Identity, error) {
	bySSH := d.r.Profile == ProfileOpenSSH || d.r.Profile == ProfileBridgeSSH
	switch c := d.r.Subject.(type) {
	case Certificate:
		if !bySSH {
			return tlscert.Verify(c.Chain, d.i.c.Trust(), d.now, kinds...)
		}
	case SSHCertificate:
		if bySSH {
			return sshcert.Verify(c.Cert, d.i.c.Trust(), kinds[0], d.now)
		}
	}
	return nil, d.wrongSubject()
}

func (d *deciding) wrongSubject() error {
	return fault.New(fault.Denied, "profile %s is not issued to this sort of credential", d.r.Profile)
}

func (d *deciding) signUser() (*types.Identity, error) {
	admin, err := d.localAdmin()
	if err != nil {
		return nil, err
	}
	a, err := d.i.c.Policy.Account(d.ctx, d.r.User)
	if err != nil {
		return nil, err
	}
	id := d.userIdentity(d.r.User, a)
	if a.PinIP {
		return nil, fault.New(fault.Denied, "a role of user %q demands a pinned address, which a signed certificate cannot have", d.r.User)
	}
	id.Proofs.Impersonator = admin.Name + "." + admin.Cluster
	return id, d.i.c.Policy.CheckLocks(d.ctx, id)
}

// signHost is for OpenSSH servers: names, and no system role.
func (d *deciding) signHost() (*types.Identity, error) {
	if _, err := d.localAdmin(); err != nil {
		return nil, err
	}
	h := d.r.Host
	if len(h.SystemRoles) > 0 || h.UUID != "" || h.Hostname == "" && len(h.Principals) == 0 {
		return nil, fault.New(fault.Invalid, "a signed host certificate names at least one host and no system role")
	}
	h.UUID = uuid.NewString()
	// A server without an agent is known by the UUID of its node.
	names := append([]string{h.Hostname}, h.Principals...)
	isUUID := func(name string) bool { u, err := uuid.Parse(name); return err == nil && u.String() == name }
	if i := slices.IndexFunc(names, isUUID); i >= 0 {
		h.UUID = names[i]
	}
	return d.host(h, d.expiry(SignHostTTL, 10*SignHostTTL)), nil
}

func (d *deciding) localAdmin() (*types.Identity, error) {
	id, err := d.certificate(types.IdentityHost)
	if err != nil {
		return nil, err
	}
	if !id.HasSystemRole(types.RoleAdmin) {
		return nil, fault.New(fault.Denied, "only the local administrator may sign for others").
			WithHint("run tctl on the auth host, as a user who may read its data directory")
	}
	return id, nil
}

// hostJoin certifies a process that the join gate admitted.
func (d *deciding) hostJoin() (*types.Identity, error) {
	admission, err := d.admission()
	if err != nil {
		return nil, err
	}
	claims := admission.Claims()
	h := d.r.Host
	switch {
	case claims.HostID != "":
		h.UUID = claims.HostID
	case h.UUID == "":
		h.UUID = uuid.NewString()
	default:
		if u, err := uuid.Parse(h.UUID); err != nil || u.String() != h.UUID {
			return nil, fault.New(fault.Invalid, "%.60q is not a host UUID", h.UUID).WithHint("remove host_uuid from the data directory")
		}
	}
	h.SystemRoles = admission.Roles()
	id := d.host(h, d.expiry(d.i.c.HostTTL, d.i.c.HostTTL))
	id.Authority.Scope, id.Authority.Renewable = admission.Scope(), claims.Renewable
	if err := checkScope(id); err != nil {
		return nil, err
	}
	if err := d.i.c.Policy.CheckLocks(d.ctx, id); err != nil {
		return nil, err
	}
	id.Generation, err = d.i.c.Generations.Start(d.ctx, d.holder(id), d.now, claims.HostID != "")
	return id, err
}

// admission is what the join gate granted a moment ago.
func (d *deciding) admission() (*join.Admission, error) {
	j, ok := d.r.Subject.(Joined)
	if !ok || !j.Admission.Valid() {
		return nil, d.wrongSubject()
	}
	if age := d.now.Sub(j.Admission.At()); age < 0 || age > ceremonyAge {
		return nil, fault.New(fault.Unauthenticated, "the admission is too old to be used")
	}
	return j.Admission, nil
}

// hostSSHD certifies the host key of a stock SSH server that the join gate
// admitted: its names, and no system role, so that the certificate opens nothing.
// Nothing renews it; joining again does. Its UUID follows from the key, so that
// nobody takes the place of a server whose key they do not have.
func (d *deciding) hostSSHD() (*types.Identity, error) {
	admission, err := d.admission()
	if err != nil {
		return nil, err
	}
	h := d.r.Host
	if d.r.Keys.SSH == nil || d.r.Keys.TLS != nil || len(h.SystemRoles) > 0 || h.UUID != join.SSHDUUID(d.r.Keys.SSH) {
		return nil, fault.New(fault.Invalid, "the certificate of an SSH server is for its host key and the UUID of that key")
	}
	id := d.host(h, d.expiry(SignHostTTL, SignHostTTL))
	id.Authority.Scope = admission.Scope()
	if err := checkScope(id); err != nil {
		return nil, err
	}
	if err := d.i.c.Policy.CheckLocks(d.ctx, id); err != nil {
		return nil, err
	}
	// Counted, so that no process joins under this UUID.
	id.Generation, err = d.i.c.Generations.Start(d.ctx, d.holder(id), d.now, false)
	return id, err
}

// checkScope holds the names of a host certificate to the scope of its token.
func checkScope(id *types.Identity) error {
	names := id.Authority.Principals
	if id.Authority.Hostname != "" {
		names = append([]string{id.Authority.Hostname}, names...)
	}
	for _, n := range names {
		if !join.CoversName(id.Authority.Scope, n) {
			return fault.New(fault.Denied, "the join token of this host does not allow the name %.80q", n)
		}
	}
	return nil
}

func (d *deciding) holder(id *types.Identity) Holder {
	return Holder{HostUUID: id.Name, KeyHash: keyHash(d.r.Keys), Expires: id.Authority.Expires}
}

// hostRenew replaces a host's certificates. UUID, roles and scope stay; names are
// what the process says now.
func (d *deciding) hostRenew() (*types.Identity, error) {
	p, err := d.certificate(types.IdentityHost)
	if err != nil {
		return nil, err
	}
	if !p.Authority.Renewable {
		return nil, fault.New(fault.Unauthenticated, "the certificate of %s is not renewable", p).WithHint("join again")
	}
	h := d.r.Host
	h.UUID, h.SystemRoles = p.Name, p.Authority.SystemRoles
	id := d.host(h, d.expiry(d.i.c.HostTTL, d.i.c.HostTTL))
	id.Authority.Scope, id.Authority.Renewable = p.Authority.Scope, true
	if err := checkScope(id); err != nil {
		// Not Denied: that tells the host that it is put out. It only has to mend its names.
		return nil, fault.New(fault.Invalid, "%s", fault.Message(err)).WithHint("change its nodename or public_addr back, or join again with another token")
	}
	id.Generation, err = d.i.c.Generations.Advance(d.ctx, d.holder(id), p.Generation)
	return id, err
}

// hostSelf certifies the auth process itself.
func (d *deciding) hostSelf() (*types.Identity, error) {
	if _, ok := d.r.Subject.(Process); !ok {
		return nil, d.wrongSubject()
	}
	if !slices.Contains(d.r.Host.SystemRoles, types.RoleAuth) || slices.Contains(d.r.Host.SystemRoles, types.RoleAdmin) {
		return nil, fault.New(fault.Internal, "only an auth process certifies itself, and never as administrator")
	}
	id := d.host(d.r.Host, d.expiry(d.i.c.HostTTL, d.i.c.HostTTL))
	if d.r.Keys.SSH == nil {
		// The listener's own certificate: auth makes a new one when it wants one. If
		// it took part in the count, the process's renewal would look like a clone's.
		return id, nil
	}
	id.Authority.Renewable = true // by the ordinary way, as long as it runs
	var err error
	id.Generation, err = d.i.c.Generations.Start(d.ctx, d.holder(id), d.now, true)
	return id, err
}

func (d *deciding) admin() (*types.Identity, error) {
	if _, ok := d.r.Subject.(Process); !ok {
		return nil, d.wrongSubject()
	}
	h := Host{UUID: d.r.Host.UUID, Hostname: d.r.Host.Hostname, SystemRoles: []types.SystemRole{types.RoleAdmin}}
	return d.host(h, d.expiry(AdminTTL, AdminTTL)), nil
}

func (d *deciding) host(h Host, expires time.Time) *types.Identity {
	return &types.Identity{
		Kind: types.IdentityHost, Cluster: d.i.c.Cluster, Name: h.UUID,
		Authority: types.Authority{
			Expires: expires, SystemRoles: slices.Clone(h.SystemRoles), Hostname: h.Hostname, Principals: slices.Clone(h.Principals),
		},
	}
}

// keyHash names the keys that a host asks for, so that a repeated renewal is told
// from a second holder.
func keyHash(k Keys) []byte {
	h := sha256.New()
	if k.SSH != nil {
		h.Write(k.SSH.Marshal())
	}
	if k.TLS != nil {
		if der, err := x509.MarshalPKIXPublicKey(k.TLS); err == nil {
			h.Write(der)
		}
	}
	return h.Sum(nil)
}
