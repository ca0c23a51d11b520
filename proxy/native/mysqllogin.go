package native

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
)

const (
	// mysqlTimeout bounds a login at the agent: it dials the database, and logs in.
	mysqlTimeout = 60 * time.Second
	// mostRounds of a login; real ones take three.
	mostRounds = 8
	// shaKnown is the packet of caching_sha2_password that has no answer.
	shaKnown = "\x01\x03"
)

// introduce logs the client in at the agent, which has a greeting of its own for
// it, and passes on what they have to say to each other until that is over. A
// client that is refused was told why.
func introduce(ctx context.Context, client, agent net.Conn, login *mysqlwire.Login, untaken func(why error) error) error {
	until := time.Now().Add(mysqlTimeout)
	if err := errors.Join(agent.SetDeadline(until), client.SetDeadline(until)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { agent.Close() })
	defer stop()
	d := &introduction{client: client, agent: agent, next: sequenceLogin + 1}
	if err := d.run(login); err != nil {
		if alerted(err) {
			err = untaken(err)
		}
		return errors.Join(err, d.tell(refusalOf(err)), client.Close())
	}
	return errors.Join(agent.SetDeadline(time.Time{}), client.SetDeadline(time.Time{}))
}

// introduction is a login that goes on at the agent.
type introduction struct {
	client, agent io.ReadWriter
	next, theirs  byte // sequences of the next packet, as the client and the agent count
}

// hear returns what the agent says.
func (d *introduction) hear() ([]byte, error) {
	b, sequence, err := mysqlwire.ReadLogin(d.agent)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fault.Wrap(err, fault.Unavailable, "the agent of the database has ended the connection")
	case err == nil && (sequence != d.theirs || len(b) == 0):
		return nil, errUnreadable
	}
	d.theirs++
	return b, err
}

var errUnreadable = fault.New(fault.Untrusted, "the agent of the database answers the login with what cannot be read")

// say tells the agent.
func (d *introduction) say(b []byte) error {
	_, err := d.agent.Write(mysqlwire.Append(nil, d.theirs, b))
	d.theirs++
	return err
}

// tell tells the client.
func (d *introduction) tell(b []byte) error {
	_, err := d.client.Write(mysqlwire.Append(nil, d.next, b))
	d.next++
	return err
}

// answer passes on what the client answers.
func (d *introduction) answer() error {
	b, sequence, err := mysqlwire.ReadLogin(d.client)
	if err == nil && sequence != d.next {
		err = mysqlwire.ErrLogin
	}
	if err != nil {
		return err
	}
	d.next++
	return d.say(b)
}

// run returns why the client is not logged in.
func (d *introduction) run(login *mysqlwire.Login) error {
	b, err := d.hear()
	if err != nil {
		return err
	}
	if b[0] == mysqlwire.HeadErr {
		return refused(b)
	}
	g, err := mysqlwire.ParseGreeting(b)
	if err != nil {
		return err
	}
	if missing := login.Capabilities & needed &^ g.Capabilities; missing != 0 {
		return fault.New(fault.Unimplemented, "the database lacks what MySQL's servers have since version 5.6 (%#x)", uint32(missing)).
			WithHint("tsh proxy db --tunnel reaches it")
	}
	if err := d.say(login.Append(nil)); err != nil {
		return err
	}
	for range mostRounds {
		over, err := d.round()
		if over || err != nil {
			return err
		}
	}
	return fault.New(fault.Untrusted, "the login to the database does not come to an end")
}

// round passes on what the agent says, and the client's answer where it wants one.
func (d *introduction) round() (over bool, err error) {
	b, err := d.hear()
	if err != nil {
		return false, err
	}
	switch b[0] {
	case mysqlwire.HeadErr:
		return false, refused(b)
	case mysqlwire.HeadOK:
		return true, d.tell(b)
	case mysqlwire.HeadEOF, mysqlwire.HeadMore:
		if err := d.tell(b); err != nil || string(b) == shaKnown {
			return false, err
		}
		return false, d.answer()
	}
	return false, errUnreadable
}

// agentError is how the agent refuses a login, in the words that the client gets.
type agentError struct{ mysqlwire.Err }

// Error implements error.
func (e *agentError) Error() string { return e.Message }

// Unwrap makes it a fault.
func (e *agentError) Unwrap() error { return fault.New(fault.Denied, "%s", e.Message) }

func refused(b []byte) error {
	e, err := mysqlwire.ParseErr(b)
	if err != nil {
		return errUnreadable
	}
	return &agentError{e}
}

func refusalOf(err error) []byte {
	if e := (*agentError)(nil); errors.As(err, &e) {
		return e.Append(nil)
	}
	return mysqlwire.Refusal(err)
}
