package sshaccess

import (
	"context"
	"log/slog"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/sshserver"
	"teleport/types"
	"teleport/types/event"
)

// emitWithin bounds what a slow disk may cost; the spool does not wait for auth.
const emitWithin = 10 * time.Second

// emit puts an event into the spool. It outlives the connection's context, as
// the end of a session is told after it.
func (cn *conn) emit(e event.Event, typ, code string) error {
	m := e.EventMeta()
	m.Type, m.Code = typ, code
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	if err := cn.svc.cfg.Audit.Emit(ctx, e); err != nil {
		cn.svc.cfg.Log.Error("audit event could not be kept", slog.String("event", typ), slog.Any("error", err))
		return fault.Wrap(err, fault.Unavailable, "the audit log cannot be written, so nothing may happen here")
	}
	return cn.record(e)
}

// note emits what has already happened, or was refused: there is nothing left
// to refuse when it fails, and emit has logged it.
func (cn *conn) note(e event.Event, typ, code string) { _ = cn.emit(e, typ, code) }

func (cn *conn) who() event.User {
	if cn.peer == nil || cn.peer.Identity == nil {
		return event.User{}
	}
	id := cn.peer.Identity
	return event.User{
		User: id.Name, UserKind: userKind(id), UserCluster: id.Cluster, UserRoles: id.Authority.Roles, UserTraits: id.Authority.Traits,
		Login: cn.peer.Login, Impersonator: id.Proofs.Impersonator, AccessRequests: id.Proofs.AccessRequests,
	}
}

func userKind(id *types.Identity) int {
	for _, r := range id.Authority.SystemRoles {
		if r == types.RoleBot {
			return 2
		}
	}
	return 1
}

func (cn *conn) host() event.Server {
	node := cn.svc.cfg.Node()
	return event.Server{
		Namespace: "default", ServerID: cn.svc.cfg.HostID, ServerHostname: cn.svc.cfg.Hostname,
		ServerAddr: node.Spec.Addr, ServerLabels: node.AllLabels(), ServerSubKind: node.SubKind,
	}
}

func (cn *conn) wire() event.Connection {
	c := event.Connection{RemoteAddr: cn.in.ClientAddr.String(), Protocol: "ssh"}
	if cn.local.IsValid() {
		c.LocalAddr = cn.local.String()
	}
	return c
}

// gateway says how the connection came in, nil without a gate.
func (cn *conn) gateway() *event.Gateway {
	if cn.in.Gateway == nil {
		return nil
	}
	return &event.Gateway{ProxyID: cn.in.ProxyID, CertSHA256: cn.in.Gateway.CertSHA256, Stream: cn.in.Stream}
}

// sessionOf names the session, or the connection where there is none.
func (cn *conn) sessionOf(id string) event.Session {
	s := event.Session{SessionID: id}
	if cn.peer != nil && cn.peer.Identity != nil {
		s.WithMFA = cn.peer.Identity.Proofs.MFADevice
	}
	return s
}

func (d decided) event() event.Decision { return access.Record(d.request, d.decision) }

func (cn *conn) authFailed(_ context.Context, f sshserver.Failure) {
	if cn.full && f.Identity != nil && f.Identity == cn.peer.Identity {
		return // session.rejected has told
	}
	e := &event.AuthFail{User: event.User{Login: f.User}, Server: cn.host(), Connection: cn.wire()}
	if f.Identity != nil {
		e.User = cn.who()
		e.User.Login = f.User
	}
	e.Status = event.Status{Error: fault.Message(f.Err), Message: f.Err.Error()}
	if f.Identity != nil && cn.first.request.Identity == f.Identity {
		d := cn.first.event()
		e.Decision = &d
	}
	cn.note(e, event.TypeAuth, event.CodeAuthFail)
}

// refused tells the log of a use that was denied, in the event of its family.
func (cn *conn) refused(a access.Action, u sshserver.Use, d decided, err error) {
	status := event.Status{Error: fault.Message(err)}
	switch a {
	case access.ActionForwardLocal, access.ActionForwardRemote:
		cn.note(&event.Port{User: cn.who(), Session: cn.sessionOf(cn.id), Server: cn.host(), Connection: cn.wire(),
			Status: status, Direction: direction(a)}, event.TypePort, event.CodePortFail)
	case access.ActionForwardAgent:
		cn.note(&event.AgentForward{User: cn.who(), Session: cn.sessionOf(cn.id), Server: cn.host(), Connection: cn.wire(),
			Status: status}, event.TypeAgentForward, event.CodeAgentForwardFail)
	case access.ActionFileCopy:
		cn.note(&event.SFTP{User: cn.who(), Session: cn.sessionOf(cn.id), Server: cn.host(), Connection: cn.wire(),
			Action: event.SFTPDenied, Error: fault.Message(err)}, event.TypeSFTP, event.CodeSFTPForbidden)
	default:
		ev := d.event()
		cn.rejected(fault.Message(err), 0, &ev)
	}
	cn.svc.cfg.Log.Debug("refused", "kind", u.Kind, "name", u.Name, "reason", fault.Message(err))
}

func direction(a access.Action) string {
	if a == access.ActionForwardRemote {
		return "remote"
	}
	return "local"
}

func (cn *conn) rejected(reason string, most int64, d *event.Decision) {
	cn.note(&event.SessionRejected{User: cn.who(), Server: cn.host(), Connection: cn.wire(), Reason: reason, Maximum: most, Decision: d},
		event.TypeSessionRejected, event.CodeSessionRejected)
}

func (cn *conn) disconnected(reason string) {
	cn.note(&event.ClientDisconnect{User: cn.who(), Session: cn.sessionOf(cn.id), Server: cn.host(), Connection: cn.wire(), Reason: reason},
		event.TypeClientDisconnect, event.CodeClientDisconnect)
}
