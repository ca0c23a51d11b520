package mysql

import (
	"context"
	"net"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
)

var _ dbaccess.Checker = Engine{}

// nobody is who a check logs in as. No server has such a user.
const nobody = "teleport-health-check"

// Check implements dbaccess.Checker. Servers count connections that end before a
// login, and refuse their host after a hundred of them. So the check answers the
// greeting, as somebody whom the server does not know, and hears that.
func (Engine) Check(_ context.Context, conn net.Conn) error {
	p := packets{rw: conn}
	b, err := p.read()
	if err != nil {
		return err
	}
	if b[0] == mysqlwire.HeadErr { // it takes no connections: too many, or a host that is refused
		e, err := mysqlwire.ParseErr(b)
		if err != nil {
			return err
		}
		return fault.New(fault.Unavailable, "the server says: %s", e.Message)
	}
	greeting, err := mysqlwire.ParseGreeting(b)
	if err != nil {
		return err
	}
	login := mysqlwire.Login{Capabilities: greeting.Capabilities & offered &^ mysqlwire.ConnectWithDB &^ mysqlwire.ConnectAttrs, User: nobody,
		Charset: greeting.Charset, Plugin: greeting.Plugin}
	if err := p.write(login.Append(nil)); err != nil {
		return err
	}
	_, err = p.read()
	return err
}
