package sshcert

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/fault"
	"teleport/types"
)

// Names on the wire. They never change: certificates of older versions carry them.
const (
	optSourceAddress = "source-address"

	extPTY         = "permit-pty"
	extAgent       = "permit-agent-forwarding"
	extPortForward = "permit-port-forwarding"
	extX11         = "permit-X11-forwarding"

	ours         = "teleport-"
	extRoles     = "teleport-roles"
	extTraits    = "teleport-traits"
	extRoute     = "teleport-route-to-cluster"
	extIdentity  = "teleport-identity"
	extSysRoles  = "teleport-system-roles"
	extUUID      = "teleport-host-uuid"
	extCluster   = "teleport-cluster"
	extHostname  = "teleport-hostname"
	extGen       = "teleport-generation"
	extHostScope = "teleport-scope"
)

// userExtensions and hostExtensions are the closed lists of ours; another name
// with our prefix may be a restriction of a newer version and is refused.
var (
	userExtensions = []string{extRoles, extTraits, extRoute, extIdentity}
	hostExtensions = []string{extSysRoles, extUUID, extCluster, extHostname, extGen, extHostScope, extIdentity}
)

// layout writes a canonical identity into an unsigned certificate without key.
func layout(id *types.Identity) (*ssh.Certificate, error) {
	c := &ssh.Certificate{ValidBefore: uint64(id.Authority.Expires.Unix())}
	c.Extensions = map[string]string{}
	rest := *id
	rest.Authority.Expires = time.Time{}
	var err error
	switch id.Kind {
	case types.IdentityUser, types.IdentityBridge:
		err = layoutUser(c, id, &rest)
	case types.IdentityHost:
		err = layoutHost(c, id, &rest)
	default:
		err = fault.New(fault.Invalid, "an identity of kind %q has no SSH certificate", id.Kind)
	}
	if err != nil {
		return nil, err
	}
	b, err := cert.MarshalRest(&rest)
	c.Extensions[extIdentity] = string(b)
	return c, err
}

func layoutUser(c *ssh.Certificate, id, rest *types.Identity) error {
	a, r := &id.Authority, &rest.Authority
	if len(a.Logins) == 0 {
		return fault.New(fault.Invalid, "user %q has no logins, so there is no SSH certificate for them", id.Name).
			WithHint("give one of the user's roles a login in allow.logins")
	}
	c.CertType, c.KeyId, c.ValidPrincipals = ssh.UserCert, id.Name, slices.Clone(a.Logins)
	rest.Name, r.Logins = "", nil
	for _, p := range permits(r) {
		if *p.on {
			c.Extensions[p.name] = ""
			*p.on = false
		}
	}
	if a.PinnedIP.IsValid() {
		c.CriticalOptions = map[string]string{optSourceAddress: a.PinnedIP.String()}
		r.PinnedIP = netip.Addr{}
	}
	if a.Route != nil && a.Route.Cluster != "" {
		route := *a.Route
		c.Extensions[extRoute] = route.Cluster
		route.Cluster = ""
		r.Route = &route
	}
	if err := putJSON(c, extRoles, a.Roles, len(a.Roles)); err != nil {
		return err
	}
	if err := putJSON(c, extTraits, a.Traits, len(a.Traits)); err != nil {
		return err
	}
	r.Roles, r.Traits = nil, nil
	return nil
}

func layoutHost(c *ssh.Certificate, id, rest *types.Identity) error {
	a, r := &id.Authority, &rest.Authority
	c.CertType, c.KeyId, c.ValidPrincipals = ssh.HostCert, id.Name+"."+id.Cluster, cert.HostNames(id)
	c.Extensions[extUUID], c.Extensions[extCluster] = id.Name, id.Cluster
	rest.Name, rest.Cluster = "", ""
	if len(a.SystemRoles) > 0 {
		names := make([]string, len(a.SystemRoles))
		for i, role := range a.SystemRoles {
			if strings.Contains(string(role), ",") {
				return fault.New(fault.Invalid, "%q is not a system role", role)
			}
			names[i] = string(role)
		}
		c.Extensions[extSysRoles] = strings.Join(names, ",")
		r.SystemRoles = nil
	}
	if a.Hostname != "" {
		c.Extensions[extHostname], r.Hostname = a.Hostname, ""
	}
	if id.Generation > 0 {
		c.Extensions[extGen] = strconv.FormatUint(id.Generation, 10)
		rest.Generation = 0
	}
	if a.Scope != nil {
		r.Scope = nil
		return putJSON(c, extHostScope, a.Scope, 1)
	}
	return nil
}

