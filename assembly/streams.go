package assembly

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/agent/agentd"
	"teleport/cert/tlscert"
	"teleport/config"
	"teleport/fault"
	"teleport/generation"
	"teleport/resume"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
)

// streams keep the sessions of this host while their clients have no connection.
func (p *Process) streams(uuid string) *agentd.Streams {
	return &agentd.Streams{
		Timeout: p.detached(),
		Verify: func(c *x509.Certificate, _ time.Time) (*types.Identity, error) {
			return tlscert.Verify([]*x509.Certificate{c}, p.replica.Trust(), p.clock.Now(), types.IdentityUser) // a clock which never goes back
		},
		Decide: func(id *types.Identity, resource string, from resume.Party, now time.Time) access.Decision {
			r := access.Ask(p.replica, id, from.Client.Addr(), now)
			r.Action, r.HostID, r.Live, r.Cache = access.ActionDial, uuid, true, p.decisions
			kind, name, _ := strings.Cut(resource, "/")
			switch {
			case kind == types.KindNode && p.node != nil:
				r.Resource = p.node.document()
			case kind == types.KindDatabase:
				if d, ok := p.databases.find(name); ok {
					r.Resource = d
				}
			case kind == types.KindApp:
				if a, ok := p.apps.find(name); ok {
					r.Resource = a
				}
			}
			return access.Decide(r)
		},
		Observe:  p.streamChanged,
		Handover: generation.NewHandover(p.cfg.DataDir, p.number),
		Changed:  p.replica.Subscribe,
	}
}

// detached is how long a stream is kept whose client lost its connection.
func (p *Process) detached() time.Duration {
	if p.cfg.SSH != nil {
		return p.cfg.SSH.Detached
	}
	return config.DefaultDetached
}

// emitWithin bounds what a slow disk may cost an event.
const emitWithin = 10 * time.Second

// streamChanged tells the audit log what happened to a stream. There is nothing
// left to refuse when that fails.
func (p *Process) streamChanged(n resume.Notice) {
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	if err := p.writer.Emit(ctx, streamEvent(n, p.member.Identity().Name, p.cfg.Nodename)); err != nil {
		p.log.Error("audit event could not be kept", "stream", n.Stream.ID, "what", string(n.What), telemetry.KeyErr, err)
	}
}

func streamEvent(n resume.Notice, uuid, hostname string) event.Event {
	id := n.Stream.Identity
	owner := event.User{User: id.Name, UserKind: 1, UserCluster: id.Cluster, UserRoles: id.Authority.Roles, UserTraits: id.Authority.Traits,
		Impersonator: id.Proofs.Impersonator, AccessRequests: id.Proofs.AccessRequests}
	if slices.Contains(id.Authority.SystemRoles, types.RoleBot) {
		owner.UserKind = 2
	}
	host := event.Server{Namespace: "default", ServerID: uuid, ServerHostname: hostname}
	wire := event.Connection{RemoteAddr: n.From.Client.String(), Protocol: "ssh"}
	gap := ""
	if n.What == resume.Attached || n.What == resume.Expired {
		gap = n.Gap.Round(time.Millisecond).String()
	}
	switch n.What {
	case resume.Attached:
		e := &event.SessionAttach{User: owner, Server: host, Connection: wire, Stream: n.Stream.ID, ProxyID: n.From.Proxy, Gap: gap}
		e.Type, e.Code = event.TypeSessionAttach, event.CodeSessionAttach
		return e
	case resume.Refused:
		e := &event.SessionAttach{User: event.User{User: n.From.User, UserCluster: n.From.Cluster}, Server: host, Connection: wire,
			Status: event.Status{Error: fault.Message(n.Err)}, Stream: n.Stream.ID, ProxyID: n.From.Proxy, Owner: id.Name}
		e.Type, e.Code = event.TypeSessionAttach, event.CodeSessionAttachNo
		return e
	}
	e := &event.SessionDetach{User: owner, Server: host, Connection: wire, Stream: n.Stream.ID, ProxyID: n.From.Proxy, Gap: gap}
	e.Type, e.Code = event.TypeSessionDetach, event.CodeSessionDetach
	if n.What == resume.Expired {
		e.Code = event.CodeSessionDetachEnd
	} else if n.Err != nil {
		e.Reason = whyDetached(n.Err)
	}
	return e
}

// whyDetached has words for a connection that just ended: that is no fault of ours.
func whyDetached(err error) string {
	var known *fault.Error
	if errors.As(err, &known) || fault.KindOf(err) != fault.Internal {
		return fault.Message(err)
	}
	return "its connection broke off"
}

// proxyAddrs lists where clients may go on with a stream, should this proxy end.
func (p *Process) proxyAddrs() []string {
	var list []string
	for _, x := range p.replica.Proxies() {
		for _, addr := range append([]string{x.Spec.Addr}, x.Spec.PublicAddrs...) {
			if addr != "" && len(addr) <= 255 && !slices.Contains(list, addr) && len(list) < tunframe.MaxReplyProxies {
				list = append(list, addr)
			}
		}
	}
	return list
}
