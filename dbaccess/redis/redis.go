// Package redis is the engine for Redis and what speaks its protocol (RESP2 and
// RESP3). It shows the server the user's certificate, and logs in as a user
// without a password, whom that protects; where the server wants one, the client
// gives it by AUTH or HELLO, and for the decided user alone. Until the server has
// let that user in, nothing of the client's reaches it: it would be somebody else's.
// Then commands pass, each told to the audit log before the server has it.
package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"teleport/dbaccess"
	"teleport/dbaccess/redis/rediswire"
	"teleport/fault"
	"teleport/types/event"
)

// Engine implements dbaccess.Engine.
type Engine struct{}

var _ dbaccess.Engine = Engine{}

const (
	startTimeout = time.Minute
	loginTimeout = 30 * time.Second
	// maxTries bounds the commands of a client that does not log in.
	maxTries = 32
)

// Serve implements dbaccess.Engine.
func (Engine) Serve(ctx context.Context, s *dbaccess.Session) error {
	client := s.Client()
	if err := client.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	if err := s.Begin(ctx, "", ""); err != nil {
		return refuse(client, err)
	}
	c := &conversation{ctx: ctx, s: s, client: client}
	server, in, err := c.open()
	if err != nil {
		return refuse(client, err)
	}
	defer server.Close()
	if !in {
		if err := c.login(server); err != nil {
			if errors.Is(err, dbaccess.ErrEnded) {
				return nil
			}
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return errors.Join(err, last(client, err))
		}
	}
	if err := errors.Join(client.SetReadDeadline(time.Time{}), server.SetDeadline(time.Time{})); err != nil {
		return err
	}
	return s.Pass(ctx, server, dbaccess.Dialect{Up: &frontend{conversation: c}, Down: &backend{ctx: ctx, s: s}, Last: rediswire.Refusal,
		Abandon: func(context.Context) error { return nil }}) // a server ends what its client waits for
}

// refuse answers the first command of a client, which would not hear earlier.
func refuse(client net.Conn, why error) error {
	if _, _, err := rediswire.ReadCommand(client); err != nil && !errors.Is(err, fault.Invalid) {
		return why
	}
	return errors.Join(why, last(client, why))
}

func last(client io.Writer, why error) error {
	_, err := client.Write(rediswire.Refusal(why))
	return err
}

// conversation is what both parts of a session know.
type conversation struct {
	ctx    context.Context
	s      *dbaccess.Session
	client net.Conn
}

// open connects to the server, and reports whether it lets the user in by the
// certificate alone, or by what the agent has for a password.
func (c *conversation) open() (server net.Conn, in bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, loginTimeout)
	defer cancel()
	password, err := c.s.Password(ctx)
	if err != nil {
		return nil, false, err
	}
	raw, err := c.s.Dial(ctx)
	if err != nil {
		return nil, false, err
	}
	if server, err = c.s.Secure(ctx, raw); err != nil {
		return nil, false, errors.Join(err, raw.Close())
	}
	// A cut ends whatever waits here.
	stop := context.AfterFunc(c.ctx, func() { _ = server.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := server.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return nil, false, errors.Join(err, server.Close())
	}
	answer, err := ask(server, rediswire.Append(nil, "AUTH", c.s.User(), password))
	if err != nil {
		return nil, false, errors.Join(c.s.LoginFault(err), server.Close())
	}
	in = answer[0] == '+'
	if !in && password != "" {
		return nil, false, errors.Join(fault.New(fault.Denied, "the database says: %s", strings.TrimSpace(string(answer[1:]))), server.Close())
	}
	return server, in, nil
}

func ask(server net.Conn, command []byte) ([]byte, error) {
	if _, err := server.Write(command); err != nil {
		return nil, err
	}
	return rediswire.ReadAnswer(server)
}

// login lets the client try passwords of its user, and nothing else.
func (c *conversation) login(server net.Conn) error {
	for range maxTries {
		raw, words, err := rediswire.ReadCommand(c.client)
		if err != nil {
			return c.unreadable(raw, err)
		}
		answer := rediswire.Error("NOAUTH", "Authentication required.")
		users := logins(words)
		other := c.other(users)
		switch name := strings.ToUpper(string(words[0])); {
		case name == "QUIT":
			_, _ = c.client.Write([]byte("+OK\r\n")) // it may be gone
			return dbaccess.ErrEnded
		case other != nil:
			if err := c.fail(words, other); err != nil {
				return err
			}
			answer = rediswire.Refusal(other)
		case len(users) > 0:
			if err := errors.Join(c.tell(words), server.SetDeadline(time.Now().Add(loginTimeout))); err != nil {
				return err
			}
			if answer, err = ask(server, raw); err != nil {
				return c.s.LoginFault(err)
			}
		}
		if _, err := c.client.Write(answer); err != nil {
			return err
		}
		if len(users) > 0 && answer[0] != '-' && answer[0] != '!' {
			return nil
		}
	}
	return fault.New(fault.Denied, "too many attempts to log in")
}

// logins lists whom a command logs in: of several the server takes the last. What
// cannot be told is "", which is nobody.
func logins(words [][]byte) (users []string) {
	switch strings.ToUpper(string(words[0])) {
	case "AUTH":
		if len(words) < 3 {
			return []string{"default"}
		}
		return []string{string(words[1])}
	case "HELLO":
		for i := 2; i < len(words); {
			switch option := strings.ToUpper(string(words[i])); {
			case option == "AUTH" && i+2 < len(words):
				users = append(users, string(words[i+1]))
				i += 3
			case option == "SETNAME" && i+1 < len(words):
				i += 2
			default:
				return append(users, "")
			}
		}
	}
	return users
}

// other refuses to log in anybody but the decided user.
func (c *conversation) other(users []string) error {
	for _, u := range users {
		if u != c.s.User() {
			return fault.New(fault.Denied, "access denied: the certificate is for the database user %s, not for %q", c.s.User(), u).WithHint("--db-user=…")
		}
	}
	return nil
}

// tell puts a command into the audit log, before the server has it.
func (c *conversation) tell(words [][]byte) error {
	return c.s.Emit(c.ctx, &event.DBQuery{Statement: dbaccess.StatementOf(rediswire.Text(words)), Status: event.Status{Success: true}}, event.TypeDBQuery, event.CodeDBQuery)
}

// fail puts a refused one there.
func (c *conversation) fail(words [][]byte, why error) error {
	return c.s.Emit(c.ctx, &event.DBQueryFail{Statement: dbaccess.StatementOf(rediswire.Text(words)), Status: event.Status{Error: fault.Message(why)}}, event.TypeDBQueryFail, event.CodeDBQueryFail)
}

// unreadable tells of what is no command.
func (c *conversation) unreadable(b []byte, why error) error {
	if !errors.Is(why, fault.Invalid) && !errors.Is(why, fault.Limit) {
		return why
	}
	if err := c.s.Emit(c.ctx, dbaccess.Malformed(b, fault.Message(why)), event.TypeDBMalformed, event.CodeDBMalformed); err != nil {
		return err
	}
	return why
}
