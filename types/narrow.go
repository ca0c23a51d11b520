package types

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"teleport/fault"
)

// Narrows reports whether id may be issued to the bearer of parent: every field
// obeys the relation that its narrow tag declares, so that no field says more
// than the parent's. It returns fault.Denied naming the field that does.
//
// A route certificate, a bridge and a certificate with DisallowReissue have no
// children, with one exception: a user certificate of any of these forms may be
// carried by a bridge (Kind, ProxyUUID and Route are then set by auth), as the
// bridge is for the same or a narrower route and may not be re-issued itself.
func (id *Identity) Narrows(parent *Identity) error {
	if id == nil || parent == nil {
		return fault.New(fault.Denied, "there is no identity to narrow")
	}
	child := *id
	if id.Kind == IdentityBridge {
		if err := id.bridges(parent); err != nil {
			return err
		}
		child.Kind, child.Authority.ProxyUUID, child.Authority.UserExpires = parent.Kind, parent.Authority.ProxyUUID, parent.Authority.UserExpires
		if slices.Equal(id.Authority.Logins, []string{JoinLogin}) {
			child.Authority.Logins = nil // it starts nothing, and everybody has it
		}
	} else if parent.Kind == IdentityBridge || parent.Authority.Route != nil || parent.Authority.DisallowReissue {
		return fault.New(fault.Denied, "this certificate cannot be used to get another one").WithHint("log in again")
	}
	if id.IssuedAt.After(id.Authority.Expires) || id.Authority.Expires.IsZero() {
		return fault.New(fault.Denied, "the certificate asked for would have expired already")
	}
	return narrowStruct(reflect.ValueOf(&child).Elem(), reflect.ValueOf(parent).Elem())
}

// bridges checks what only a bridge has.
func (id *Identity) bridges(parent *Identity) error {
	a := &id.Authority
	if parent.Kind != IdentityUser {
		return fault.New(fault.Denied, "only a user's certificate can be carried by a proxy")
	}
	if a.Route == nil || a.ProxyUUID == "" || !a.DisallowReissue {
		return fault.New(fault.Denied, "a bridge certificate names its route and its proxy, and cannot be re-issued")
	}
	if a.UserExpires.After(parent.Authority.Expires) {
		return fault.New(fault.Denied, "the certificate asked for would say more than the one shown (user_expires)")
	}
	return nil
}

func narrowStruct(child, parent reflect.Value) error {
	t := child.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		c, p := child.Field(i), parent.Field(i)
		var ok bool
		switch f.Tag.Get("narrow") {
		case "struct":
			if err := narrowStruct(c, p); err != nil {
				return err
			}
			ok = true
		case "free":
			ok = true
		case "equal":
			ok = c.IsZero() && p.IsZero() || emptyList(c) && emptyList(p) || reflect.DeepEqual(c.Interface(), p.Interface())
		case "set":
			ok = isSubset(c, p)
		case "min":
			ok = isAtMost(c, p)
		case "restrict":
			ok = isRestricted(c, p)
		case "proof":
			ok = c.IsZero() || emptyList(c) || reflect.DeepEqual(c.Interface(), p.Interface())
		}
		if !ok {
			return fault.New(fault.Denied, "the certificate asked for would say more than the one shown (%s)", jsonKey(f))
		}
	}
	return nil
}

func emptyList(v reflect.Value) bool { return v.Kind() == reflect.Slice && v.Len() == 0 }

// isSubset compares lists, and maps of lists key by key.
func isSubset(child, parent reflect.Value) bool {
	switch child.Kind() {
	case reflect.Slice:
		for i := range child.Len() {
			if !holds(parent, child.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		for it := child.MapRange(); it.Next(); {
			p := parent.MapIndex(it.Key())
			if !p.IsValid() || !isSubset(it.Value(), p) {
				return false
			}
		}
		return true
	}
	return false
}

func holds(list, item reflect.Value) bool {
	for i := range list.Len() {
		if list.Index(i).Equal(item) {
			return true
		}
	}
	return false
}

func isAtMost(child, parent reflect.Value) bool {
	switch c := child.Interface().(type) {
	case time.Time:
		p, ok := parent.Interface().(time.Time)
		return ok && !c.After(p)
	case bool:
		return !c || parent.Bool()
	}
	return false
}

// isRestricted: an absent limit may be added, a present one stays or gets tighter.
func isRestricted(child, parent reflect.Value) bool {
	if parent.IsZero() || emptyList(parent) {
		return true
	}
	switch c := child.Interface().(type) {
	case bool:
		return c
	case netip.Addr, *Route:
		return reflect.DeepEqual(child.Interface(), parent.Interface())
	case *JoinScope:
		p, ok := parent.Interface().(*JoinScope)
		return ok && c != nil && c.within(p)
	}
	return child.Kind() == reflect.Slice && child.Len() > 0 && isSubset(child, parent)
}

// within reports whether everything that s permits, p permits too.
func (s *JoinScope) within(p *JoinScope) bool {
	if len(p.Names) > 0 && (len(s.Names) == 0 || slices.ContainsFunc(s.Names, func(n string) bool { return !slices.Contains(p.Names, n) })) {
		return false
	}
	for key, values := range p.Labels {
		mine, ok := s.Labels[key]
		if !ok || len(mine) == 0 && len(values) > 0 {
			return false
		}
		if len(values) > 0 && slices.ContainsFunc(mine, func(v string) bool { return !slices.Contains(values, v) }) {
			return false
		}
	}
	return true
}
