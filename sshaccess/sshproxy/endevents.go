package sshproxy

import (
	"context"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/sshserver"
	"teleport/types/event"
)

// emitWithin bounds what a slow disk may cost.
const emitWithin = 10 * time.Second

// emit puts an event into the spool; it outlives the connection.
func (c *end) emit(e event.Event, typ, code string) error {
	m := e.EventMeta()
	m.Type, m.Code = typ, code
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	if err := c.cfg.Audit.Emit(ctx, e); err != nil {
		c.cfg.Log.Error("audit event could not be kept", "event", typ, "error", err)
		return fault.Wrap(err, fault.Unavailable, "the audit log cannot be written, so nothing may happen here")
	}
	return c.record(e)
}

// note emits what has happened already, or was refused; emit logs a failure.
func (c *end) note(e event.Event, typ, code string) { _ = c.emit(e, typ, code) }

func (c *end) who() event.User {
	id := c.peer.Identity
	return event.User{User: id.Name, UserKind: 1, UserCluster: id.Cluster, UserRoles: id.Authority.Roles, UserTraits: id.Authority.Traits,
		Login: c.peer.Login, Impersonator: id.Proofs.Impersonator, AccessRequests: id.Proofs.AccessRequests}
}

func (c *end) host() event.Server {
	n := c.in.Node
	return event.Server{Namespace: "default", ServerID: n.Name(), ServerHostname: n.Spec.Hostname, ServerAddr: n.Spec.Addr,
		ServerLabels: n.AllLabels(), ServerSubKind: n.SubKind}
}

func (c *end) wire() event.Connection {
	return event.Connection{RemoteAddr: c.in.Client.String(), Protocol: "ssh"}
}

func (c *end) authFailed(_ context.Context, f sshserver.Failure) {
	if c.full && f.Identity != nil && f.Identity == c.peer.Identity {
		return // session.rejected has told
	}
	e := &event.AuthFail{User: event.User{Login: f.User}, Server: c.host(), Connection: c.wire(),
		Status: event.Status{Error: fault.Message(f.Err), Message: f.Err.Error()}}
	if f.Identity != nil && c.peer != nil {
		e.User = c.who()
	}
	if f.Identity != nil && c.first.request.Identity == f.Identity {
		d := access.Record(c.first.request, c.first.decision)
		e.Decision = &d
	}
	c.note(e, event.TypeAuth, event.CodeAuthFail)
}

// refused tells the log of a use that was denied, in the event of its family.
func (c *end) refused(a access.Action, d decided, err error) {
	session := event.Session{SessionID: c.id}
	switch a {
	case access.ActionForwardLocal, access.ActionForwardRemote:
		c.note(&event.Port{User: c.who(), Session: session, Server: c.host(), Connection: c.wire(),
			Direction: map[bool]string{true: "remote", false: "local"}[a == access.ActionForwardRemote],
			Status:    event.Status{Error: fault.Message(err)}}, event.TypePort, event.CodePortFail)
	case access.ActionForwardAgent:
		c.note(&event.AgentForward{User: c.who(), Session: session, Server: c.host(), Connection: c.wire(),
			Status: event.Status{Error: fault.Message(err)}}, event.TypeAgentForward, event.CodeAgentForwardFail)
	case access.ActionFileCopy:
		c.note(&event.SFTP{User: c.who(), Session: session, Server: c.host(), Connection: c.wire(), Action: event.SFTPDenied,
			Error: fault.Message(err)}, event.TypeSFTP, event.CodeSFTPForbidden)
	default:
		c.rejected(fault.Message(err), 0, d)
	}
}

// rejected tells of a session that did not begin, and of the limit, if one was it.
func (c *end) rejected(reason string, most int, d decided) {
	why := access.Record(d.request, d.decision)
	c.note(&event.SessionRejected{User: c.who(), Server: c.host(), Connection: c.wire(), Reason: reason, Maximum: int64(most), Decision: &why},
		event.TypeSessionRejected, event.CodeSessionRejected)
}
