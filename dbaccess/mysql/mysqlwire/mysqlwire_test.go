package mysqlwire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"teleport/fault"
)

// Payloads as programs send them.
var (
	mariadbGreeting = unhex("0a352e352e352d31302e31312e31392d4d6172696144422d302b6465623132753100050000003132333435363738" +
		"00feff2d0200ff8115" + "0000000000000d000000" + "6162636465666768696a6b6c" + "00" + "6d7973716c5f6e61746976655f70617373776f726400")
	mysqlGreeting = unhex("0a382e302e333600" + "0b000000" + "0102030405060708" + "00" + "ffff" + "ff" + "0200" + "ffdf" + "15" + "00000000000000000000" +
		"090a0b0c0d0e0f101112131400" + "63616368696e675f736861325f70617373776f726400")
	mysql2Login = unhex("cff39a00" + "00000000" + "e0" + "0000000000000000000000000000000000000000000000" + "616c69636500" + "20" +
		"e3e70682c20943fac7bff781bc1c149afbf4c8996fb92427ae41e4649b934ca4" + "73686f7000" + "63616368696e675f736861325f70617373776f726400")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want Greeting
	}{
		"MariaDB 10.11": {mariadbGreeting, Greeting{Version: "5.5.5-10.11.19-MariaDB-0+deb12u1", ConnectionID: 5, Nonce: []byte("12345678abcdefghijkl"),
			Capabilities: 0x81fffffe, Charset: 0x2d, Status: StatusAutocommit, Plugin: NativePassword}},
		"MySQL 8": {mysqlGreeting, Greeting{Version: "8.0.36", ConnectionID: 11, Nonce: []byte("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14"),
			Capabilities: 0xdfffffff, Charset: 0xff, Status: StatusAutocommit, Plugin: CachingSHA2}},
	} {
		g, err := ParseGreeting(c.b)
		if err != nil || !reflect.DeepEqual(*g, c.want) {
			t.Errorf("%s: %+v, %v", name, g, err)
			continue
		}
		again, err := ParseGreeting(g.Append(nil))
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Errorf("%s, again: %+v, %v", name, again, err)
		}
		for n := range len(c.b) - len(g.Plugin) - 1 {
			if _, err := ParseGreeting(c.b[:n]); err == nil {
				t.Errorf("%s: the first %d bytes are a greeting", name, n)
			}
		}
	}
	if _, err := ParseGreeting(append([]byte{9}, mysqlGreeting[1:]...)); !errors.Is(err, fault.Invalid) {
		t.Errorf("version 9: %v", err)
	}
	old := bytes.Clone(mysqlGreeting)
	old[22] = 0 // capabilities without Protocol41
	old[21] = 0
	if _, err := ParseGreeting(old); !errors.Is(err, fault.Unimplemented) {
		t.Errorf("an old server: %v", err)
	}
}