// read is layout's inverse. It trusts that the signature was checked.
func read(c *ssh.Certificate) (*types.Identity, error) {
	id, err := cert.UnmarshalRest([]byte(c.Extensions[extIdentity]))
	if err != nil {
		return nil, err
	}
	if !id.Authority.Expires.IsZero() {
		return nil, twice("expires")
	}
	id.Authority.Expires = time.Unix(int64(c.ValidBefore), 0).UTC()
	known := userExtensions
	if c.CertType == ssh.HostCert {
		known = hostExtensions
	}
	for name := range c.Extensions {
		if strings.HasPrefix(name, ours) && !slices.Contains(known, name) {
			return nil, fault.New(fault.Untrusted, "the SSH certificate has the extension %.60q, which is not known here", name)
		}
	}
	if c.CertType == ssh.HostCert {
		return id, readHost(c, id)
	}
	return id, readUser(c, id)
}

func readUser(c *ssh.Certificate, id *types.Identity) error {
	a := &id.Authority
	if id.Kind != types.IdentityUser && id.Kind != types.IdentityBridge {
		return fault.New(fault.Untrusted, "a user's SSH certificate holds an identity of kind %q", id.Kind)
	}
	if id.Name != "" || a.Logins != nil || a.Roles != nil || a.Traits != nil || a.PinnedIP.IsValid() ||
		a.Route != nil && a.Route.Cluster != "" || a.PermitPTY || a.PermitAgent || a.PermitPortForward || a.PermitX11 {
		return twice("user fields")
	}
	id.Name, a.Logins = c.KeyId, slices.Clone(c.ValidPrincipals)
	for _, p := range permits(a) {
		_, *p.on = c.Extensions[p.name]
	}
	if s, ok := c.CriticalOptions[optSourceAddress]; ok {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return fault.New(fault.Untrusted, "the source-address of the SSH certificate is not one address")
		}
		a.PinnedIP = addr
	}
	if s, ok := c.Extensions[extRoute]; ok {
		if a.Route == nil {
			return fault.New(fault.Untrusted, "the SSH certificate routes to a cluster and names no resource")
		}
		a.Route.Cluster = s
	}
	if err := getJSON(c, extRoles, &a.Roles); err != nil {
		return err
	}
	return getJSON(c, extTraits, &a.Traits)
}

func readHost(c *ssh.Certificate, id *types.Identity) error {
	a := &id.Authority
	if id.Kind != types.IdentityHost {
		return fault.New(fault.Untrusted, "a host's SSH certificate holds an identity of kind %q", id.Kind)
	}
	if id.Name != "" || id.Cluster != "" || id.Generation != 0 || a.SystemRoles != nil || a.Hostname != "" || a.Scope != nil {
		return twice("host fields")
	}
	id.Name, id.Cluster, a.Hostname = c.Extensions[extUUID], c.Extensions[extCluster], c.Extensions[extHostname]
	if id.Name == "" || c.KeyId != id.Name+"."+id.Cluster || c.ValidPrincipals[0] != id.Name {
		return fault.New(fault.Untrusted, "the SSH host certificate does not agree with itself about its host")
	}
	if s, ok := c.Extensions[extSysRoles]; ok {
		for _, role := range strings.Split(s, ",") {
			a.SystemRoles = append(a.SystemRoles, types.SystemRole(role))
		}
	}
	if s, ok := c.Extensions[extGen]; ok {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return fault.New(fault.Untrusted, "the generation in the SSH host certificate is not a number")
		}
		id.Generation = n
	}
	return getJSON(c, extHostScope, &a.Scope)
}

func twice(what string) error {
	return fault.New(fault.Untrusted, "the SSH certificate says its %s in two places", what)
}

type permit struct {
	name string
	on   *bool
}

func permits(a *types.Authority) []permit {
	return []permit{
		{extPTY, &a.PermitPTY}, {extAgent, &a.PermitAgent}, {extPortForward, &a.PermitPortForward}, {extX11, &a.PermitX11},
	}
}

// putJSON writes an extension unless there is nothing to say.
func putJSON(c *ssh.Certificate, name string, v any, n int) error {
	if n == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	c.Extensions[name] = string(b)
	return err
}

// getJSON reads an extension strictly; an absent one leaves v as it is.
func getJSON(c *ssh.Certificate, name string, v any) error {
	s, ok := c.Extensions[name]
	if !ok {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fault.Wrap(err, fault.Untrusted, "the extension %s of the SSH certificate does not parse", name)
	}
	if _, err := d.Token(); err != io.EOF || reflect.ValueOf(v).Elem().IsZero() {
		return fault.New(fault.Untrusted, "the extension %s of the SSH certificate is not in its one form", name)
	}
	return nil
}
