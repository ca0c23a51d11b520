package sshaccess

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/session"
	"teleport/sshserver"
	"teleport/types"
	"teleport/types/event"
)

// joins reports whether the connection may only join sessions.
func (cn *conn) joins() bool { return cn.peer.Login == types.JoinLogin }

// attendance is one party's side of a session.
type attendance struct {
	cn    *conn
	owner *channel
	ch    ssh.Channel
	party *session.Party
	stop  context.CancelCauseFunc
	keys  presses // of those who do not type into the session

	mu   sync.Mutex // held while a press of a key is told
	over bool       // the seat was given up: no key counts any more
}

var errLeft = fault.New(fault.Canceled, "you left the session")

// serveJoin lets the peer into a session, and stays until the peer leaves, the
// session ends, or the right to be there is gone.
func (cn *conn) serveJoin(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	var m struct{ Session, Mode string }
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil {
		nc.Reject(ssh.ConnectionFailed, "malformed request to join") //nolint:errcheck // the connection is gone then
		return
	}
	if m.Mode == "" { // which asks whether there is any mode
		nc.Reject(ssh.Prohibited, "say as what you join: observer, peer or moderator") //nolint:errcheck // the connection is gone then
		return
	}
	cn.svc.mu.Lock()
	owner := cn.svc.live[m.Session]
	if owner != nil {
		owner.joined.Add(1)
	}
	cn.svc.mu.Unlock()
	if owner != nil {
		defer owner.joined.Done()
	}
	tracker, ok := cn.svc.cfg.Trackers.Find(m.Session)
	if owner == nil || !ok {
		nc.Reject(ssh.ConnectionFailed, "there is no such session here, or it has ended") //nolint:errcheck // the connection is gone then
		return
	}
	d := cn.decideJoin(tracker, m.Mode, cn.svc.cfg.Now(), false)
	if err := denied(d.decision); err != nil {
		ev := d.event()
		cn.rejected(fault.Message(err), 0, &ev)
		nc.Reject(ssh.Prohibited, fault.Message(err)) //nolint:errcheck // the connection is gone then
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go ssh.DiscardRequests(reqs)
	a := &attendance{cn: cn, owner: owner, ch: ch, stop: stop}
	defer cn.seat(a)()
	defer ch.Close()
	a.bye(ctx, a.attend(ctx, tracker, m.Mode, d))
}

// seat has a cut of the connection wait for the party to be told, until the returned
// function is called.
func (cn *conn) seat(a *attendance) (rise func()) {
	gone := make(chan struct{})
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.seats[a] = gone
	return func() {
		cn.mu.Lock()
		defer cn.mu.Unlock()
		delete(cn.seats, a)
		close(gone)
	}
}

// decideJoin asks whether the peer may be in a session.
func (cn *conn) decideJoin(t *types.SessionTracker, mode string, now time.Time, live bool) decided {
	req := cn.request(access.ActionJoin, now)
	req.Subject, req.Mode, req.Resource, req.Live = t, mode, nil, live
	return decided{req, access.Decide(req)}
}

// attend takes a seat and serves it. It returns why that ended.
func (a *attendance) attend(ctx context.Context, t *types.SessionTracker, mode string, d decided) error {
	cn, id := a.cn, a.cn.peer.Identity
	who := session.Attendant{ID: uuid.NewString(), User: id.Name, Roles: id.Authority.Roles, Mode: mode, Joined: time.Now().UTC()}
	live, err := cn.svc.cfg.Sessions.Add(session.Info{ID: who.ID, Session: a.owner.id, Within: cn.id, Kind: "ssh", User: id.Name, Cluster: id.Cluster,
		Roles: id.Authority.Roles, Login: cn.peer.Login, HostIDs: []string{cn.svc.cfg.HostID}, Start: who.Joined,
		Decide: func(now time.Time) access.Decision { return cn.decideJoin(t, mode, now, true).decision }}, a.stop)
	if err != nil {
		return err
	}
	defer live.Close()
	ev := d.event()
	// Told before the first byte; what cannot be told does not happen.
	joined := &event.SessionJoin{User: cn.who(), Session: a.session(), Server: cn.host(), Connection: cn.wire(), Owner: t.Spec.User, Mode: mode, Decision: &ev}
	if err := cn.emit(joined, event.TypeSessionJoin, event.CodeSessionJoin); err != nil {
		return err
	}
	a.record(joined)
	if a.party, err = a.owner.shared.Join(who); err == nil {
		go a.input()
		err = a.output(ctx)
		a.mu.Lock()
		a.over = true
		a.mu.Unlock()
		a.owner.shared.Leave(a.party)
	}
	left := &event.SessionLeave{User: cn.who(), Session: a.session(), Server: cn.host(), Connection: cn.wire(), Owner: t.Spec.User, Mode: mode, Reason: leaveReason(err)}
	cn.note(left, event.TypeSessionLeave, event.CodeSessionLeave)
	a.record(left)
	return err
}

func (a *attendance) session() event.Session { return a.cn.sessionOf(a.owner.id) }

// record puts an event into the recording of the session. One that has ended
// meanwhile takes no more.
func (a *attendance) record(e event.Event) {
	b, err := json.Marshal(e)
	if err == nil {
		err = a.owner.rec.Event(b)
	}
	if err != nil {
		a.cn.svc.cfg.Log.Debug("who joined is not in the recording", "session", a.owner.id, "error", err)
	}
}

func leaveReason(err error) string {
	switch {
	case fault.KindOf(err) == fault.Limit:
		return "slow"
	case session.EndReason(err) != "":
		return session.EndReason(err)
	case fault.KindOf(err) == fault.Canceled:
		return "left"
	}
	return "end"
}

// output shows the session until there is no more of it, or ctx ends.
func (a *attendance) output(ctx context.Context) error {
	// A peer that does not read keeps no seat.
	defer context.AfterFunc(ctx, func() { a.owner.shared.Leave(a.party) })()
	for {
		out, size, err := a.party.Next(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		if size != nil {
			a.ch.SendRequest("window-change", false, ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{ //nolint:errcheck // the peer is gone then
				uint32(size.Columns), uint32(size.Rows), 0, 0}))
		}
		a.cn.live.Touch()
		for len(out) > 0 {
			n, err := a.ch.Write(out[:min(chunk, len(out))])
			if err != nil {
				return errLeft
			}
			if out = out[n:]; ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
}

// input takes what the party types: a peer's keys go to the session, a
// moderator's p pauses it and lets it go on, t ends it, and Ctrl-C lets those leave
// who do not type.
func (a *attendance) input() {
	buf := make([]byte, inputChunk)
	for {
		n, err := a.ch.Read(buf)
		if n > 0 {
			a.cn.live.Touch()
			a.typed(buf[:n])
		}
		if err != nil {
			a.stop(errLeft)
			return
		}
	}
}

func (a *attendance) typed(p []byte) {
	who := a.party.Who()
	if who.Mode == access.ModePeer {
		a.owner.cn.live.Touch()
		a.owner.typedByPeer(p)
		return
	}
	p = a.keys.keys(p)
	switch {
	case bytes.IndexByte(p, interrupt) >= 0:
		a.stop(errLeft)
	case who.Mode == access.ModeModerator && bytes.IndexByte(p, 't') >= 0:
		a.owner.shared.Terminate(session.EndedByModerator(who.User))
	case bytes.IndexByte(p, 'p') >= 0:
		a.press()
	}
}

// press is a moderator's key to pause and go on; who has used it is told.
func (a *attendance) press() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	paused, counted := a.owner.shared.Press(a.party)
	if !counted {
		return
	}
	cn, code := a.cn, event.CodeSessionPauseEnd
	if paused {
		code = event.CodeSessionPause
	}
	e := &event.SessionPause{User: cn.who(), Session: a.session(), Server: cn.host(), Connection: cn.wire(), Owner: a.owner.cn.peer.Identity.Name, Paused: paused}
	cn.note(e, event.TypeSessionPause, code)
	a.record(e)
}

// typedByPeer passes a peer's keys to the terminal, while the session runs. A
// command without a terminal has one input, and it is the owner's.
func (s *channel) typedByPeer(p []byte) {
	s.mu.Lock()
	term, proc := s.term, s.proc
	s.mu.Unlock()
	if term != nil && proc != nil && s.shared.Running() {
		term.Master.Write(p) //nolint:errcheck // it has ended then, which is seen elsewhere
	}
}

// bye tells the party why it is over, as far as there is anything to tell. Of whoever
// left, and of all when the session ends, all is well; not where a lock ended it, or the
// seat alone, of which ctx tells.
func (a *attendance) bye(ctx context.Context, why error) {
	code, well := uint32(0), why == nil || fault.KindOf(why) == fault.Canceled || fault.KindOf(why) == fault.Unavailable || session.CutReason(why) != ""
	if !well || session.EndReason(why) != "" || session.CutReason(context.Cause(ctx)) != "" {
		code = exitNotFound
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(a.ch.Stderr(), "\r\n"+fault.Message(why)+"\r\n")                  //nolint:errcheck // best effort, the event is in the log
		a.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code})) //nolint:errcheck // the peer is gone then
	}()
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-sent:
	case <-t.C:
		a.ch.Close()
		<-sent
	}
}
