package mysql

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"net"
	"regexp"
	"time"

	"filippo.io/edwards25519"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/types"
)

// read returns the next packet's payload, which is not empty.
func (p *packets) read() ([]byte, error) { return p.readLeast(1) }

// readLeast returns the next packet's payload of that many bytes or more.
func (p *packets) readLeast(least int) ([]byte, error) {
	b, sequence, err := mysqlwire.ReadLogin(p.rw)
	if err == nil && (len(b) < least || sequence != p.sequence) {
		err = mysqlwire.ErrLogin
	}
	p.sequence++
	return b, err
}

func (p *packets) write(payload []byte) error {
	_, err := p.rw.Write(mysqlwire.Append(nil, p.sequence, payload))
	p.sequence++
	return err
}

// server is a connection to the database.
type server struct {
	packets  packets
	conn     net.Conn
	greeting *mysqlwire.Greeting
}

// Close ends the connection.
func (v *server) Close() error { return v.conn.Close() }

// serverError is how the database refused a login, with its number and SQLSTATE, by
// which programs tell what to do.
type serverError struct {
	mysqlwire.Err
	said string // by the database alone
}

// Error implements error.
func (e *serverError) Error() string { return e.Message }

// Unwrap makes it a fault that the log understands.
func (e *serverError) Unwrap() error { return fault.New(fault.Denied, "%s", e.Message) }

func (v *server) refused(s *dbaccess.Session, b []byte) error {
	e, err := mysqlwire.ParseErr(b)
	if err != nil {
		return err
	}
	if len(e.State) != 5 {
		e.State = "HY000"
	}
	said := dbaccess.WithoutAddresses(agentsHost.ReplaceAllString(e.Message, ""))
	if e.Code == hostBlocked || e.Code == hostNotPrivileged {
		said = "The agent's host is not allowed to connect"
	}
	e.Message = "the database " + s.Database().Metadata.Name + " says: " + said
	return &serverError{e, said}
}

// agentsHost is how a server names whom it refused: 'user'@'host'.
var agentsHost = regexp.MustCompile(`@'[^']*'`)

// Errors whose message is the agent's host.
const (
	hostBlocked       = 1129
	hostNotPrivileged = 1130
)

