// Package certtest makes authorities, keys and identities for tests of everything
// that handles certificates: worlds with fresh CAs, random identities that fill
// every field, and the fixed ones of the frozen certificates. Its keys protect
// nothing.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/keys"
	"teleport/types"
)

// World is a cluster's set of authorities with their private keys.
type World struct {
	Cluster     string
	SSH, TLS    map[types.CAType]crypto.Signer
	Certs       map[types.CAType]*x509.Certificate
	JWT         crypto.Signer
	Authorities []*types.CertAuthority
	Trust       *cert.Trust
}

// New makes a world with fresh keys.
func New(t testing.TB, cluster string, now time.Time) *World {
	t.Helper()
	return build(t, cluster, now, func(string) (ed25519.PrivateKey, *ecdsa.PrivateKey) {
		a, err := keys.Generate(keys.Ed25519)
		must(t, err)
		b, err := keys.Generate(keys.ECDSAP256)
		must(t, err)
		return a.(ed25519.PrivateKey), b.(*ecdsa.PrivateKey)
	})
}

func build(t testing.TB, cluster string, now time.Time, gen func(name string) (ed25519.PrivateKey, *ecdsa.PrivateKey)) *World {
	t.Helper()
	w := &World{
		Cluster: cluster, SSH: map[types.CAType]crypto.Signer{}, TLS: map[types.CAType]crypto.Signer{}, Certs: map[types.CAType]*x509.Certificate{},
	}
	for _, ca := range []types.CAType{types.CAUser, types.CAHost, types.CADBClient} {
		sshKey, tlsKey := gen(string(ca))
		line, err := keys.MarshalSSHPublic(sshKey.Public())
		must(t, err)
		pem, err := tlscert.NewAuthority(tlsKey, ca, cluster, now)
		must(t, err)
		w.Certs[ca], err = cert.ParseAuthority(pem)
		must(t, err)
		w.SSH[ca], w.TLS[ca] = sshKey, tlsKey
		w.Authorities = append(w.Authorities, Authority(ca, cluster, types.CAKeys{SSHPublic: line, TLSCert: string(pem)}))
	}
	_, w.JWT = func() (int, crypto.Signer) { _, k := gen("jwt"); return 0, k }()
	pem, err := keys.MarshalPublic(w.JWT.Public())
	must(t, err)
	w.Authorities = append(w.Authorities, Authority(types.CAJWT, cluster, types.CAKeys{JWTPublic: string(pem)}))
	w.Trust, err = cert.NewTrust(w.Authorities)
	must(t, err)
	return w
}

// Authority makes a document.
func Authority(ca types.CAType, cluster string, active types.CAKeys) *types.CertAuthority {
	return &types.CertAuthority{
		Header: types.Header{Kind: types.KindCertAuthority, SubKind: string(ca), Version: "v2", Metadata: types.Metadata{Name: cluster}},
		Spec:   types.CertAuthoritySpec{Type: ca, Cluster: cluster, Phase: "standby", Active: active},
	}
}

// Key makes a P-256 key.
func Key(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := keys.Generate(keys.ECDSAP256)
	must(t, err)
	return k
}

// SSHKey makes the public half of an SSH key.
func SSHKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	k, err := keys.Generate(keys.Ed25519)
	must(t, err)
	pub, err := keys.NewSSHPublic(k.Public())
	must(t, err)
	return pub
}

// User is an ordinary user's identity, valid for 12 hours.
func User(name, cluster string, now time.Time) *types.Identity {
	return &types.Identity{
		Kind: types.IdentityUser, Cluster: cluster, Name: name, IssuedAt: now,
		Authority: types.Authority{Expires: now.Add(12 * time.Hour), Roles: []string{"access"}, Logins: []string{"root", "alice"}, PermitPTY: true},
	}
}

// HostUUID is the UUID of Host.
const HostUUID = "5f3c8a1e-9f0d-4f5e-8a57-0d6a3f1b2c4d"

