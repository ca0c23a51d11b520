package sshproxy

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/session"
	"teleport/types"
	"teleport/types/event"
)

// alone refuses what others would have to watch: they cannot, where the proxy ends
// the session for a server that knows nothing of parties.
func (c *end) alone() error {
	if access.RequiredAttendance(c.cfg.Policy.Roles(c.peer.Identity.Authority.Roles), "ssh").Any() {
		return fault.New(fault.Denied, "others must be present in your sessions (require_session_join), and on a server without an agent they cannot be")
	}
	return nil
}

// mayCopy decides on copies of files beside SFTP.
func (c *end) mayCopy() error {
	return denied(c.decide(access.ActionFileCopy, c.cfg.Now(), false).decision)
}

// share files the session by itself, where a lock on it finds it, and makes shells
// and commands known to the cluster. Transfers of files are told by their events
// alone.
func (s *endSession) share() error {
	c, id := s.c, s.c.peer.Identity
	live, err := c.cfg.Sessions.Add(session.Info{ID: s.id, Session: s.id, Within: c.id, Kind: "ssh", User: id.Name, Cluster: id.Cluster,
		Roles: id.Authority.Roles, Login: c.peer.Login, HostIDs: []string{c.in.Node.Name(), c.cfg.HostID}, MFADevice: id.Proofs.MFADevice,
		DeviceID: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests, Start: s.started}, s.end)
	if err != nil {
		return err
	}
	s.live = live
	if s.watch != nil || c.cfg.Trackers == nil {
		return nil
	}
	// The host that tells of it carries it: this proxy.
	c.cfg.Trackers.Begin(s.id, types.SessionTrackerSpec{State: session.StateRunning, Kind: "ssh", User: id.Name, Cluster: id.Cluster,
		Roles: id.Authority.Roles, Login: c.peer.Login, HostID: c.cfg.HostID, Hostname: c.in.Node.Spec.Hostname, SubKind: c.in.Node.SubKind,
		Created: s.started.UTC(), Participants: []types.Participant{{ID: c.id, User: id.Name, Mode: access.ModePeer, LastActive: s.started.UTC()}}})
	return nil
}

// unshare undoes share, however far it came.
func (s *endSession) unshare() {
	if s.live != nil {
		s.live.Close()
	}
	s.c.mu.Lock()
	delete(s.c.sessions, s)
	s.c.mu.Unlock()
	if s.c.cfg.Trackers != nil {
		s.c.cfg.Trackers.End(s.id)
	}
}

// end cuts this session and nothing else of its connection.
func (s *endSession) end(why error) {
	s.c.mu.Lock()
	s.cut = session.EndReason(why)
	s.c.mu.Unlock()
	told := make(chan struct{})
	s.c.behind.Go(func() {
		defer close(told)
		_, _ = io.WriteString(s.client.Stderr(), "\r\nERROR: "+fault.Message(why)+"\r\n") // it may be gone
	})
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	}
	s.c.behind.Go(func() { s.remote.Close() }) // which one that reads nothing holds up
	s.c.behind.Go(func() { s.client.Close() })
}

// endReason is what session.end says.
func (s *endSession) endReason() string {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return cmp.Or(s.c.reason, s.cut, "exit")
}

// record puts an event that the audit log has taken into the recording of its
// session. What a connection does beside its sessions is in all that it has.
func (c *end) record(e event.Event) error {
	id, ok := event.RecordedIn(e)
	if !ok {
		return nil
	}
	c.mu.Lock()
	var to []*endSession
	for s := range c.sessions {
		if s.hasBegun() && (s.id == id || c.id == id) {
			to = append(to, s)
		}
	}
	c.mu.Unlock()
	if len(to) == 0 {
		return nil
	}
	text, err := json.Marshal(e)
	for _, s := range to {
		err = errors.Join(err, s.rec.Event(text))
	}
	if err != nil {
		c.cfg.Log.Error("an event could not be recorded", "event", e.EventMeta().Type, "error", err)
	}
	return fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
}
