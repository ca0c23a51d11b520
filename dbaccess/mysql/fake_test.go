package mysql_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/dbaccess"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/mysql"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/types"
	"teleport/types/event"
)

// fake is a server with one user, alice, which lets her in as a MySQL does: its
// ways of login are those that no server of Debian's has.
type fake struct {
	pki      *dbtest.PKI
	plugin   string // by which alice logs in
	password string
	known    bool // caching_sha2_password remembers her
	plain    bool // it has no TLS
	endless  bool // it asks for another way again and again
	evil     bool // it asks for a file where a query was

	mu    sync.Mutex
	calls int  // connections
	in    int  // logins that were finished
	seen  bool // the password itself
}

func (f *fake) listen(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { ln.Close(); work.Wait() })
	own, err := f.pki.Servers.Issue(dbtest.ServerName, x509.ExtKeyUsageServerAuth)
	if err != nil {
		t.Fatal(err)
	}
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.calls++
			f.mu.Unlock()
			work.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				(&talk{f: f, c: c, own: own}).serve()
			})
		}
	})
	return ln.Addr().String()
}

// talk is one connection of a fake.
type talk struct {
	f        *fake
	c        net.Conn
	own      *tls.Certificate
	sequence byte
}

func (k *talk) write(payload []byte) bool {
	_, err := k.c.Write(mysqlwire.Append(nil, k.sequence, payload))
	k.sequence++
	return err == nil
}

func (k *talk) read() []byte {
	var head [mysqlwire.HeadSize]byte
	if _, err := io.ReadFull(k.c, head[:]); err != nil {
		return nil
	}
	n, sequence := mysqlwire.Head(head[:])
	k.sequence = sequence + 1
	b := make([]byte, n)
	if _, err := io.ReadFull(k.c, b); err != nil {
		return nil
	}
	return b
}

const fakeNonce = "abcdefghijklmnopqrst"

func (k *talk) serve() {
	g := mysqlwire.Greeting{Version: "8.4.0-fake", ConnectionID: 77, Nonce: []byte("01234567890123456789"), Plugin: mysqlwire.NativePassword,
		Capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.SSL | mysqlwire.PluginAuth | mysqlwire.DeprecateEOF | mysqlwire.ConnectWithDB}
	if k.f.plain {
		g.Capabilities &^= mysqlwire.SSL
	}
	if !k.write(g.Append(nil)) || k.read() == nil {
		return
	}
	k.c = tls.Server(k.c, &tls.Config{Certificates: []tls.Certificate{*k.own}})
	l, err := mysqlwire.ParseLogin(k.read())
	if err != nil || l.User != "alice" {
		return
	}
	if !k.proven() {
		k.write(mysqlwire.Err{Code: 1045, State: "28000", Message: "Access denied"}.Append(nil))
		return
	}
	k.f.mu.Lock()
	k.f.in++
	k.f.mu.Unlock()
	k.write(mysqlwire.OK{Status: mysqlwire.StatusAutocommit}.Append(nil))
	for b := k.read(); len(b) > 0 && mysqlwire.Command(b[0]) != mysqlwire.Quit; b = k.read() {
		if k.f.evil && mysqlwire.Command(b[0]) == mysqlwire.Query {
			k.write([]byte("\xfb/etc/shadow"))
			k.read()
			return
		}
		k.write(mysqlwire.OK{Status: mysqlwire.StatusAutocommit}.Append(nil))
	}
}