func TestParseLogin(t *testing.T) {
	l, err := ParseLogin(mysql2Login)
	if err != nil || l.User != "alice" || l.Database != "shop" || l.Plugin != CachingSHA2 || len(l.Auth) != 32 {
		t.Fatalf("%+v, %v", l, err)
	}
	attributed := *l
	attributed.Capabilities |= ConnectAttrs
	attributed.Attributes = []byte("\x06\x02ab\x02cd")
	short := *l
	short.Capabilities &^= LongAuth
	short.Capabilities |= SecureLogin
	for name, c := range map[string]Login{"itself": *l, "with attributes": attributed, "with a short length": short, "without all": {Capabilities: Protocol41 | SecureLogin, User: "u", Auth: []byte{}}} {
		again, err := ParseLogin(c.Append(nil))
		if err != nil || !reflect.DeepEqual(*again, c) {
			t.Errorf("%s: %+v, %v, want %+v", name, again, err, c)
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		want fault.Kind
	}{
		"nothing":            {nil, fault.Invalid},
		"before 4.1":         {append([]byte{0, 0, 0, 0}, mysql2Login[4:]...), fault.Unimplemented},
		"a cut head":         {mysql2Login[:20], fault.Invalid},
		"a cut proof":        {mysql2Login[:50], fault.Invalid},
		"TLS":                {(&Login{Capabilities: Protocol41 | SSL}).AppendTLS(nil), fault.Invalid},
		"too long a proof":   {append((&Login{Capabilities: Protocol41 | LongAuth}).AppendTLS(nil), "u\x00\xc8short"...), fault.Invalid},
		"endless attributes": {append((&Login{Capabilities: Protocol41 | SecureLogin | ConnectAttrs, User: "u"}).Append(nil), 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), fault.Invalid},
	} {
		if _, err := ParseLogin(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	none := &Login{Capabilities: Protocol41}
	some := &Login{Attributes: []byte("\x0c\x02ab\x02cd\x02ef\x02gh")}
	if some.Attribute("ef") != "gh" || some.Attribute("ab") != "cd" || some.Attribute("gh") != "" || none.Attribute("ab") != "" {
		t.Errorf("%q %q", some.Attribute("ab"), some.Attribute("ef"))
	}
	none.SetAttribute("k", "1")
	none.SetAttribute("k", strings.Repeat("v", 300))
	if again, err := ParseLogin((&Login{Capabilities: none.Capabilities | SecureLogin, Attributes: none.Attributes}).Append(nil)); err != nil || len(again.Attribute("k")) != 300 {
		t.Errorf("%+v, %v", again, err)
	}
	some.SetAttribute("ab", "x")
	if string(some.Attributes) != "\x0b\x02ef\x02gh\x02ab\x01x" || some.Capabilities != ConnectAttrs {
		t.Errorf("%q", some.Attributes)
	}
	some.SetAttribute("ab", "")
	some.SetAttribute("ef", "")
	if string(some.Attributes) != "\x00" {
		t.Errorf("%q", some.Attributes)
	}
	broken := &Login{Attributes: []byte("\x05\x02ab\x09c")}
	broken.SetAttribute("k", "v")
	if string(broken.Attributes) != "\x04\x01k\x01v" {
		t.Errorf("%q", broken.Attributes)
	}
}

func TestKill(t *testing.T) {
	for in, want := range map[string]uint32{"KILL QUERY 2147483648": 2147483648, "kill 4294967295": 4294967295, " kill\thard query 3000000000 ; ": 3000000000, "KILL CONNECTION 2147483648": 2147483648,
		"KILL QUERY 2147483647": 0, "KILL QUERY 4294967296": 0, "KILL QUERY 12": 0, "KILL USER 2147483648": 0, "KILL QUERY ID 2147483648": 0, "KILLQUERY2147483648": 0,
		"KILL QUERY 2147483648 or 1": 0, "KILL QUERY 2147483648" + strings.Repeat(" ", KillSize): 0, "": 0} {
		n, at, ok := Kill([]byte(in))
		if ok != (want != 0) || ok && (n != want || in[at:at+10] != strconv.Itoa(int(want))) {
			t.Errorf("%q: %d at %d, %v", in, n, at, ok)
		}
	}
}

func TestAnswers(t *testing.T) {
	for _, n := range []uint64{0, 250, 251, 1<<16 - 1, 1 << 16, 1<<24 - 1, 1 << 24, 1<<64 - 1} {
		ok := OK{Affected: n, InsertID: n, Status: StatusMoreResults, Warnings: 3}
		if again, err := ParseOK(ok.Append(nil)); err != nil || again != ok {
			t.Errorf("%+v, %v, want %+v", again, err, ok)
		}
		if again, err := ParseColumns(appendNumber(nil, n)); err != nil || again != n {
			t.Errorf("%d, %v, want %d", again, err, n)
		}
	}
	for _, e := range []Err{{1045, "28000", "no"}, {2000, "", "no state"}, {1, "42000", ""}} {
		if again, err := ParseErr(e.Append(nil)); err != nil || again != e {
			t.Errorf("%+v, %v, want %+v", again, err, e)
		}
	}
	if p, err := ParsePrepared(unhex("0001000000020003000000")); err != nil || p != (Prepared{Statement: 1, Columns: 2, Parameters: 3}) {
		t.Errorf("%+v, %v", p, err)
	}
	if e, err := ParseEOF(unhex("fe01002200")); err != nil || e != (EOF{Warnings: 1, Status: 0x22}) {
		t.Errorf("%+v, %v", e, err)
	}
	s := Switch{Plugin: Ed25519, Data: []byte("12345678901234567890")}
	if again, err := ParseSwitch(s.Append(nil)); err != nil || !reflect.DeepEqual(*again, s) {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := ParseSwitch([]byte{HeadEOF}); !errors.Is(err, fault.Unimplemented) {
		t.Errorf("a switch to the old login: %v", err)
	}
}

func FuzzParseGreeting(f *testing.F) {
	f.Add(mariadbGreeting)
	f.Add(mysqlGreeting)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGreeting(b)
		if err != nil {
			return
		}
		again, err := ParseGreeting(g.Append(nil))
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Errorf("%+v, %v, want %+v", again, err, g)
		}
	})
}

func FuzzParseLogin(f *testing.F) {
	f.Add(mysql2Login)
	f.Add((&Login{Capabilities: Protocol41 | SecureLogin | ConnectAttrs, User: "u", Attributes: []byte{2, 0, 0}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLogin(b)
		if err != nil || len(l.Auth) > 255 {
			return
		}
		l.Capabilities = l.Capabilities&^SSL | SecureLogin
		again, err := ParseLogin(l.Append(nil))
		if err != nil || again.User != l.User || again.Database != l.Database || again.Plugin != l.Plugin || !bytes.Equal(again.Auth, l.Auth) || !bytes.Equal(again.Attributes, l.Attributes) {
			t.Errorf("%+v, %v, want %+v", again, err, l)
		}
		again.SetAttribute("k", "v")
		if last, err := ParseLogin(again.Append(nil)); err != nil || last.Attribute("k") != "v" {
			t.Errorf("%+v, %v", last, err)
		}
	})
}

func FuzzKill(f *testing.F) {
	f.Add([]byte("KILL QUERY 2147483648"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, at, ok := Kill(b); ok && string(b[at:at+10]) != strconv.FormatUint(uint64(n), 10) {
			t.Errorf("%q: %d at %d", b, n, at)
		}
	})
}

func FuzzParseAnswers(f *testing.F) {
	f.Add(OK{Affected: 1 << 20, Status: StatusMoreResults}.Append(nil))
	f.Add(Err{1045, "28000", "no"}.Append(nil))
	f.Add((&Switch{Plugin: Ed25519, Data: []byte("12345678901234567890")}).Append(nil))
	f.Add(unhex("0001000000020003000000"))
	f.Add([]byte("\x03abc\xfb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ok, err := ParseOK(b); err == nil {
			if again, err := ParseOK(ok.Append(nil)); err != nil || again != ok {
				t.Errorf("%+v, %v, want %+v", again, err, ok)
			}
		}
		if e, err := ParseErr(b); err == nil && e.State != "" {
			if again, err := ParseErr(e.Append(nil)); err != nil || again != e {
				t.Errorf("%+v, %v, want %+v", again, err, e)
			}
		}
		_, _ = ParseSwitch(b)
		_, _ = ParsePrepared(b)
		_, _ = ParseEOF(b)
		_, _ = ParseColumns(b)
		_, _ = ParseRow(b, 2)
	})
}
