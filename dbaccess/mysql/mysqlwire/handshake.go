package mysqlwire

import (
	"encoding/binary"
	"slices"

	"teleport/fault"
)

// Greeting is what a server says first.
type Greeting struct {
	Version      string
	ConnectionID uint32
	Nonce        []byte // of NonceSize
	Capabilities Capability
	Charset      byte
	Status       uint16
	Plugin       string
}

const greetingVersion = 10

// ParseGreeting reads a payload. A server without SecureLogin is too old for it.
func ParseGreeting(b []byte) (*Greeting, error) {
	r := &reader{b: b}
	if v := r.byte(); v != greetingVersion {
		return nil, fault.New(fault.Invalid, "the greeting of MySQL has version %d, not %d", v, greetingVersion)
	}
	g := &Greeting{Version: r.text(), ConnectionID: r.uint32()}
	g.Nonce = slices.Clone(r.bytes(8))
	r.bytes(1)
	g.Capabilities = Capability(r.uint16())
	g.Charset, g.Status = r.byte(), r.uint16()
	g.Capabilities |= Capability(r.uint16()) << 16
	size := int(r.byte())
	r.bytes(10)
	if need := Protocol41 | SecureLogin; !r.bad && g.Capabilities&need != need {
		return nil, fault.New(fault.Unimplemented, "the server speaks MySQL as it was before version 4.1")
	}
	rest := r.bytes(max(13, size-8)) // with a zero at its end
	if !r.bad {
		g.Nonce = append(g.Nonce, rest[:12]...)
	}
	if g.Capabilities&PluginAuth != 0 {
		g.Plugin = r.text()
	}
	return g, r.err("greeting")
}

// Append adds the payload.
func (g *Greeting) Append(b []byte) []byte {
	b = append(append(append(b, greetingVersion), g.Version...), 0)
	b = binary.LittleEndian.AppendUint32(b, g.ConnectionID)
	b = append(append(b, g.Nonce[:8]...), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(g.Capabilities))
	b = append(b, g.Charset)
	b = binary.LittleEndian.AppendUint16(b, g.Status)
	b = binary.LittleEndian.AppendUint16(b, uint16(g.Capabilities>>16))
	b = append(append(b, NonceSize+1), make([]byte, 10)...)
	b = append(append(b, g.Nonce[8:NonceSize]...), 0)
	if g.Capabilities&PluginAuth != 0 {
		b = append(append(b, g.Plugin...), 0)
	}
	return b
}

// Login is a client's answer to the greeting. Its text form has no secrets.
type Login struct {
	Capabilities Capability
	MaxPacket    uint32
	Charset      byte
	User         string
	Auth         []byte // what proves the user, in the way of Plugin
	Database     string
	Plugin       string
	Attributes   []byte // as they came, with the length of them all
}

// ErrTLS is what ParseLogin returns for a client that wants to begin TLS instead.
var ErrTLS = fault.New(fault.Invalid, "the client asks for TLS, which was not offered: it is within TLS already")

const sslRequestSize = 32

// ParseLogin reads a payload.
func ParseLogin(b []byte) (*Login, error) {
	r := &reader{b: b}
	l := &Login{Capabilities: Capability(r.uint32()), MaxPacket: r.uint32(), Charset: r.byte()}
	r.bytes(23)
	if r.bad {
		return nil, r.err("login")
	}
	if l.Capabilities&Protocol41 == 0 {
		return nil, fault.New(fault.Unimplemented, "the client speaks MySQL as it was before version 4.1")
	}
	if l.Capabilities&SSL != 0 && len(b) == sslRequestSize {
		return nil, ErrTLS
	}
	l.User = r.text()
	switch {
	case l.Capabilities&LongAuth != 0:
		l.Auth = r.lengthed()
	case l.Capabilities&SecureLogin != 0:
		l.Auth = r.bytes(int(r.byte()))
	default:
		l.Auth = []byte(r.text())
	}
	if l.Capabilities&ConnectWithDB != 0 {
		l.Database = r.text()
	}
	if l.Capabilities&PluginAuth != 0 {
		l.Plugin = r.text()
	}
	if l.Capabilities&ConnectAttrs != 0 && len(r.b) > 0 {
		before := r.b
		r.lengthed()
		l.Attributes = before[:len(before)-len(r.b)]
	}
	return l, r.err("login")
}

// AppendTLS adds the payload that begins TLS: the head of the login.
func (l *Login) AppendTLS(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(l.Capabilities))
	b = binary.LittleEndian.AppendUint32(b, l.MaxPacket)
	return append(append(b, l.Charset), make([]byte, 23)...)
}

// Append adds the payload. User, Database and Plugin hold no zero byte, and Auth
// is at most 255 bytes without LongAuth.
func (l *Login) Append(b []byte) []byte {
	b = append(append(l.AppendTLS(b), l.User...), 0)
	if l.Capabilities&LongAuth != 0 {
		b = appendNumber(b, uint64(len(l.Auth)))
	} else {
		b = append(b, byte(len(l.Auth)))
	}
	b = append(b, l.Auth...)
	if l.Capabilities&ConnectWithDB != 0 {
		b = append(append(b, l.Database...), 0)
	}
	if l.Capabilities&PluginAuth != 0 {
		b = append(append(b, l.Plugin...), 0)
	}
	if l.Capabilities&ConnectAttrs != 0 {
		b = append(b, l.Attributes...)
	}
	return b
}

// SetAttribute gives what the client says of itself an attribute, in place of any of
// that key; no value takes it away. Attributes that cannot be read are left out.
func (l *Login) SetAttribute(key, value string) {
	var all []byte
	add := func(k, v string) {
		for _, s := range []string{k, v} {
			all = append(appendNumber(all, uint64(len(s))), s...)
		}
	}
	l.attributes(func(k, v string) {
		if k != key {
			add(k, v)
		}
	})
	if value != "" {
		add(key, value)
		l.Capabilities |= ConnectAttrs
	}
	l.Attributes = append(appendNumber(nil, uint64(len(all))), all...)
}

// Attribute is what the client says of itself under a key, "" for nothing.
func (l *Login) Attribute(key string) (value string) {
	l.attributes(func(k, v string) {
		if k == key {
			value = v
		}
	})
	return value
}

func (l *Login) attributes(each func(key, value string)) {
	r := &reader{b: l.Attributes}
	for r.b = r.lengthed(); len(r.b) > 0; {
		k, v := r.lengthed(), r.lengthed()
		if r.bad {
			return
		}
		each(string(k), string(v))
	}
}

// Switch is a server's wish for another way to log in.
type Switch struct {
	Plugin string
	Data   []byte // a nonce, without the zero at its end
}

// ParseSwitch reads a payload that begins with HeadEOF. One without a plugin is
// the way of MySQL before 4.1, which nobody should use.
func ParseSwitch(b []byte) (*Switch, error) {
	r := &reader{b: b}
	r.byte()
	s := &Switch{Plugin: r.text()}
	if s.Plugin == "" {
		return nil, fault.New(fault.Unimplemented, "the server wants the login of MySQL before version 4.1")
	}
	s.Data = r.bytes(len(r.b))
	if n := len(s.Data); n > 0 && s.Data[n-1] == 0 {
		s.Data = s.Data[:n-1]
	}
	return s, nil
}

// Append adds the payload.
func (s *Switch) Append(b []byte) []byte {
	b = append(append(append(b, HeadEOF), s.Plugin...), 0)
	return append(append(b, s.Data...), 0)
}
