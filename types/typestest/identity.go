// Package typestest makes random but well-formed values of package types, for
// property tests of whoever turns identities into certificates and back.
package typestest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"teleport/types"
)

// Epoch is the time around which random identities live. Whole seconds, as
// certificates know no finer ones.
func Epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Identity returns a random identity of the kind, valid at Epoch. It fills only
// the fields that the kind has.
func Identity(r *rand.Rand, kind types.IdentityKind) *types.Identity {
	id := &types.Identity{Kind: kind, Cluster: "example.com", Name: word(r, "user"), IssuedAt: Epoch().Add(-time.Duration(r.IntN(600)) * time.Second)}
	id.Authority.Expires = Epoch().Add(time.Duration(1+r.IntN(86400)) * time.Second)
	if kind == types.IdentityHost {
		fillHost(r, id)
		return id
	}
	fillUser(r, id)
	if kind == types.IdentityBridge {
		id.Authority.Route, id.Authority.ProxyUUID, id.Authority.DisallowReissue = Route(r), UUID(r), true
		if coin(r) {
			id.Authority.UserExpires = id.Authority.Expires.Add(time.Duration(r.IntN(3600)) * time.Second)
		}
	}
	return id
}

func fillHost(r *rand.Rand, id *types.Identity) {
	id.Name, id.Generation = UUID(r), r.Uint64N(100)
	a := &id.Authority
	a.SystemRoles = []types.SystemRole{[]types.SystemRole{types.RoleNode, types.RoleProxy, types.RoleAuth, types.RoleDb}[r.IntN(4)]}
	a.Hostname = word(r, "host")
	a.Principals = []string{id.Name, a.Hostname, word(r, "addr")}
	if coin(r) {
		a.Scope = &types.JoinScope{Names: []string{word(r, "n") + "*"}, Labels: map[string][]string{"env": {word(r, "v")}}}
	}
}

func fillUser(r *rand.Rand, id *types.Identity) {
	a := &id.Authority
	a.Roles, a.Logins = words(r, "role", 1), words(r, "login", 0)
	if coin(r) {
		a.Traits = map[string][]string{"logins": a.Logins, "team name": words(r, "team é \"quoted\"", 1)}
	}
	if coin(r) {
		a.Usage = []string{[]string{"ssh", "kube", "db", "app", "desktop"}[r.IntN(5)]}
	}
	if coin(r) {
		a.Route = Route(r)
	}
	for range r.IntN(3) {
		a.ResourceIDs = append(a.ResourceIDs, types.ResourceID{Cluster: "example.com", Kind: types.KindNode, Name: UUID(r)})
	}
	if coin(r) {
		a.PinnedIP = Addr(r)
	}
	a.DisallowReissue, a.Renewable = coin(r), coin(r)
	a.PermitPTY, a.PermitAgent, a.PermitPortForward, a.PermitX11 = coin(r), coin(r), coin(r), coin(r)
	if coin(r) {
		id.Proofs.MFADevice = UUID(r)
	}
	if coin(r) {
		id.Proofs.DeviceID = UUID(r)
	}
	if coin(r) {
		id.Proofs.Impersonator = word(r, "bot")
	}
	if coin(r) {
		id.Proofs.AccessRequests = []string{UUID(r)}
	}
	if coin(r) {
		id.Proofs.LoginIP = Addr(r)
	}
}

// Child returns a random identity that narrows parent, which must be one that
// has children (no route, no DisallowReissue, no bridge).
func Child(r *rand.Rand, parent *types.Identity) *types.Identity {
	c := *parent
	a, p := &c.Authority, &parent.Authority
	c.IssuedAt = parent.IssuedAt.Add(time.Second)
	a.Expires = p.Expires.Add(-time.Duration(r.Int64N(max(1, int64(p.Expires.Sub(c.IssuedAt))))).Truncate(time.Second))
	a.Roles, a.Logins, a.Principals = some(r, p.Roles), some(r, p.Logins), some(r, p.Principals)
	a.SystemRoles = some(r, p.SystemRoles)
	if coin(r) {
		a.Traits = nil
	}
	if len(p.ResourceIDs) > 1 && coin(r) {
		a.ResourceIDs = p.ResourceIDs[:1]
	}
	if parent.Kind == types.IdentityUser {
		if len(p.Usage) == 0 && coin(r) {
			a.Usage = []string{"db"}
		}
		if coin(r) {
			a.Route = Route(r)
		}
		if !p.PinnedIP.IsValid() && coin(r) {
			a.PinnedIP = Addr(r)
		}
		a.DisallowReissue = coin(r)
	}
	a.Renewable, a.PermitPTY = a.Renewable && coin(r), a.PermitPTY && coin(r)
	if coin(r) {
		c.Proofs.MFADevice = ""
	}
	return &c
}

// Route returns a random route with parameters.
func Route(r *rand.Rand) *types.Route {
	rt := &types.Route{Kind: "db", Name: word(r, "db")}
	if coin(r) {
		rt.Params = map[string]string{"db_user": word(r, "u"), "db_name": word(r, "n")}
	}
	if coin(r) {
		rt.Cluster = "example.com"
	}
	return rt
}

// UUID returns a random version 4 UUID.
func UUID(r *rand.Rand) string {
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint32N(1<<12), 0x8000|r.Uint32N(1<<14), r.Uint64N(1<<48))
}

// Addr returns a random IPv4 or IPv6 address.
func Addr(r *rand.Rand) netip.Addr {
	if coin(r) {
		return netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(1 + r.IntN(250))})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	a[15] = byte(1 + r.IntN(250))
	return netip.AddrFrom16(a)
}

func coin(r *rand.Rand) bool { return r.IntN(2) == 0 }

func word(r *rand.Rand, prefix string) string { return fmt.Sprintf("%s-%d", prefix, r.IntN(1000)) }

// words returns at least min different words.
func words(r *rand.Rand, prefix string, min int) []string {
	var out []string
	for i := range min + r.IntN(3) {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

// some returns a random part of a list, nil when it is empty.
func some[T any](r *rand.Rand, list []T) []T {
	var out []T
	for _, v := range list {
		if coin(r) {
			out = append(out, v)
		}
	}
	return out
}
