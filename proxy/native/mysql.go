package native

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/netx"
)

// DefaultMySQLVersion is what clients of MySQL are told where nobody says otherwise.
const DefaultMySQLVersion = "8.0.0-Teleport"

// promised is what a client of MySQL may count on, which hears it before its
// database is known: what all servers have since MySQL 5.6 and MariaDB 10.0, and
// nothing of which the answers of servers look otherwise (DeprecateEOF,
// SessionTrack).
const promised = mysqlwire.LongPassword | mysqlwire.FoundRows | mysqlwire.LongFlag | mysqlwire.ConnectWithDB | mysqlwire.NoSchema | mysqlwire.ODBC |
	mysqlwire.IgnoreSpace | mysqlwire.Protocol41 | mysqlwire.Interactive | mysqlwire.IgnoreSIGPIPE | mysqlwire.Transactions | mysqlwire.Reserved |
	mysqlwire.SecureLogin | mysqlwire.MultiStatements | mysqlwire.MultiResults | mysqlwire.PSMultiResults | mysqlwire.PluginAuth |
	mysqlwire.ConnectAttrs | mysqlwire.LongAuth | mysqlwire.ExpiredPassword

// needed is what a client takes for granted that took it, and that a server must
// then have. The rest is the login's own.
const needed = mysqlwire.FoundRows | mysqlwire.MultiStatements | mysqlwire.MultiResults | mysqlwire.PSMultiResults

// Sequences of a login with TLS, as the client counts. The agent, which is not
// asked for TLS, counts one less.
const (
	sequenceTLS   = 1
	sequenceLogin = 2
)

// utf8mb4 is the number of a character set, which is a server's word: the client's
// own counts.
const utf8mb4 = 45

// ServeMySQL serves one client of MySQL or MariaDB, which waits to be greeted, and
// is closed by the caller. Nobody knows yet which database it wants: so the proxy
// greets it, and after the login the agent goes on.
func (s *Server) ServeMySQL(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	number, err := greet(c, cmp.Or(s.o.MySQLVersion, DefaultMySQLVersion))
	if err != nil {
		return err
	}
	if err := askedForMySQLTLS(c); err != nil {
		lastWords(c)
		return err
	}
	conn, x, err := s.known(ctx, c)
	if conn == nil {
		return err
	}
	login, lerr := mysqlLogin(conn)
	if err := cmp.Or(err, lerr); err != nil {
		return errors.Join(err, refuseMySQL(conn, sequenceLogin+1, err))
	}
	login.SetAttribute(mysqlwire.NumberAttribute, strconv.FormatUint(uint64(number), 10))
	agent, _, err := s.open(ctx, x, "mysql")
	if err != nil {
		return errors.Join(err, refuseMySQL(conn, sequenceLogin+1, err))
	}
	defer agent.Close()
	if err := introduce(ctx, conn, agent, login, func(why error) error { return s.untaken(x, why) }); err != nil {
		return err
	}
	w := &spoken{Conn: agent, bounds: bounds{size: sizeOfMySQL}, refusal: func(why error) []byte {
		return mysqlwire.Append(nil, 1, mysqlwire.Refusal(why)) // as the answer to what it asks, or asks next
	}}
	return netx.Splice(ctx, conn, w, netx.SpliceOptions{})
}

// greet tells the client about a server, and returns the number that it has for the
// connection: by it a second connection kills what the first one does. The number
// is the proxy's own; the agent knows whose it is.
func greet(c io.Writer, version string) (number uint32, err error) {
	var random [4 + mysqlwire.NonceSize]byte
	_, _ = rand.Read(random[:]) // never fails
	nonce := random[4:]
	for i := range nonce { // none ends a text
		nonce[i] = nonce[i]&0x7f | 1
	}
	number = binary.LittleEndian.Uint32(random[:]) | mysqlwire.FirstNumber
	g := mysqlwire.Greeting{Version: version, ConnectionID: number, Nonce: nonce, Capabilities: promised | mysqlwire.SSL,
		Charset: utf8mb4, Status: mysqlwire.StatusAutocommit, Plugin: mysqlwire.CachingSHA2}
	_, err = c.Write(mysqlwire.Append(nil, 0, g.Append(nil)))
	return number, err
}

// askedForMySQLTLS reads the wish for TLS. Nobody says who they are in plain text.
func askedForMySQLTLS(c io.ReadWriter) error {
	b, sequence, err := mysqlwire.ReadLogin(c)
	if err == nil && sequence != sequenceTLS {
		err = mysqlwire.ErrLogin
	}
	if err == nil {
		_, err = mysqlwire.ParseLogin(b)
		if errors.Is(err, mysqlwire.ErrTLS) {
			return nil
		}
	}
	if err == nil {
		err = fault.New(fault.Unauthenticated, "this port is for TLS with a certificate").WithHint("ssl-cert and ssl-key from tsh db login")
	}
	_, werr := c.Write(mysqlwire.Append(nil, sequenceTLS+1, mysqlwire.Refusal(err)))
	return errors.Join(err, werr)
}

// mysqlLogin reads a login within TLS.
func mysqlLogin(c io.Reader) (*mysqlwire.Login, error) {
	b, sequence, err := mysqlwire.ReadLogin(c)
	if err == nil && sequence != sequenceLogin {
		err = mysqlwire.ErrLogin
	}
	if err != nil {
		return nil, err
	}
	l, err := mysqlwire.ParseLogin(b)
	if err != nil {
		return nil, err
	}
	if l.Capabilities&mysqlwire.SecureLogin == 0 {
		return nil, fault.New(fault.Unimplemented, "the client speaks MySQL as it was before version 4.1")
	}
	l.Capabilities &= promised
	return l, nil
}

// refuseMySQL answers a client within its TLS.
func refuseMySQL(c net.Conn, sequence byte, why error) error {
	_, err := c.Write(mysqlwire.Append(nil, sequence, mysqlwire.Refusal(why)))
	return errors.Join(err, c.Close())
}

// sizeOfMySQL is that of a server's packet.
func sizeOfMySQL(b []byte) int64 {
	if len(b) < mysqlwire.HeadSize {
		return 0
	}
	n, _ := mysqlwire.Head(b)
	return mysqlwire.HeadSize + int64(n)
}
