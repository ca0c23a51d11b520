package sshaccess

import (
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/session"
	"teleport/types"
)

var errCanceled = fault.New(fault.Canceled, "the session was canceled before it began")

// noticesMost is how many lines wait for an owner who does not read; further
// ones are dropped.
const noticesMost = 32

func (s *channel) setReason(text string) bool {
	probe := types.SessionTracker{Spec: types.SessionTrackerSpec{Kind: "ssh", User: "x", Reason: text}}
	probe.Kind, probe.Version, probe.Metadata.Name = types.KindSessionTracker, "v1", s.id
	if probe.Validate() != nil {
		return false
	}
	s.reason = text
	return true
}

func (s *channel) setInvited(list string) bool {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	if len(names) > types.MaxInvited || slices.ContainsFunc(names, func(n string) bool { return types.CheckName("user", n) != nil }) {
		return false
	}
	s.invited = names
	return true
}

// share files the session by itself, where a lock on it finds it, and makes
// shells and commands known to the cluster and open to those who may join.
// Transfers of files are told by their events alone: nobody joins them.
func (s *channel) share(j job, d decided) error {
	id, cfg := s.cn.peer.Identity, &s.cn.svc.cfg
	if j.kind == "subsystem" {
		return s.file()
	}
	s.notices, s.told, s.over = make(chan string, noticesMost), make(chan chan struct{}), make(chan struct{})
	s.cn.behind.Go(s.tellOwner)
	required := access.RequiredAttendance(d.request.Roles, "ssh")
	owner := types.Participant{ID: s.cn.id, User: id.Name, Mode: access.ModePeer, LastActive: s.start.UTC()}
	s.shared = session.NewShared(session.SharedConfig{Owner: id.Name, Present: owner, Required: required,
		Cache: cfg.Cache, Notice: s.notice, Changed: s.changed, Terminate: s.kill})
	if s.ask != nil {
		s.shared.Resize(session.Size{Columns: int(s.ask.Columns), Rows: int(s.ask.Rows)})
	}
	if s.askedWho {
		s.notice(required.Text())
	}
	if err := s.file(); err != nil { // a lock that is there now ends what was just made
		return err
	}
	cfg.Trackers.Begin(s.id, types.SessionTrackerSpec{
		State: s.shared.State(), Kind: "ssh", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles, Login: s.cn.peer.Login,
		HostID: cfg.HostID, Hostname: cfg.Hostname, Created: s.start.UTC(), Participants: []types.Participant{owner},
		Reason: s.reason, Invited: s.invited,
	})
	s.cn.svc.mu.Lock()
	defer s.cn.svc.mu.Unlock()
	s.cn.svc.live[s.id] = s
	return nil
}

// file puts the session by itself where a lock on it finds it.
func (s *channel) file() error {
	id, cfg := s.cn.peer.Identity, &s.cn.svc.cfg
	live, err := cfg.Sessions.Add(session.Info{ID: s.id, Session: s.id, Within: s.cn.id, Kind: "ssh", User: id.Name, Cluster: id.Cluster,
		Roles: id.Authority.Roles, Login: s.cn.peer.Login, HostIDs: []string{cfg.HostID}, MFADevice: id.Proofs.MFADevice,
		DeviceID: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests, Start: s.start}, s.end)
	s.live = live
	return err
}

// unshare undoes share, however far it came.
func (s *channel) unshare() {
	if s.live != nil {
		s.live.Close()
	}
	s.cn.svc.mu.Lock()
	delete(s.cn.svc.live, s.id)
	s.cn.svc.mu.Unlock()
	s.cn.svc.cfg.Trackers.End(s.id)
	if s.shared != nil {
		s.shared.Close()
		s.seeOff()
	}
	if s.over != nil {
		close(s.over)
	}
}

// seeOff gives those who joined a moment to be told and to be recorded.
func (s *channel) seeOff() {
	gone := make(chan struct{})
	go func() { s.joined.Wait(); close(gone) }()
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
	}
}

func (s *channel) changed(state string, present []types.Participant) {
	s.cn.svc.cfg.Trackers.Change(s.id, func(t *types.SessionTrackerSpec) { t.State, t.Participants = state, present })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range present {
		if !slices.Contains(s.attended, p.User) {
			s.attended = append(s.attended, p.User)
		}
	}
}

// present names everybody who was in the session, the owner first.
func (s *channel) present() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.attended) == 0 {
		return []string{s.cn.peer.Identity.Name}
	}
	return slices.Clone(s.attended)
}

// notice keeps a line, or a few, for the owner. It never blocks.
func (s *channel) notice(line string) {
	select {
	case s.notices <- line:
	default:
	}
}

// tellOwner writes the notices, so that an owner who does not read delays
// nobody who joins.
func (s *channel) tellOwner() {
	for {
		select {
		case line := <-s.notices:
			s.tellLine(line)
			continue
		default:
		}
		select {
		case line := <-s.notices:
			s.tellLine(line)
		case all := <-s.told:
			for len(s.notices) > 0 {
				s.tellLine(<-s.notices)
			}
			close(all)
		case <-s.over:
			return
		}
	}
}

func (s *channel) tellLine(line string) { s.say("\r\n" + line + "\r\n") }

// tellAll gives the notices that wait a moment to be written, before the channel
// ends what is shown.
func (s *channel) tellAll() {
	all := make(chan struct{})
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case s.told <- all:
	case <-t.C:
		return
	}
	select {
	case <-all:
	case <-t.C:
	}
}

// end cuts this session and nothing else of its connection.
func (s *channel) end(why error) {
	if s.shared != nil {
		s.shared.Terminate(why)
		return
	}
	s.kill(why)
}

// kill ends what the session runs. What starts only now, startProcess ends.
func (s *channel) kill(why error) {
	s.mu.Lock()
	s.cut = why
	p, term := s.proc, s.term
	s.mu.Unlock()
	if p != nil {
		s.tellCut(why)
	}
	putDown(p, term)
}

// tellCut tells the owner why what runs is ended.
func (s *channel) tellCut(why error) {
	if s.notices != nil {
		s.notice("ERROR: " + fault.Message(why))
	}
}

// Reasons of the end of one session, as session.end gives them.
var sessionEnds = map[string]string{session.CutLocked: "lock", session.CutAttendance: "attendance", session.CutModerator: "moderator"}

// cutFor is why the session was ended, "" where it ended by itself.
func (s *channel) cutFor() string {
	s.mu.Lock()
	why := s.cut
	s.mu.Unlock()
	if s.shared != nil {
		why = s.shared.Why() // who waits in it may hear of the end before kill does
	}
	switch {
	case why == nil:
		return ""
	case fault.KindOf(why) == fault.Canceled:
		return "canceled"
	}
	return sessionEnds[session.CutReason(why)]
}