// Host is a process's identity, valid for 24 hours.
func Host(cluster string, now time.Time, roles ...types.SystemRole) *types.Identity {
	return &types.Identity{
		Kind: types.IdentityHost, Cluster: cluster, Name: HostUUID, IssuedAt: now,
		Authority: types.Authority{Expires: now.Add(24 * time.Hour), SystemRoles: roles, Hostname: "web-1", Renewable: true},
	}
}

// Random makes an identity of a kind with random content: each field that the
// kind may carry is filled with a chance of two in three.
func Random(seed uint64, kind types.IdentityKind, cluster string, now time.Time) *types.Identity {
	r := rand.New(rand.NewPCG(seed, 7))
	id := new(types.Identity)
	fill(r, reflect.ValueOf(id).Elem())
	id.Kind, id.Cluster, id.IssuedAt = kind, cluster, now
	if id.Name == "" {
		id.Name = "somebody"
	}
	a := &id.Authority
	a.Expires = now.Add(time.Minute + time.Duration(r.IntN(8*60))*time.Second)
	if kind == types.IdentityHost {
		keep := *id
		id.Proofs = types.Proofs{}
		id.Name = HostUUID
		id.Authority = types.Authority{
			Expires: a.Expires, SystemRoles: keep.Authority.SystemRoles, Hostname: "h" + fmt.Sprint(r.IntN(100)), Principals: []string{"p.example.org", "10.0.0.7"},
			Scope: keep.Authority.Scope, Renewable: keep.Authority.Renewable, DisallowReissue: keep.Authority.DisallowReissue, PinnedIP: keep.Authority.PinnedIP,
		}
		return id
	}
	a.SystemRoles, a.Hostname, a.Principals, a.Scope, a.ProxyUUID = nil, "", nil, nil, ""
	if len(a.Logins) == 0 {
		a.Logins = []string{"nobody"}
	}
	if kind == types.IdentityBridge {
		a.ProxyUUID, a.DisallowReissue, a.Renewable = HostUUID, true, false
		if a.Route == nil {
			a.Route = &types.Route{Kind: "app", Name: "wiki"}
		}
		if r.IntN(2) == 0 {
			a.UserExpires = a.Expires.Add(time.Duration(r.IntN(3600)) * time.Second)
		}
	}
	return id
}

var words = []string{"a", "access", "editor", "db-admin", "x y", "ä ö", "日本", "user@example.com", `q"uote`, "back\\slash", "<tag>&", "comma,less"}

func word(r *rand.Rand) string { return words[r.IntN(len(words)-1)] + fmt.Sprint(r.IntN(1000)) }

func fill(r *rand.Rand, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		return
	case *netip.Addr:
		if r.IntN(3) > 0 {
			*x = netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), 0, 1})
			if r.IntN(2) == 0 {
				*x = netip.MustParseAddr("2001:db8::7")
			}
		}
		return
	}
	if v.Kind() != reflect.Struct && r.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(word(r))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(r.Uint64())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem())
	case reflect.Slice:
		for range 1 + r.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(r, e)
			if e.Kind() == reflect.String && e.Len() == 0 {
				e.SetString(word(r))
			}
			v.Set(reflect.Append(v, e))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + r.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(r, e)
			v.SetMapIndex(reflect.ValueOf(word(r)), e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	default:
		panic("certtest: a field of kind " + v.Kind().String() + " is not filled")
	}
}

// Note marks which fields of an identity were set, by their JSON path.
func Note(seen map[string]bool, id *types.Identity) { walk(seen, "", reflect.ValueOf(*id), true) }

func walk(seen map[string]bool, path string, v reflect.Value, mark bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := strings.TrimPrefix(path+"."+name, ".")
		if f.Tag.Get("narrow") == "struct" {
			walk(seen, p, v.Field(i), mark)
			continue
		}
		seen[p] = seen[p] || mark && !v.Field(i).IsZero()
	}
}