// proven asks alice for her proof, always by a switch.
func (k *talk) proven() bool {
	k.write((&mysqlwire.Switch{Plugin: k.f.plugin, Data: []byte(fakeNonce)}).Append(nil))
	for k.f.endless {
		if k.read() == nil || !k.write((&mysqlwire.Switch{Plugin: k.f.plugin, Data: []byte(fakeNonce)}).Append(nil)) {
			return false
		}
	}
	b := k.read()
	switch k.f.plugin {
	case mysqlwire.NativePassword:
		one := sha1.Sum([]byte(k.f.password))
		two := sha1.Sum(one[:])
		mask := sha1.Sum(append([]byte(fakeNonce), two[:]...))
		return len(b) == len(mask) && sha1.Sum(xor(b, mask[:])) == two
	case mysqlwire.CachingSHA2:
		if !k.f.known {
			k.write([]byte{mysqlwire.HeadMore, 4})
			return k.isPassword(k.read())
		}
		one := sha256.Sum256([]byte(k.f.password))
		two := sha256.Sum256(one[:])
		mask := sha256.Sum256(append(two[:], fakeNonce...))
		if len(b) != len(mask) || sha256.Sum256(xor(b, mask[:])) != two {
			return false
		}
		return k.write([]byte{mysqlwire.HeadMore, 3})
	case mysqlwire.ClearPassword:
		return k.isPassword(b)
	case mysqlwire.Ed25519: // of a password of 32 bytes it is the standard's
		return ed25519.Verify(ed25519.NewKeyFromSeed([]byte(k.f.password)).Public().(ed25519.PublicKey), []byte(fakeNonce), b)
	}
	return false
}

func (k *talk) isPassword(b []byte) bool {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	k.f.seen = k.f.seen || bytes.Contains(b, []byte(k.f.password))
	return string(b) == k.f.password+"\x00"
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	subtle.XORBytes(out, a, b)
	return out
}

// byPassword shows no certificate.
type byPassword struct {
	*dbtest.PKI
	password string
}

func (byPassword) Certificate(context.Context, dbaccess.Login) (*tls.Certificate, error) {
	return nil, nil
}
func (b byPassword) Password(context.Context, dbaccess.Login) (string, error) { return b.password, nil }

// before is an agent before a fake, which shows a password.
func before(t *testing.T, f *fake, mode, password string) (*dbtest.World, net.Addr) {
	if f.pki == nil {
		f.pki = dbtest.NewPKI(t)
	}
	spec := types.DatabaseSpec{Protocol: "mysql", URI: f.listen(t), TLS: types.DatabaseTLS{ServerName: dbtest.ServerName, Mode: mode}}
	w := dbtest.New(t, mysql.Engine{}, spec, func(*certtest.World) dbaccess.Credentials { return byPassword{f.pki, password} })
	w.Role(func(*types.RoleSpec) {})
	return w, w.Listen("alice", types.DatabaseRoute{User: "alice"})
}

