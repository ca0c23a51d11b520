package tlscert

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"time"

	"teleport/cert"
	"teleport/fault"
	"teleport/types"
)

// layout splits a canonical identity into subject attributes and the JSON of the
// rest. Each attribute is an RDN of its own, so that lists keep their order.
func layout(id *types.Identity) (subject []pkix.AttributeTypeAndValue, restJSON []byte, err error) {
	add := func(oid asn1.ObjectIdentifier, v string) {
		subject = append(subject, pkix.AttributeTypeAndValue{Type: oid, Value: v})
	}
	rest := *id
	a, r := &id.Authority, &rest.Authority
	rest.Kind, rest.Name, rest.Cluster, r.Expires = "", "", "", time.Time{}
	if id.Kind == types.IdentityHost {
		add(oidCN, id.Name+"."+id.Cluster)
		for _, role := range a.SystemRoles {
			add(oidRole, string(role))
		}
		r.SystemRoles = nil
	} else {
		add(oidCN, id.Name)
		for _, role := range a.Roles {
			add(oidRole, role)
		}
		r.Roles = nil
	}
	for _, u := range a.Usage {
		add(oidUsage, usagePrefix+u)
	}
	for _, l := range a.Logins {
		add(oidLogin, l)
	}
	if a.Route != nil && a.Route.Cluster != "" {
		add(oidRoute, a.Route.Cluster)
		route := *a.Route
		route.Cluster = ""
		r.Route = &route
	}
	if len(a.Traits) > 0 {
		traits, err := json.Marshal(a.Traits)
		if err != nil {
			return nil, nil, err
		}
		add(oidTraits, string(traits))
	}
	r.Usage, r.Logins, r.Traits = nil, nil, nil
	add(oidCluster, id.Cluster)
	if id.Proofs.LoginIP.IsValid() {
		add(oidLoginIP, id.Proofs.LoginIP.String())
		rest.Proofs.LoginIP = netip.Addr{}
	}
	restJSON, err = cert.MarshalRest(&rest)
	return subject, restJSON, err
}

// read is layout's inverse, without the expiry. It trusts that the signature was
// checked, and refuses what layout does not write.
func read(subject []pkix.AttributeTypeAndValue, exts []pkix.Extension, kind types.IdentityKind) (*types.Identity, error) {
	id, err := readRest(exts, kind)
	if err != nil {
		return nil, err
	}
	id.Kind = kind
	seen := map[string]bool{}
	for _, at := range subject {
		v, ok := at.Value.(string)
		if !ok {
			return nil, fault.New(fault.Untrusted, "the subject of the certificate holds something that is not text")
		}
		single := !at.Type.Equal(oidRole) && !at.Type.Equal(oidUsage) && !at.Type.Equal(oidLogin)
		if single && seen[at.Type.String()] {
			return nil, fault.New(fault.Untrusted, "the subject of the certificate has the attribute %s twice", at.Type)
		}
		seen[at.Type.String()] = true
		if err := readAttribute(id, at.Type, v); err != nil {
			return nil, err
		}
	}
	if id.Kind == types.IdentityHost {
		name, ok := strings.CutSuffix(id.Name, "."+id.Cluster)
		if !ok || name == "" {
			return nil, fault.New(fault.Untrusted, "the host certificate does not agree with itself about its cluster")
		}
		id.Name = name
	}
	if id.Name == "" || id.Cluster == "" {
		return nil, fault.New(fault.Untrusted, "the certificate names nobody, or no cluster")
	}
	return id, nil
}

func readAttribute(id *types.Identity, oid asn1.ObjectIdentifier, v string) error {
	a := &id.Authority
	switch {
	case oid.Equal(oidCN):
		id.Name = v
	case oid.Equal(oidRole) && id.Kind == types.IdentityHost:
		a.SystemRoles = append(a.SystemRoles, types.SystemRole(v))
	case oid.Equal(oidRole):
		a.Roles = append(a.Roles, v)
	case oid.Equal(oidUsage):
		u, ok := strings.CutPrefix(v, usagePrefix)
		if !ok {
			return fault.New(fault.Untrusted, "the certificate has the usage %.60q, which is not known here", v)
		}
		a.Usage = append(a.Usage, u)
	case oid.Equal(oidLogin):
		a.Logins = append(a.Logins, v)
	case oid.Equal(oidRoute):
		if a.Route == nil || v == "" {
			return fault.New(fault.Untrusted, "the certificate routes to a cluster and names no resource")
		}
		a.Route.Cluster = v
	case oid.Equal(oidTraits):
		d := json.NewDecoder(strings.NewReader(v))
		if err := d.Decode(&a.Traits); err != nil || len(a.Traits) == 0 {
			return fault.New(fault.Untrusted, "the traits in the certificate do not parse")
		}
		if _, err := d.Token(); err != io.EOF {
			return fault.New(fault.Untrusted, "something stands behind the traits in the certificate")
		}
	case oid.Equal(oidCluster):
		id.Cluster = v
	case oid.Equal(oidLoginIP):
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return fault.New(fault.Untrusted, "the login address in the certificate does not parse")
		}
		id.Proofs.LoginIP = ip
	default:
		return fault.New(fault.Untrusted, "the subject of the certificate has the attribute %s, which is not known here", oid)
	}
	return nil
}

// readRest finds and reads the extension, exactly once, and refuses one that
// repeats what the subject carries.
func readRest(exts []pkix.Extension, kind types.IdentityKind) (*types.Identity, error) {
	var value []byte
	n := 0
	for _, e := range exts {
		if e.Id.Equal(oidIdentity) {
			value = e.Value
			n++
		}
	}
	if n != 1 {
		return nil, fault.New(fault.Untrusted, "the certificate carries %d identities, not one", n)
	}
	var raw []byte
	if left, err := asn1.Unmarshal(value, &raw); err != nil || len(left) > 0 {
		return nil, fault.New(fault.Untrusted, "the identity in the certificate does not parse")
	}
	id, err := cert.UnmarshalRest(raw)
	if err != nil {
		return nil, err
	}
	a := &id.Authority
	if id.Kind != "" || id.Name != "" || id.Cluster != "" || !a.Expires.IsZero() || id.Proofs.LoginIP.IsValid() ||
		a.Usage != nil || a.Logins != nil || a.Traits != nil || a.Route != nil && a.Route.Cluster != "" ||
		kind == types.IdentityHost && a.SystemRoles != nil || kind != types.IdentityHost && a.Roles != nil {
		return nil, fault.New(fault.Untrusted, "the certificate says a part of its identity in two places")
	}
	return id, nil
}
