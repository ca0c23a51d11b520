package cert

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"teleport/fault"
	"teleport/types"
)

// ClockSkew is how far certificates are back-dated, so that a peer whose clock is
// a little behind accepts them at once.
const ClockSkew = time.Minute

// Longest validity of each kind, from issue to expiry. Profiles of the auth
// service are far below; these bounds hold whatever signed.
const (
	MaxUserValidity   = 366 * 24 * time.Hour
	MaxHostValidity   = 10 * 366 * 24 * time.Hour
	MaxBridgeValidity = 10 * time.Minute
)

// Bounds of names and lists in a certificate.
const (
	maxName = 255
	maxList = 1000
)

// MaxValidity returns the bound of a kind, zero for an unknown one.
func MaxValidity(k types.IdentityKind) time.Duration {
	switch k {
	case types.IdentityUser:
		return MaxUserValidity
	case types.IdentityHost:
		return MaxHostValidity
	case types.IdentityBridge:
		return MaxBridgeValidity
	}
	return 0
}

// AuthorityFor returns the authority that signs certificates of a kind.
func AuthorityFor(k types.IdentityKind) (types.CAType, error) {
	switch k {
	case types.IdentityUser:
		return types.CAUser, nil
	case types.IdentityHost, types.IdentityBridge:
		return types.CAHost, nil
	}
	return "", fault.New(fault.Invalid, "no authority signs for identities of kind %q", k)
}

// Canonical returns a deep copy in the one form that certificates carry: times in
// UTC, expiry in whole seconds, empty lists absent. What Verify returns equals
// the canonical form of what was signed.
func Canonical(id *types.Identity) *types.Identity {
	c := deepCopy(reflect.ValueOf(*id)).Interface().(types.Identity)
	c.Authority.Expires = c.Authority.Expires.UTC().Truncate(time.Second)
	c.Authority.UserExpires = c.Authority.UserExpires.UTC().Truncate(time.Second)
	c.IssuedAt = c.IssuedAt.UTC().Round(0)
	return &c
}

// deepCopy copies plain data; empty slices and maps become nil.
func deepCopy(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(deepCopy(v.Elem()))
		}
	case reflect.Slice:
		for i := range v.Len() {
			out.Set(reflect.Append(out, deepCopy(v.Index(i))))
		}
	case reflect.Map:
		if v.Len() > 0 {
			out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for it := v.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), deepCopy(it.Value()))
			}
		}
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
	default:
		out.Set(v)
	}
	return out
}

// Lint checks a canonical identity before it is signed: the fields that its kind
// may carry and no others, names that cannot be confused, a life within bounds.
// The issuer runs it, and so does every Sign, so that no path avoids it.
func Lint(id *types.Identity, now time.Time) error {
	if id == nil {
		return fault.New(fault.Invalid, "no identity to sign")
	}
	if err := lintNames(id); err != nil {
		return err
	}
	if err := lintTimes(id, now); err != nil {
		return err
	}
	if ip := id.Authority.PinnedIP; ip.Is4In6() || ip.Zone() != "" {
		return fault.New(fault.Invalid, "the pinned address %s is not in its plain form", ip)
	}
	switch id.Kind {
	case types.IdentityUser:
		return lintUser(id)
	case types.IdentityHost:
		return lintHost(id)
	case types.IdentityBridge:
		return lintBridge(id)
	}
	return fault.New(fault.Invalid, "unknown identity kind %q", id.Kind)
}

func lintTimes(id *types.Identity, now time.Time) error {
	life := id.Authority.Expires.Sub(id.IssuedAt)
	switch {
	case id.IssuedAt.IsZero() || id.IssuedAt.After(now) || now.Sub(id.IssuedAt) > ClockSkew:
		return fault.New(fault.Invalid, "the issue time of the certificate is not now")
	case !id.Authority.Expires.After(now):
		return fault.New(fault.Invalid, "the certificate would be expired when issued")
	case life > MaxValidity(id.Kind):
		return fault.New(fault.Invalid, "a %s certificate of %s is longer than the bound of %s", id.Kind, life, MaxValidity(id.Kind))
	}
	return nil
}

func lintNames(id *types.Identity) error {
	a := &id.Authority
	names := map[string][]string{
		"name": {id.Name}, "cluster": {id.Cluster}, "role": a.Roles, "login": a.Logins, "usage": a.Usage, "principal": a.Principals,
	}
	if a.Hostname != "" {
		names["hostname"] = []string{a.Hostname}
	}
	for _, r := range a.SystemRoles {
		names["system role"] = append(names["system role"], string(r))
	}
	for what, list := range names {
		if len(list) > maxList {
			return fault.New(fault.Limit, "a certificate carries at most %d entries of kind %s", maxList, what)
		}
		for _, n := range list {
			if err := checkName(n); err != nil {
				return fault.New(fault.Invalid, "the %s %.80q %s", what, n, err)
			}
		}
	}
	if !wholeUTF8(reflect.ValueOf(*id)) {
		return fault.New(fault.Invalid, "the identity holds text that is not UTF-8")
	}
	return nil
}

type nameError string

func (e nameError) Error() string { return string(e) }

// checkName is the last bound before a signature; what a user name or a login
// may be is decided at the edge, more narrowly.
func checkName(n string) error {
	switch {
	case n == "":
		return nameError("is empty")
	case len(n) > maxName:
		return nameError("is too long")
	case strings.TrimSpace(n) != n:
		return nameError("starts or ends with white space")
	}
	for _, r := range n {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return nameError("holds a character that does not print")
		}
	}
	return nil
}