func ping(t *testing.T, addr net.Addr) error {
	t.Helper()
	db, err := sql.Open("mysql", "alice@tcp("+addr.String()+")/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return db.PingContext(t.Context())
}

func TestWaysToLogIn(t *testing.T) {
	const secret = "a secret of thirty-two bytes :-)"
	for name, c := range map[string]struct {
		f    *fake
		mode string
		want string // of the error
	}{
		"native":                       {f: &fake{plugin: mysqlwire.NativePassword}},
		"caching_sha2, known":          {f: &fake{plugin: mysqlwire.CachingSHA2, known: true}},
		"caching_sha2, whole":          {f: &fake{plugin: mysqlwire.CachingSHA2}},
		"clear":                        {f: &fake{plugin: mysqlwire.ClearPassword}},
		"ed25519":                      {f: &fake{plugin: mysqlwire.Ed25519}},
		"native, unverified":           {f: &fake{plugin: mysqlwire.NativePassword}, mode: types.TLSInsecure},
		"clear, unverified":            {f: &fake{plugin: mysqlwire.ClearPassword}, mode: types.TLSInsecure, want: "its certificate is not verified"},
		"caching_sha2 whole, the same": {f: &fake{plugin: mysqlwire.CachingSHA2}, mode: types.TLSInsecure, want: "its certificate is not verified"},
		"unknown":                      {f: &fake{plugin: "dialog"}, want: `"dialog", which is not known here`},
		"endless":                      {f: &fake{plugin: mysqlwire.NativePassword, endless: true}, want: "does not come to an end"},
		"without TLS":                  {f: &fake{plain: true}, want: "does not offer TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.f
			f.password = secret
			_, addr := before(t, f, c.mode, secret)
			err := ping(t, addr)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if c.want != "" && f.seen {
				t.Error("the server saw the password")
			}
		})
	}
	_, addr := before(t, &fake{plugin: mysqlwire.NativePassword, password: "another"}, "", secret)
	if err := ping(t, addr); err == nil || !strings.Contains(err.Error(), "the database shop says: Access denied") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestAServerThatAsksForAFileIsLeft(t *testing.T) {
	w, addr := before(t, &fake{plugin: mysqlwire.ClearPassword, password: "p", evil: true}, "", "p")
	db, err := sql.Open("mysql", "alice@tcp("+addr.String()+")/?allowAllFiles=true")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err = db.Exec("update t set a = 1"); err == nil || !strings.Contains(err.Error(), "asks for a file of the client's") {
		t.Errorf("%v", err)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
}

// TestAClientWithAWayOfItsOwn is one that leads with a plugin which the engine does
// not know, and has no password: it answers the switch with an empty packet.
func TestAClientWithAWayOfItsOwn(t *testing.T) {
	for name, answer := range map[string]string{"no password": "", "a password": "01234567890123456789"} {
		t.Run(name, func(t *testing.T) {
			_, addr := before(t, &fake{plugin: mysqlwire.ClearPassword, password: "p"}, "", "p")
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			k := talk{c: conn}
			g, err := mysqlwire.ParseGreeting(k.read())
			if err != nil {
				t.Fatal(err)
			}
			k.write((&mysqlwire.Login{Capabilities: g.Capabilities &^ mysqlwire.SSL, User: "alice", Plugin: "dialog"}).Append(nil))
			w, err := mysqlwire.ParseSwitch(k.read())
			if err != nil || w.Plugin != mysqlwire.NativePassword {
				t.Fatalf("asked for %+v, %v", w, err)
			}
			k.write([]byte(answer))
			if b := k.read(); len(b) == 0 || b[0] != mysqlwire.HeadOK {
				t.Errorf("the login ends with %q", b)
			}
		})
	}
}

// TestClientsThatDoNotLogIn finds what the server hears of them: a whole login, as
// it would shut the agent out after a hundred halves.
func TestClientsThatDoNotLogIn(t *testing.T) {
	for name, c := range map[string]struct {
		say, want string
	}{
		"HTTP":         {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "this is not how a login of MySQL goes"},
		"TLS":          {string(mysqlwire.Append(nil, 1, (&mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SSL}).AppendTLS(nil))), "it is within TLS already"},
		"half a login": {"\xff\x00\x00\x01", ""},
		"nothing":      {"", ""},
		"old":          {"\x05\x00\x00\x01\x00\x00\x00\x00\x00", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{plugin: mysqlwire.ClearPassword, password: "p"}
			w, addr := before(t, f, "", "p")
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, c.say)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			heard, _ := io.ReadAll(conn)
			if !strings.Contains(string(heard), c.want) {
				t.Errorf("heard %q, want %q", heard, c.want)
			}
			w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.in != 1 {
				t.Errorf("%d logins were finished", f.in)
			}
		})
	}
}

func TestVersionToldToClients(t *testing.T) {
	f := &fake{plugin: mysqlwire.ClearPassword, password: "p"}
	w, addr := before(t, f, "", "p")
	for _, want := range []string{"8.4.0-fake", "5.7.1-told"} {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		n, err := io.ReadAtLeast(conn, b, 20)
		conn.Close()
		if err != nil || !strings.Contains(string(b[:n]), want) {
			t.Errorf("%q, %v, want %s", b[:n], err, want)
		}
		w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) > 0 })
		w.Doc.Spec.MySQL = &types.DatabaseMySQL{ServerVersion: "5.7.1-told"}
		addr = w.Listen("alice", types.DatabaseRoute{User: "alice"}) // which knows of it
	}
}

// TestWhoIsRefusedReachesNoServer finds that the agent dials for nobody whom roles
// do not let in, and that they hear why in place of a greeting.
func TestWhoIsRefusedReachesNoServer(t *testing.T) {
	f := &fake{plugin: mysqlwire.ClearPassword, password: "p"}
	w, _ := before(t, f, "", "p")
	for user, want := range map[string]string{"mallory": "the database user mallory is not allowed", "": "names no database user"} {
		err := ping(t, w.Listen("alice", types.DatabaseRoute{User: user}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", user, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls > 0 {
		t.Errorf("the server was dialled %d times", f.calls)
	}
	if n := len(w.Log.Events(event.TypeDBStart)); n == 0 {
		t.Error("the log has no refusal")
	}
}
