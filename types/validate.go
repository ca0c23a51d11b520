package types

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"teleport/fault"
)

// check does what all kinds have in common: fills kind and version, and checks
// them, the metadata and, by their tags and types, all fields of the body.
func (h *Header) check(kind string, body any) error {
	info, _ := exactKind(kind)
	if h.Kind == "" {
		h.Kind = kind
	}
	if h.Kind != kind {
		return fieldFault("kind", "%q is not %q", h.Kind, kind)
	}
	if h.Version == "" {
		h.Version = info.DefaultVersion
	}
	if !slices.Contains(info.Versions, h.Version) {
		return fieldFault("version", "%s has no version %q", kind, h.Version).WithHint("known versions: %s", strings.Join(info.Versions, ", "))
	}
	if h.SubKind != "" && !slices.Contains(info.SubKinds, h.SubKind) {
		return fieldFault("sub_kind", "%s has no sub kind %q", kind, h.SubKind)
	}
	if info.Singleton != "" {
		if h.Metadata.Name == "" {
			h.Metadata.Name = info.Singleton
		}
		if h.Metadata.Name != info.Singleton {
			return fieldFault("metadata.name", "there is one %s in a cluster, and its name is %q", kind, info.Singleton)
		}
	}
	if err := h.Metadata.check(); err != nil {
		return err
	}
	return checkTree(reflect.ValueOf(body), "spec", "")
}

func (m *Metadata) check() error {
	if err := at("metadata.name", CheckName("name", m.Name)); err != nil {
		return err
	}
	if err := checkText("metadata.description", m.Description); err != nil {
		return err
	}
	if len(m.Labels) > MaxLabels {
		return fieldFault("metadata.labels", "there are more than %d labels", MaxLabels)
	}
	for k, v := range m.Labels {
		if err := at(JoinPath("metadata.labels", k), CheckLabel(k, v)); err != nil {
			return err
		}
	}
	if len(m.Revision) > MaxName || !printable(m.Revision) {
		return fieldFault("metadata.revision", "is not a revision")
	}
	return nil
}

// checkTree walks a body: closed lists by the enum tag, no control characters,
// no negative numbers or durations, no endless lists.
func checkTree(v reflect.Value, path, enum string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return checkTree(v.Elem(), path, enum)
	case reflect.Struct:
		return checkStruct(v, path)
	case reflect.Map:
		return checkMap(v, path)
	case reflect.Slice:
		return checkSlice(v, path, enum)
	case reflect.String:
		if enum != "" {
			return oneOf(path, v.String(), strings.Split(enum, ",")...)
		}
		if !printableText(v.String()) {
			return fieldFault(path, "holds a control character")
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if v.Int() < 0 {
			return fieldFault(path, "must not be negative")
		}
	}
	return nil
}

func checkStruct(v reflect.Value, path string) error {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return nil
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := jsonKey(f)
		if key == "" {
			continue
		}
		if err := checkTree(v.Field(i), JoinPath(path, key), f.Tag.Get("enum")); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(v reflect.Value, path string) error {
	if v.Len() > maxListLen {
		return fieldFault(path, "has more than %d entries", maxListLen)
	}
	for it := v.MapRange(); it.Next(); {
		key := it.Key().String()
		if key == "" || len(key) > MaxLabelKey || !printable(key) {
			return fieldFault(path, "the key %q is empty, too long or holds a control character", key)
		}
		if err := checkTree(it.Value(), JoinPath(path, key), ""); err != nil {
			return err
		}
	}
	return nil
}

func checkSlice(v reflect.Value, path, enum string) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return nil
	}
	if v.Len() > maxListLen {
		return fieldFault(path, "has more than %d entries", maxListLen)
	}
	for i := range v.Len() {
		if err := checkTree(v.Index(i), IndexPath(path, i), enum); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalJSON reads false, true, a name or the number of older documents.
func (m *MFARequirement) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return fault.Wrap(err, fault.Invalid, "is not JSON")
	}
	switch t := v.(type) {
	case bool:
		*m = MFAOff
		if t {
			*m = MFASession
		}
		return nil
	case float64:
		if t == float64(int(t)) && t >= 0 && int(t) < len(mfaNames()) {
			*m = MFARequirement(t)
			return nil
		}
	case string:
		for i, name := range mfaNames() {
			if strings.EqualFold(t, name) {
				*m = MFARequirement(i)
				return nil
			}
		}
	}
	return fault.New(fault.Invalid, "wants one of: false, true, %s", strings.Join(mfaNames()[2:], ", "))
}

// MarshalJSON writes false, true or the name.
func (m MFARequirement) MarshalJSON() ([]byte, error) {
	if m <= MFAOff {
		return []byte("false"), nil
	}
	if m == MFASession {
		return []byte("true"), nil
	}
	return json.Marshal(m.String())
}

// String returns the name of the requirement.
func (m MFARequirement) String() string {
	if names := mfaNames(); m >= 0 && int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}

func mfaNames() []string {
	return []string{"no", "yes", "hardware_key", "hardware_key_touch", "hardware_key_pin", "hardware_key_touch_and_pin"}
}

// UnmarshalJSON reads a name or the number of older documents.
func (m *HostUserMode) UnmarshalJSON(b []byte) error {
	s, err := nameOrNumber(b, "", "off", "drop", "keep", "insecure-drop")
	*m = HostUserMode(s)
	return err
}

// UnmarshalJSON reads a name or the number of older documents.
func (m *DBUserMode) UnmarshalJSON(b []byte) error {
	s, err := nameOrNumber(b, "", "off", "keep", "best_effort_drop")
	*m = DBUserMode(s)
	return err
}

func nameOrNumber(b []byte, names ...string) (string, error) {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return "", fault.Wrap(err, fault.Invalid, "is not JSON")
	}
	switch t := v.(type) {
	case float64:
		if t == float64(int(t)) && t >= 0 && int(t) < len(names) {
			return names[int(t)], nil
		}
	case string:
		if slices.Contains(names, t) {
			return t, nil
		}
	case bool: // YAML readers of old turn a bare off into false
		if !t {
			return "off", nil
		}
	}
	return "", fault.New(fault.Invalid, "wants one of: %s", strings.Join(names[1:], ", "))
}
