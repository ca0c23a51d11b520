package sshaccess

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/google/uuid"

	"teleport/fault"
	"teleport/recorder"
	"teleport/sshserver"
	"teleport/types"
)

// A cluster may record at its proxies: then a proxy ends the person's SSH, and
// comes here with a bridge certificate, which says for whom, for which host and as
// which login, and which proxy may show it. Everything is decided about the person
// as ever; what the person is shown is recorded at the proxy, and not here again.
// Whoever comes otherwise is recorded here, whatever the mode.

// bridged reports whether a proxy speaks for the person and records.
func (cn *conn) bridged() bool {
	return cn.peer != nil && cn.peer.Identity != nil && cn.peer.Identity.Kind == types.IdentityBridge
}

// verify makes the identity of a certificate: a user's, or a bridge where the
// dial came from the proxy that it names.
func (cn *conn) verify(c *ssh.Certificate) (*types.Identity, error) {
	now := cn.svc.cfg.Now()
	id, err := cn.svc.cfg.Verify(c, now)
	if err == nil || cn.svc.cfg.VerifyBridge == nil || cn.in.ProxyID == "" || cn.in.Gateway == nil {
		return id, err
	}
	bridge, why := cn.svc.cfg.VerifyBridge(c, now)
	switch {
	case errors.Is(why, fault.Unauthenticated): // a bridge, and out of its time
		return nil, why
	case why != nil:
		return nil, err
	}
	return bridge, cn.checkBridge(bridge)
}

func (cn *conn) checkBridge(id *types.Identity) error {
	a := &id.Authority
	switch {
	case !cn.svc.cfg.Policy.Settings().Recording.AtProxy():
		return fault.New(fault.Denied, "this host records its sessions, so no proxy speaks for anybody here")
	case a.ProxyUUID != cn.in.ProxyID:
		return fault.New(fault.Untrusted, "the bridge certificate is another proxy's")
	case id.Cluster != cn.svc.cfg.Cluster:
		return fault.New(fault.Untrusted, "the bridge certificate is for a user of another cluster")
	case a.Route == nil || a.Route.Kind != types.KindNode || a.Route.Name != cn.svc.cfg.HostID:
		return fault.New(fault.Untrusted, "the bridge certificate is for another host")
	}
	return nil
}

// admitBridge holds the login against the certificate, which is for one alone;
// where nobody bridges, it keeps those away whom nobody would record.
func (cn *conn) admitBridge() error {
	if cn.bridged() {
		if !slices.Contains(cn.peer.Identity.Authority.Logins, cn.peer.Login) {
			return fault.New(fault.Denied, "the bridge certificate is for another login")
		}
		return nil
	}
	if cn.in.Gateway == nil && cn.svc.cfg.Policy.Settings().Recording.AtProxy() {
		return fault.New(fault.Denied, "sessions of this cluster are recorded at its proxies: connect through one, not directly")
	}
	return nil
}

// name takes the id and the recording mode that a proxy gives a session. The id
// is held until the channel has ended; ok is false for a malformed one, and for
// one that is in use.
func (s *channel) name(payload []byte) (ok bool) {
	var m sshserver.BridgedSession
	if ssh.Unmarshal(payload, &m) != nil || !slices.Contains([]string{"proxy", "proxy-sync", "off"}, m.Recording) {
		return false
	}
	if u, err := uuid.Parse(m.ID); err != nil || u.String() != m.ID {
		return false
	}
	svc := s.cn.svc
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if _, taken := svc.named[m.ID]; taken {
		return false
	}
	svc.named[m.ID] = struct{}{}
	s.id, s.elsewhere = m.ID, m.Recording
	return true
}

// forget gives the id of a bridged session back.
func (s *channel) forget() {
	if s.elsewhere == "" {
		return
	}
	s.cn.svc.mu.Lock()
	defer s.cn.svc.mu.Unlock()
	delete(s.cn.svc.named, s.id)
}

// recorder is who records the session: this host, or the proxy.
func (s *channel) recorder() recorder.Recorder {
	if s.elsewhere != "" {
		return atProxy{s}
	}
	return s.cn.svc.cfg.Recorder
}

// atProxy stands where a session is recorded at the proxy: what is shown passes
// there anyhow, and events are sent along.
type atProxy struct{ s *channel }

func (a atProxy) Mode() string { return a.s.elsewhere }

func (a atProxy) Start(context.Context, recorder.Info) (recorder.Recording, error) { return a, nil }

func (atProxy) Show(recorder.Stream, []byte) error { return nil }
func (atProxy) Resize(int, int) error              { return nil }
func (atProxy) Close() error                       { return nil }

func (a atProxy) Event(json ...[]byte) error {
	for _, j := range json {
		if len(j) > sshserver.MaxRecordedEvent {
			return fault.New(fault.Limit, "the event is too large for a recording")
		}
		if _, err := a.s.ch.SendRequest(sshserver.RecordedEvent, false, j); err != nil {
			return err
		}
	}
	return nil
}