// open connects to the database and hears its greeting.
func open(ctx context.Context, s *dbaccess.Session) (*server, error) {
	conn, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	v := &server{packets: packets{rw: conn}, conn: conn}
	err = v.within(ctx, func() error {
		b, err := v.packets.read()
		if err != nil {
			return s.LoginFault(err)
		}
		if b[0] == mysqlwire.HeadErr {
			return v.refused(s, b)
		}
		v.greeting, err = mysqlwire.ParseGreeting(b)
		return err
	})
	if err == nil && v.greeting.Capabilities&mysqlwire.SSL == 0 {
		err = fault.New(fault.Untrusted, "the database %s does not offer TLS", s.Database().Metadata.Name)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return v, nil
}

// within bounds what a slow server may cost.
func (v *server) within(ctx context.Context, do func() error) error {
	if err := v.conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	raw := v.conn
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := do(); err != nil {
		return err
	}
	return v.conn.SetDeadline(time.Time{})
}

// login logs in as the session's user, with what the client said of its session,
// and returns the server's last word: an OK.
func (v *server) login(ctx context.Context, s *dbaccess.Session, client *mysqlwire.Login) (ok []byte, err error) {
	password, err := s.Password(ctx)
	if err != nil {
		return nil, err
	}
	err = v.within(ctx, func() error {
		l := *client
		l.User, l.Database, l.Auth, l.Plugin = s.User(), s.Name(), nil, v.greeting.Plugin
		l.Capabilities = l.Capabilities&^mysqlwire.ConnectWithDB | mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.SSL |
			v.greeting.Capabilities&(mysqlwire.PluginAuth|mysqlwire.LongAuth)
		if l.Database != "" {
			l.Capabilities |= mysqlwire.ConnectWithDB
		}
		if l.Attributes == nil {
			l.Capabilities &^= mysqlwire.ConnectAttrs
		}
		if err := v.packets.write(l.AppendTLS(nil)); err != nil {
			return s.LoginFault(err)
		}
		conn, err := s.Secure(ctx, v.conn)
		if err != nil {
			return err
		}
		v.conn, v.packets.rw = conn, conn
		p := proof{password: password, verified: s.Database().Spec.TLS.Mode != types.TLSInsecure}
		if l.Auth, err = p.answer(v.greeting.Plugin, v.greeting.Nonce); err != nil {
			l.Auth = nil // the server will say what it wants
		}
		if err := v.packets.write(l.Append(nil)); err != nil {
			return s.LoginFault(err)
		}
		ok, err = v.prove(s, p, v.greeting.Plugin)
		return err
	})
	return ok, err
}

// finish logs in without a client, says commands, and leaves.
func (v *server) finish(ctx context.Context, s *dbaccess.Session, commands ...[]byte) error {
	if _, err := v.login(ctx, s, &mysqlwire.Login{Capabilities: v.greeting.Capabilities & offered, Charset: v.greeting.Charset}); err != nil {
		return err
	}
	return v.within(ctx, func() error {
		for _, c := range commands {
			v.packets.sequence = 0
			if err := v.packets.write(c); err != nil {
				return err
			}
			b, err := v.packets.read()
			if err != nil {
				return err
			}
			if b[0] == mysqlwire.HeadErr {
				return v.refused(s, b)
			}
		}
		v.packets.sequence = 0
		return v.packets.write([]byte{byte(mysqlwire.Quit)})
	})
}

// kill ends the connection in the server, and what it does, over another one.
func (v *server) kill(ctx context.Context, s *dbaccess.Session) error {
	other, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer other.Close()
	return other.finish(ctx, s, fmt.Appendf([]byte{byte(mysqlwire.Query)}, "KILL %d", v.greeting.ConnectionID))
}

// mostRounds of a login; real ones take three.
const mostRounds = 8

// Words of caching_sha2_password.
const (
	shaKnown = 3 // the server remembers the user
	shaWhole = 4 // it wants the password itself
)

// prove answers the server until it is content.
func (v *server) prove(s *dbaccess.Session, p proof, plugin string) (ok []byte, err error) {
	for range mostRounds {
		b, err := v.packets.read()
		if err != nil {
			return nil, s.LoginFault(err)
		}
		var answer []byte
		switch b[0] {
		case mysqlwire.HeadOK:
			if _, err := mysqlwire.ParseOK(b); err != nil {
				return nil, err
			}
			return b, nil
		case mysqlwire.HeadErr:
			return nil, v.refused(s, b)
		case mysqlwire.HeadEOF:
			w, err := mysqlwire.ParseSwitch(b)
			if err != nil {
				return nil, err
			}
			plugin = w.Plugin
			if answer, err = p.answer(plugin, w.Data); err != nil {
				return nil, err
			}
		case mysqlwire.HeadMore:
			if plugin == mysqlwire.CachingSHA2 && len(b) == 2 && b[1] == shaKnown {
				continue
			}
			if plugin != mysqlwire.CachingSHA2 || len(b) != 2 || b[1] != shaWhole {
				return nil, fault.New(fault.Unimplemented, "the database asks in the middle of %s for what is not known here", plugin)
			}
			if answer, err = p.clear(); err != nil {
				return nil, err
			}
		default:
			return nil, fault.New(fault.Untrusted, "the database answers the login with what cannot be read")
		}
		if err := v.packets.write(answer); err != nil {
			return nil, s.LoginFault(err)
		}
	}
	return nil, fault.New(fault.Untrusted, "the login to the database does not come to an end")
}

// proof is what proves the user beside the certificate.
type proof struct {
	password string
	verified bool // the server is who it should be
}

// answer proves the user in the way of a plugin.
func (p proof) answer(plugin string, nonce []byte) ([]byte, error) {
	switch {
	case plugin == mysqlwire.ClearPassword:
		return p.clear()
	case p.password == "" && (plugin == "" || plugin == mysqlwire.NativePassword || plugin == mysqlwire.CachingSHA2):
		return nil, nil
	case plugin == mysqlwire.NativePassword || plugin == "":
		return native(p.password, nonce), nil
	case plugin == mysqlwire.CachingSHA2:
		return cachingSHA2(p.password, nonce), nil
	case plugin == mysqlwire.Ed25519:
		return ed25519(p.password, nonce)
	}
	return nil, fault.New(fault.Unimplemented, "the database wants its user to log in with %q, which is not known here", plugin).
		WithHint("let the user log in with a certificate: REQUIRE SUBJECT '/CN=…'")
}

// clear is the password itself: only for a server that was verified.
func (p proof) clear() ([]byte, error) {
	if !p.verified {
		return nil, fault.New(fault.Untrusted, "the database asks for the password in clear, and its certificate is not verified").WithHint("set tls.mode to verify-full")
	}
	return append([]byte(p.password), 0), nil
}

// native is SHA1(p) xor SHA1(nonce, SHA1(SHA1(p))).
func native(password string, nonce []byte) []byte {
	one := sha1.Sum([]byte(password))
	two := sha1.Sum(one[:])
	out := sha1.Sum(append(append([]byte(nil), nonce...), two[:]...))
	subtle.XORBytes(out[:], out[:], one[:])
	return out[:]
}

// cachingSHA2 is SHA256(p) xor SHA256(SHA256(SHA256(p)), nonce).
func cachingSHA2(password string, nonce []byte) []byte {
	one := sha256.Sum256([]byte(password))
	two := sha256.Sum256(one[:])
	out := sha256.Sum256(append(two[:], nonce...))
	subtle.XORBytes(out[:], out[:], one[:])
	return out[:]
}

// ed25519 signs the nonce as MariaDB has it: by RFC 8032, with a password of any
// length where that has a seed of 32 bytes.
func ed25519(password string, nonce []byte) ([]byte, error) {
	h := sha512.Sum512([]byte(password))
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the login cannot be signed")
	}
	public := new(edwards25519.Point).ScalarBaseMult(secret).Bytes()
	r, err := reduced(h[32:], nonce)
	if err != nil {
		return nil, err
	}
	at := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	k, err := reduced(at, public, nonce)
	if err != nil {
		return nil, err
	}
	return append(at, edwards25519.NewScalar().MultiplyAdd(k, secret, r).Bytes()...), nil
}

// reduced is the scalar of a hash.
func reduced(parts ...[]byte) (*edwards25519.Scalar, error) {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	return s, fault.Wrap(err, fault.Internal, "the login cannot be signed")
}