// AllSeen fails when a field of Identity was never set, other than the named ones.
func AllSeen(t testing.TB, seen map[string]bool, except ...string) {
	t.Helper()
	walk(seen, "", reflect.ValueOf(types.Identity{}), false)
	for _, e := range except {
		delete(seen, e)
	}
	for path, ok := range seen {
		if !ok {
			t.Errorf("no identity of this test had the field %s", path)
		}
	}
}

// FrozenTime is when the frozen certificates were made.
var FrozenTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// FrozenCluster is their cluster.
const FrozenCluster = "frozen.example.com"

// frozenKeys derives test keys from names: the same for ever.
func frozenKeys(t testing.TB, name string) (ed25519.PrivateKey, *ecdsa.PrivateKey) {
	t.Helper()
	seed := sha256.Sum256([]byte("frozen test key " + name))
	d := new(big.Int).SetBytes(seed[:])
	d.Mod(d, elliptic.P256().Params().N)
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	must(t, err)
	return ed25519.NewKeyFromSeed(seed[:]), k
}

// FrozenWorld is the world that signed the frozen certificates.
func FrozenWorld(t testing.TB) *World {
	t.Helper()
	return build(t, FrozenCluster, FrozenTime, func(name string) (ed25519.PrivateKey, *ecdsa.PrivateKey) { return frozenKeys(t, name) })
}

// FrozenTrust trusts the frozen certificates. CA certificates are made anew from
// the fixed keys: only their keys matter.
func FrozenTrust(t testing.TB) *cert.Trust { return FrozenWorld(t).Trust }

// FrozenSSHKey is the certified SSH key.
func FrozenSSHKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	k, _ := frozenKeys(t, "subject")
	pub, err := keys.NewSSHPublic(k.Public())
	must(t, err)
	return pub
}

// FrozenTLSKey is the certified TLS key.
func FrozenTLSKey(t testing.TB) crypto.PublicKey {
	t.Helper()
	_, k := frozenKeys(t, "subject")
	return k.Public()
}

// FrozenIdentity is the identity of the frozen certificate of a kind.
func FrozenIdentity(kind types.IdentityKind) *types.Identity {
	id := &types.Identity{Kind: kind, Cluster: FrozenCluster, Name: "alice@example.com", IssuedAt: FrozenTime}
	if kind == types.IdentityHost {
		id.Name, id.Generation = HostUUID, 3
		id.Authority = types.Authority{
			Expires: FrozenTime.Add(24 * time.Hour), SystemRoles: []types.SystemRole{types.RoleNode, types.RoleProxy}, Hostname: "web-1",
			Principals: []string{"web.example.org", "192.0.2.7"}, Renewable: true,
			Scope: &types.JoinScope{Names: []string{"web*", "192.0.2.*"}, Labels: map[string][]string{"env": {"prod"}}},
		}
		return id
	}
	id.Authority = types.Authority{
		Expires: FrozenTime.Add(5 * time.Minute), Roles: []string{"access", "editor"}, Traits: map[string][]string{"logins": {"root"}, "팀": {"보안"}},
		Logins: []string{"root", "alice"}, Usage: []string{"db"}, DisallowReissue: true, PermitPTY: true, PermitPortForward: true,
		Route:       &types.Route{Cluster: "leaf.example.com", Kind: "database", Name: "pg", Params: map[string]string{"db_user": "app"}},
		ResourceIDs: []types.ResourceID{{Cluster: FrozenCluster, Kind: "node", Name: "n1"}}, PinnedIP: netip.MustParseAddr("198.51.100.4"),
	}
	id.Proofs = types.Proofs{MFADevice: "dev-1", AccessRequests: []string{"req-1"}, DeviceID: "d-1", LoginIP: netip.MustParseAddr("198.51.100.4")}
	if kind == types.IdentityBridge {
		id.Authority.ProxyUUID = HostUUID
	}
	return id
}

// Update reports whether frozen files that do not exist yet are to be written:
// CERTTEST_UPDATE is set. Existing ones are never written again.
func Update() bool { return os.Getenv("CERTTEST_UPDATE") != "" }

// WriteFile writes a frozen file unless it exists.
func WriteFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return
	}
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, b, 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