func wholeUTF8(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer:
		return v.IsNil() || wholeUTF8(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if !wholeUTF8(v.Index(i)) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !wholeUTF8(it.Key()) || !wholeUTF8(it.Value()) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && !wholeUTF8(v.Field(i)) {
				return false
			}
		}
	}
	return true
}

func lintUser(id *types.Identity) error {
	a := &id.Authority
	if len(a.SystemRoles) > 0 || a.Hostname != "" || len(a.Principals) > 0 || a.Scope != nil || a.ProxyUUID != "" || !a.UserExpires.IsZero() {
		return fault.New(fault.Invalid, "a user certificate must not carry what belongs to hosts")
	}
	return nil
}

func lintBridge(id *types.Identity) error {
	a := &id.Authority
	if len(a.SystemRoles) > 0 || a.Hostname != "" || len(a.Principals) > 0 || a.Scope != nil {
		return fault.New(fault.Invalid, "a bridge certificate must not carry what belongs to hosts")
	}
	if a.ProxyUUID == "" || a.Route == nil {
		return fault.New(fault.Invalid, "a bridge certificate names its proxy and its route")
	}
	if !a.UserExpires.IsZero() && (a.UserExpires.Before(a.Expires) || a.UserExpires.Sub(id.IssuedAt) > MaxValidity(types.IdentityUser)) {
		return fault.New(fault.Invalid, "a bridge certificate must not outlive the one that it was made from")
	}
	if a.Renewable || !a.DisallowReissue {
		return fault.New(fault.Invalid, "a bridge certificate is never re-issued")
	}
	return nil
}

func lintHost(id *types.Identity) error {
	a := &id.Authority
	var zero types.Proofs
	if len(a.Roles)+len(a.Logins)+len(a.Traits)+len(a.Usage)+len(a.ResourceIDs) > 0 || a.Route != nil || a.ProxyUUID != "" || !a.UserExpires.IsZero() ||
		a.PermitPTY || a.PermitAgent || a.PermitPortForward || a.PermitX11 || !reflect.DeepEqual(id.Proofs, zero) {
		return fault.New(fault.Invalid, "a host certificate must not carry what belongs to users")
	}
	if strings.ContainsAny(id.Name, ". ,@/*?") {
		return fault.New(fault.Invalid, "%.80q cannot be a host UUID", id.Name)
	}
	for _, p := range a.Principals {
		if !hostPattern(p) {
			return fault.New(fault.Invalid, "%.80q cannot be a name in a host certificate", p)
		}
		if Reserved(id, p) {
			return fault.New(fault.Denied, "the name %q is not this host's to carry", p)
		}
	}
	return nil
}

// hostPattern accepts host names and addresses, without port, wildcard or list.
func hostPattern(p string) bool {
	if _, err := netip.ParseAddr(p); err == nil {
		return true
	}
	for _, r := range p {
		if !(r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return false
		}
	}
	return p != ""
}

// ServerName is the name by which any process of a system role is verified:
// "auth.<cluster>" and "proxy.<cluster>". Other roles have none.
func ServerName(role types.SystemRole, cluster string) (string, bool) {
	switch role {
	case types.RoleAuth:
		return "auth." + cluster, true
	case types.RoleProxy:
		return "proxy." + cluster, true
	}
	return "", false
}

// Reserved reports whether a name means something that this host is not: the
// server name of a role that it lacks, or another host's UUID.
func Reserved(id *types.Identity, name string) bool {
	name = strings.ToLower(name)
	for _, role := range []types.SystemRole{types.RoleAuth, types.RoleProxy} {
		sn, _ := ServerName(role, id.Cluster)
		if name == strings.ToLower(sn) && !id.HasSystemRole(role) {
			return true
		}
	}
	first, _, _ := strings.Cut(name, ".")
	return looksLikeUUID(first) && first != strings.ToLower(id.Name)
}

func looksLikeUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(s[i])) {
			return false
		}
	}
	return true
}

// HostNames returns the names that a host's certificates carry, without
// repetition: UUID, UUID.cluster, host name, host name.cluster, its other
// principals, and the server names of its roles. Names that are reserved for
// others are left out, as a machine may well be called "auth".
func HostNames(id *types.Identity) []string {
	names := []string{id.Name, id.Name + "." + id.Cluster}
	if h := id.Authority.Hostname; hostPattern(h) {
		names = append(names, h, h+"."+id.Cluster)
	}
	names = append(names, id.Authority.Principals...)
	for _, role := range []types.SystemRole{types.RoleAuth, types.RoleProxy} {
		if sn, ok := ServerName(role, id.Cluster); ok && id.HasSystemRole(role) {
			names = append(names, sn)
		}
	}
	seen, out := map[string]bool{}, names[:0]
	for _, n := range names {
		if !seen[n] && !Reserved(id, n) {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// MarshalRest writes what a certificate format has no field of its own for: the
// identity as JSON, with the fields that the format carries elsewhere emptied by
// the caller.
func MarshalRest(id *types.Identity) ([]byte, error) { return json.Marshal(id) }

// maxRest bounds the JSON part of a certificate, in bytes.
const maxRest = 32 << 10

// UnmarshalRest reads MarshalRest's form strictly: an unknown field may be a
// restriction that this version does not know, so it refuses the certificate.
func UnmarshalRest(b []byte) (*types.Identity, error) {
	if len(b) > maxRest {
		return nil, fault.New(fault.Limit, "the identity in the certificate is larger than %d bytes", maxRest)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	id := new(types.Identity)
	if err := d.Decode(id); err != nil {
		return nil, fault.Wrap(err, fault.Untrusted, "the identity in the certificate does not parse")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fault.New(fault.Untrusted, "something stands behind the identity in the certificate")
	}
	return id, nil
}
