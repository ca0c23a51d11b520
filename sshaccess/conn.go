package sshaccess

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/fault"
	"teleport/session"
	"teleport/sshaccess/spawn"
	"teleport/sshserver"
	"teleport/types"
)

// conn is one authenticated connection. What it may do is asked anew for every
// channel and request; what is kept here is who it is.
type conn struct {
	svc    *Service
	in     Inbound
	local  netip.AddrPort
	id     string
	peer   *sshserver.Conn
	srv    *sshserver.Server
	acct   spawn.Account
	live   *session.Live
	first  decided         // the login's decision
	ctx    context.Context // of the connection, for what outlives one request
	cancel context.CancelCauseFunc
	full   bool           // refused for max_connections, and told
	behind sync.WaitGroup // listeners of forwards

	mu       sync.Mutex
	reason   string // why the connection was cut, "" while it was not
	open     int    // session channels
	sessions map[*channel]struct{}
	seats    map[*attendance]chan struct{} // in sessions of others; closed when given up
	helper   *socketHelper
	agent    string // path of the agent's socket, once there is one
	remotes  map[string]*remoteForward
}

func (s *Service) newConn(in Inbound, local net.Addr) *conn {
	return &conn{
		svc: s, in: in, local: addrPort(local), id: uuid.NewString(),
		sessions: map[*channel]struct{}{}, seats: map[*attendance]chan struct{}{}, remotes: map[string]*remoteForward{},
		cancel: func(error) {},
	}
}

// server builds the SSH server of this connection: the whole list of what a
// client may ask of a node, each with what it needs.
func (cn *conn) server() (*sshserver.Server, error) {
	surface := sshserver.NewSurface().
		Channel("session", sshserver.Requires(access.ActionLogin), cn.serveSession).
		Channel(types.JoinChannel, sshserver.Requires(access.ActionJoin), cn.serveJoin).
		Channel("direct-tcpip", sshserver.Requires(access.ActionForwardLocal), cn.serveDirect).
		Global("tcpip-forward", sshserver.Requires(access.ActionForwardRemote), cn.startRemote).
		Global("cancel-tcpip-forward", sshserver.Open("ends only what this connection started"), cn.cancelRemote).
		Global("keepalive@openssh.com", sshserver.Open("an answer is all it asks for"), keepalive).
		Request("pty-req", sshserver.Open("checked against the decision's limits")).
		Request("window-change", sshserver.Open("of the session's own terminal")).
		Request("env", sshserver.Open("filtered by name")).
		Request("signal", sshserver.Open("to the session's own process")).
		Request("shell", sshserver.Requires(access.ActionLogin)).
		Request("exec", sshserver.Requires(access.ActionLogin)).
		Request("auth-agent-req@openssh.com", sshserver.Requires(access.ActionForwardAgent)).
		Subsystem("sftp", sshserver.Requires(access.ActionFileCopy))
	srv, err := sshserver.New(sshserver.Config{
		HostSigners: cn.svc.cfg.HostSigners,
		Verify:      cn.verify,
		Bridges:     true,
		Admit:       cn.admit,
		Authorize:   cn.authorize,
		AuthFailed:  cn.authFailed,
		Strangers:   cn.svc.cfg.Strangers,
		Surface:     surface,
		Log:         cn.svc.cfg.Log,
		KeepAlive:   cn.keepAlive,
		Budget:      cn.svc.cfg.Budget,
	})
	cn.srv = srv
	return srv, err
}

// Defaults of keep_alive_interval and keep_alive_count_max: the interval lies
// under what balancers usually forget idle connections after.
const (
	keepAliveEvery = 5 * time.Minute
	keepAliveTries = 3
)

// Whoever joins a session counts as present in it, so that their connection is
// asked more often, and waits for no resumption beyond that: a moderator whose
// laptop sleeps does not watch.
const (
	joinedAliveEvery = 10 * time.Second
	joinedAliveTries = 3
)

func (cn *conn) keepAlive() (time.Duration, int) {
	n := cn.svc.cfg.Policy.Settings().Networking
	every, tries := cmp.Or(n.KeepAliveInterval.Std(), keepAliveEvery), cmp.Or(n.KeepAliveCountMax, keepAliveTries)
	if cn.joins() {
		return min(every, joinedAliveEvery), min(tries, joinedAliveTries)
	}
	return every, tries + int(cn.in.Kept/every)
}

// file puts the authenticated connection where locks and drains find it.
func (cn *conn) file(c *sshserver.Conn) error {
	id := c.Identity
	settings := cn.svc.cfg.Policy.Settings()
	hosts := []string{cn.svc.cfg.HostID}
	for _, h := range []string{id.Authority.ProxyUUID, cn.in.ProxyID} {
		if h != "" {
			hosts = append(hosts, h)
		}
	}
	live, err := cn.svc.cfg.Sessions.Add(session.Info{
		ID: cn.id, Kind: "ssh", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles, Login: c.Login,
		Resource: "node/" + cn.svc.cfg.HostID, HostIDs: hosts, MFADevice: id.Proofs.MFADevice, DeviceID: id.Proofs.DeviceID,
		AccessRequests: id.Proofs.AccessRequests, ClientAddr: c.ClientAddr.String(), Identity: id,
		Limits: cn.first.decision.Limits, Start: time.Now(), Decide: cn.again,
		IdleMessage: settings.Networking.IdleTimeoutMessage, LimitsChanged: cn.svc.cfg.Slots.Changed,
	}, cn.cut)
	if err != nil {
		cn.rejected(fault.Message(err), 0, nil)
		return err
	}
	cn.live = live
	if cn.counts() {
		cn.svc.cfg.Slots.Follow(cn.held(), live)
	}
	return nil
}

// end runs when every handler has returned.
func (cn *conn) end() {
	cn.live.Close()
	cn.cancel(nil)
	cn.behind.Wait()
	cn.mu.Lock()
	h := cn.helper
	cn.helper = nil
	cn.mu.Unlock()
	if h != nil {
		h.close()
	}
}

const lastWords = 200 * time.Millisecond

// cut ends the connection for a reason: told to the log, told to the person, and
// then closed. Neither a disk nor a client that has stopped reading delays the
// end by more than a moment; what they hold up goes on behind it, and end waits.
func (cn *conn) cut(why error) {
	reason := session.EndReason(why)
	cn.mu.Lock()
	cn.reason = reason
	open := make([]*channel, 0, len(cn.sessions))
	for s := range cn.sessions {
		open = append(open, s)
	}
	seats := maps.Clone(cn.seats)
	cn.mu.Unlock()
	for a := range seats {
		a.stop(why)
	}
	var telling sync.WaitGroup
	telling.Go(func() { cn.disconnected(reason) })
	telling.Go(func() {
		for _, s := range open {
			s.say("\r\nERROR: " + fault.Message(why) + "\r\n")
		}
	})
	telling.Go(func() {
		for _, gone := range seats {
			<-gone // it was told by then
		}
	})
	told := make(chan struct{})
	cn.behind.Go(func() { telling.Wait(); close(told) })
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	}
	cn.cancel(why) // closes the transport, which frees whoever still speaks
}

// endReason is what session.end says.
func (cn *conn) endReason(otherwise string) string {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.reason != "" {
		return cn.reason
	}
	return otherwise
}
