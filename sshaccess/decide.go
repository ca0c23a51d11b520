package sshaccess

import (
	"context"
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/keys"
	"teleport/session"
	"teleport/sshaccess/spawn"
	"teleport/sshserver"
	"teleport/types"
)

// decided keeps a decision with its input, for the log.
type decided struct {
	request  access.Request
	decision access.Decision
}

// admit is the login: identity, login, this host and the action as one tuple,
// then what the host itself says of the account.
func (cn *conn) admit(ctx context.Context, c *sshserver.Conn) error {
	cn.peer = c
	if g := cn.in.Gateway; g != nil && (g.User != c.Identity.Name || g.Cluster != c.Identity.Cluster) {
		return fault.New(fault.Denied, "the identity inside the connection is not the one that came through the proxy")
	}
	if err := cn.admitBridge(); err != nil {
		return err
	}
	if cn.joins() {
		cn.first = cn.decide(access.ActionJoin, cn.svc.cfg.Now())
		if err := denied(cn.first.decision); err != nil {
			return err
		}
		return cn.count(ctx)
	}
	if !spawn.ValidLogin(c.Login) {
		return fault.New(fault.Invalid, "not a login name")
	}
	now := cn.svc.cfg.Now()
	cn.first = cn.decide(access.ActionLogin, now)
	if err := denied(cn.first.decision); err != nil {
		return err
	}
	acct, err := cn.svc.cfg.Accounts.Lookup(ctx, c.Login)
	if err != nil {
		return err
	}
	if err := cn.svc.cfg.Accounts.MayLogin(acct, now); err != nil {
		return err
	}
	cn.acct = acct
	return cn.count(ctx)
}

// counts reports whether the connection takes a slot here. What a proxy carries
// on with a bridge took one there.
func (cn *conn) counts() bool { return cn.peer.Identity.Kind != types.IdentityBridge }

// count takes a slot for the connection where the user may have only so many.
func (cn *conn) count(ctx context.Context) error {
	if !cn.counts() {
		return nil
	}
	most := cn.first.decision.Limits.MaxConnections
	err := cn.svc.cfg.Slots.Take(ctx, cn.held(), most)
	if cn.full = err != nil; cn.full {
		d := cn.first.event()
		cn.rejected(fault.Message(err), int64(most), &d)
	}
	return err
}

func (cn *conn) held() session.Held {
	return session.Held{ID: cn.id, User: cn.peer.Identity.Name, Credential: keys.SSHLine(cn.peer.Certificate)}
}

// authorize decides one use of the surface. The node's own switches come after
// the roles: a switch can only take away.
func (cn *conn) authorize(_ context.Context, _ *sshserver.Conn, u sshserver.Use) error {
	a, _ := u.Need.Action()
	d := cn.decide(a, cn.svc.cfg.Now())
	err := denied(d.decision)
	if err == nil && cn.joins() && a != access.ActionJoin {
		err = fault.New(fault.Denied, "a connection that joins sessions does nothing else")
	}
	if err == nil {
		err = cn.switches(a)
	}
	if err != nil {
		cn.refused(a, u, d, err)
	}
	return err
}

func (cn *conn) switches(a access.Action) error {
	switch a {
	case access.ActionForwardLocal, access.ActionForwardRemote, access.ActionFileCopy:
		roles := cn.svc.cfg.Policy.Roles(cn.peer.Identity.Authority.Roles)
		if access.RequiredAttendance(roles, "ssh").Any() {
			return fault.New(fault.Denied, "others must be present in your sessions (require_session_join), and this is nothing that they could watch")
		}
	}
	switch a {
	case access.ActionForwardLocal, access.ActionForwardRemote:
		if !cn.svc.cfg.PortForwarding {
			return fault.New(fault.Denied, "port forwarding is switched off on this node")
		}
	case access.ActionFileCopy:
		if !cn.svc.cfg.FileCopy {
			return fault.New(fault.Denied, "file transfer is switched off on this node")
		}
	}
	return nil
}

// decide asks for (identity, login, node, action), from the policy of now.
func (cn *conn) decide(a access.Action, now time.Time) decided {
	req := cn.request(a, now)
	return decided{req, access.Decide(req)}
}

func (cn *conn) request(a access.Action, now time.Time) access.Request {
	r := access.Ask(cn.svc.cfg.Policy, cn.peer.Identity, cn.peer.ClientAddr.Addr(), now)
	r.Action, r.Resource, r.HostID, r.Login, r.Cache = a, cn.svc.cfg.Node(), cn.svc.cfg.HostID, cn.peer.Login, cn.svc.cfg.Cache
	r.Labels = cn.svc.cfg.Node().AllLabels() // told in session.start
	return r
}

// again decides the live connection from the policy of now. A certificate that
// predates a change of its user's roles opens nothing new, but what is open
// goes on as far as the user's present roles and traits allow it.
func (cn *conn) again(now time.Time) access.Decision {
	a := access.ActionLogin
	if cn.joins() {
		a = access.ActionJoin
	}
	req := cn.request(a, now)
	req.Live = true
	return access.Decide(req)
}

// denied turns a no into the line that the person sees.
func denied(d access.Decision) error {
	if d.Allow {
		return nil
	}
	var texts []string
	for _, r := range d.Reasons {
		if r.Text != "" && !slices.Contains(texts, r.Text) {
			texts = append(texts, r.Text)
		}
	}
	if len(texts) == 0 {
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", strings.Join(texts, "; "))
}
