package native

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
)

// script is one side of a login: what it says, all at once, and what it hears.
type script struct {
	io.Reader
	heard bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) { return s.heard.Write(b) }

// packetsOf are the sequences and the payloads of what one heard.
func packetsOf(t testing.TB, b []byte) (sequences []byte, payloads []string) {
	for r := bytes.NewReader(b); r.Len() > 0; {
		p, sequence, err := mysqlwire.ReadLogin(r)
		if err != nil {
			t.Fatal(err)
		}
		sequences, payloads = append(sequences, sequence), append(payloads, string(p))
	}
	return sequences, payloads
}

func agentsGreeting() []byte {
	g := mysqlwire.Greeting{Version: "8", Nonce: make([]byte, mysqlwire.NonceSize), Capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin | mysqlwire.PluginAuth}
	return g.Append(nil)
}

var ownLogin = &mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SecureLogin, User: "alice"}

// lines are packets, whose sequences count up by two from first, as there is one of
// the other side's between each.
func lines(first byte, payloads ...string) (b []byte) {
	for i, p := range payloads {
		b = mysqlwire.Append(b, first+2*byte(i), []byte(p))
	}
	return b
}

func TestIntroduction(t *testing.T) {
	const another, okay = "\xfemysql_native_password\x0001234567890123456789\x00", "\x00\x00\x00\x02\x00\x00\x00"
	greeting := string(agentsGreeting())
	many := strings.Split(strings.Repeat(another+"|", mostRounds+2), "|")[:mostRounds+2]
	for name, c := range map[string]struct {
		agent, client []byte
		last          string // what the client hears at last
		told          []byte // sequences that the client hears
		err           error
	}{
		"at once":               {lines(0, greeting, okay), nil, okay, []byte{3}, nil},
		"another way, twice":    {lines(0, greeting, another, another, okay), lines(4, "a", ""), okay, []byte{3, 5, 7}, nil},
		"endless":               {lines(0, append([]string{greeting}, many...)...), lines(4, many...), "does not come to an end", nil, fault.Untrusted},
		"a wrong sequence":      {append(lines(0, greeting), lines(3, okay)...), nil, "cannot be read", []byte{3}, fault.Untrusted},
		"a greeting out of it":  {lines(1, greeting), nil, "cannot be read", []byte{3}, fault.Untrusted},
		"an empty answer":       {lines(0, greeting, ""), nil, "cannot be read", []byte{3}, fault.Untrusted},
		"ends before it greets": {nil, nil, "has ended the connection", []byte{3}, fault.Unavailable},
		"ends in a packet":      {lines(0, greeting, okay)[:len(lines(0, greeting, okay))-2], nil, "has ended the connection", []byte{3}, fault.Unavailable},
		"a client out of turn":  {lines(0, greeting, another, okay), lines(5, "a"), "not how a login", []byte{3, 4}, fault.Invalid},
		"a client that is gone": {lines(0, greeting, another, okay), nil, "", []byte{3, 4}, io.EOF},
	} {
		agent, client := &script{Reader: bytes.NewReader(c.agent)}, &script{Reader: bytes.NewReader(c.client)}
		d := &introduction{client: client, agent: agent, next: 3}
		err := d.run(ownLogin)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if err != nil {
			if err := d.tell(refusalOf(err)); err != nil {
				t.Fatal(err)
			}
		}
		sequences, said := packetsOf(t, client.heard.Bytes())
		if last := said[len(said)-1]; !strings.Contains(last, c.last) || c.told != nil && !bytes.Equal(sequences, c.told) {
			t.Errorf("%s: %q %v", name, last, sequences)
		}
	}
}

// FuzzIntroduction: whatever both say, a login ends, each side hears packets in its
// own order, and nothing but a login, and answers that it asked for, reaches the agent.
func FuzzIntroduction(f *testing.F) {
	f.Add(lines(0, string(agentsGreeting()), "\x00\x00\x00\x02\x00\x00\x00"), []byte{})
	f.Add(lines(0, string(agentsGreeting()), "\xfex\x00", "\x01\x03"), lines(4, "a"))
	f.Fuzz(func(t *testing.T, says, answers []byte) {
		agent, client := &script{Reader: bytes.NewReader(says)}, &script{Reader: bytes.NewReader(answers)}
		_ = (&introduction{client: client, agent: agent, next: 3}).run(ownLogin)
		told, _ := packetsOf(t, client.heard.Bytes())
		for i, s := range told {
			if i > 0 && s <= told[i-1] {
				t.Errorf("the client hears %v", told)
			}
		}
		heard, _ := packetsOf(t, agent.heard.Bytes())
		for i, s := range heard {
			if i == 0 && s != 1 || i > 0 && s <= heard[i-1] || i > len(told) {
				t.Errorf("the agent hears %v, the client %v", heard, told)
			}
		}
	})
}

// FuzzMySQLStart: what comes before TLS, and the login within.
func FuzzMySQLStart(f *testing.F) {
	f.Add(mysqlwire.Append(nil, 1, (&mysqlwire.Login{Capabilities: mysqlwire.Protocol41 | mysqlwire.SSL}).AppendTLS(nil)))
	f.Add(mysqlwire.Append(nil, 2, ownLogin.Append(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &script{Reader: bytes.NewReader(b)}
		if err := askedForMySQLTLS(c); (err == nil) != (c.heard.Len() == 0) {
			t.Errorf("%v, and %q is said", err, c.heard.Bytes())
		}
		if l, err := mysqlLogin(bytes.NewReader(b)); err == nil {
			if l.Capabilities&^promised != 0 {
				t.Errorf("%#x", l.Capabilities)
			}
			if again, err := mysqlwire.ParseLogin(l.Append(nil)); err != nil || again.User != l.User {
				t.Errorf("%+v, %v", again, err)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct {
		size    func([]byte) int64
		in      string
		between []bool // after each byte
	}{
		"MySQL":      {sizeOfMySQL, "\x02\x00\x00\x01ab\x00\x00\x00\x02\x01", []bool{false, false, false, false, false, true, false, false, false, true, false}},
		"PostgreSQL": {sizeOfPostgres, "Z\x00\x00\x00\x05IK\x00", []bool{false, false, false, false, false, true, false, false}},
		"rubbish":    {sizeOfPostgres, "Z\x00\x00\x00\x00Z\x00\x00\x00\x04", make([]bool, 10)},
		"Redis":      {sizeOfRedis, "+O\r\n$1\r\nx\r\n", []bool{false, false, false, true, false, false, false, false, false, false, true}},
		"no Redis":   {sizeOfRedis, "x+O\r\n", make([]bool, 5)},
	} {
		for _, step := range []int{1, 2, 3, 100} {
			m := bounds{size: c.size}
			if !m.between() {
				t.Error("it does not begin between messages")
			}
			for at := 0; at < len(c.in); at += step {
				end := min(at+step, len(c.in))
				if m.pass([]byte(c.in[at:end])); m.between() != c.between[end-1] {
					t.Errorf("%s, by %d: after %d bytes %v", name, step, end, m.between())
				}
			}
		}
	}
}
