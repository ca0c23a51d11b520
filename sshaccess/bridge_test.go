package sshaccess_test

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/cert/sshcert"
	"teleport/recorder"
	"teleport/sshaccess"
	"teleport/sshserver"
	"teleport/types"
	"teleport/types/event"
)

const proxyUUID = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"

// neverHere is a recorder that must not be asked.
type neverHere struct{ t *testing.T }

func (neverHere) Mode() string { return "node" }
func (n neverHere) Start(context.Context, recorder.Info) (recorder.Recording, error) {
	n.t.Error("the host records what the proxy records")
	return recorder.Off{}.Start(context.Background(), recorder.Info{})
}

var pinnedElsewhere = netip.MustParseAddr("203.0.113.7")

// countingRecorder counts what it is asked to record, as the host's own.
type countingRecorder struct {
	mu sync.Mutex
	n  int
}

func (r *countingRecorder) Mode() string { return "node" }

func (r *countingRecorder) Start(ctx context.Context, info recorder.Info) (recorder.Recording, error) {
	r.mu.Lock()
	r.n++
	r.mu.Unlock()
	rec, err := recorder.Off{}.Start(ctx, info)
	return nodeRecording{rec}, err
}

func (r *countingRecorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

type nodeRecording struct{ recorder.Recording }

func (nodeRecording) Mode() string { return "node" }

// bridgeWorld is a host that a proxy dials for alice.
func bridgeWorld(t *testing.T, change ...func(*world)) *world {
	return newWorld(t, append([]func(*world){func(w *world) {
		w.cfg.VerifyBridge = func(c *ssh.Certificate, now time.Time) (*types.Identity, error) {
			return sshcert.Verify(c, w.trust, types.IdentityBridge, now)
		}
		w.cfg.Recorder, w.policy.settings.Recording.Mode = neverHere{t}, "proxy"
		w.in = sshaccess.Inbound{ProxyID: proxyUUID, Gateway: &sshaccess.Gateway{User: "alice", Cluster: cluster}}
	}}, change...)...)
}

// bridge is a certificate by which a proxy speaks for alice, and its key.
func (w *world) bridge(ca ssh.Signer, change func(*types.Identity)) ssh.Signer {
	w.t.Helper()
	id := w.identity("alice", "root")
	a := &id.Authority
	id.Kind, a.ProxyUUID, a.DisallowReissue = types.IdentityBridge, proxyUUID, true
	a.Route = &types.Route{Kind: types.KindNode, Name: hostUUID}
	a.UserExpires = a.Expires
	a.Expires = id.IssuedAt.Add(5 * time.Minute)
	if change != nil {
		change(id)
	}
	key, _ := newSigner(w.t)
	c, err := sshcert.Sign(id, key.PublicKey(), ca, id.IssuedAt)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func named(id string) []byte {
	return ssh.Marshal(sshserver.BridgedSession{ID: id, Recording: "proxy"})
}

// TestABridgeRunsAsThePerson: the session is the person's, has the id that the
// proxy gave, is recorded there and not here, and its events are sent along.
func TestABridgeRunsAsThePerson(t *testing.T) {
	w := bridgeWorld(t)
	c := w.mustClient("root", w.bridge(w.hostCA, nil))
	sid := uuid.NewString()
	ch, reqs, err := c.Conn().OpenChannel("session", named(sid))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Conn().OpenChannel("session", named(sid)); err == nil {
		t.Error("two sessions have one id")
	}
	var sent []map[string]any
	var all sync.WaitGroup
	all.Go(func() {
		for r := range reqs {
			if r.Type == sshserver.RecordedEvent {
				var e map[string]any
				if err := json.Unmarshal(r.Payload, &e); err != nil {
					t.Error(err)
				}
				sent = append(sent, e)
			}
		}
	})
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"echo seen"})); err != nil || !ok {
		t.Fatalf("exec: %v %v", ok, err)
	}
	out, err := io.ReadAll(ch)
	all.Wait()
	if err != nil || string(out) != "seen\n" {
		t.Errorf("%q, %v", out, err)
	}
	start := w.log.wait(t, event.TypeSessionStart, "").(*event.SessionStart)
	if start.User.User != "alice" || start.SessionID != sid || start.Recording != "proxy" || start.Decision.IdentityKind != string(types.IdentityBridge) {
		t.Errorf("session.start %+v", start)
	}
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.SessionID != sid || end.Recording != "proxy" {
		t.Errorf("session.end %+v", end)
	}
	if len(sent) != 1 || sent[0]["event"] != event.TypeExec || sent[0]["sid"] != sid {
		t.Errorf("the proxy is told of %v", sent)
	}
	// The name is free again, once all of the session is gone.
	for deadline := time.Now().Add(time.Minute); ; {
		again, _, err := c.Conn().OpenChannel("session", named(sid))
		if err == nil {
			again.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestWhoseBridgeIsRefused: each part of a bridge certificate is held against the
// dial that brought it.
func TestWhoseBridgeIsRefused(t *testing.T) {
	other := uuid.NewString()
	for name, c := range map[string]struct {
		dial func(*sshaccess.Inbound)
		cert func(*types.Identity)
		by   func(*world) ssh.Signer // nil: the host authority
		as   string                  // "": root
	}{
		"without a proxy":            {dial: func(in *sshaccess.Inbound) { in.ProxyID = "" }},
		"without a gate":             {dial: func(in *sshaccess.Inbound) { in.Gateway = nil }},
		"from another proxy":         {dial: func(in *sshaccess.Inbound) { in.ProxyID = other }},
		"for who is not at the gate": {dial: func(in *sshaccess.Inbound) { in.Gateway.User = "bob" }},
		"for another host":           {cert: func(id *types.Identity) { id.Authority.Route.Name = other }},
		"for an app":                 {cert: func(id *types.Identity) { id.Authority.Route.Kind = "app" }},
		"for another login":          {cert: func(id *types.Identity) { id.Authority.Logins = []string{"nobody"} }},
		"for joining":                {cert: func(id *types.Identity) { id.Authority.Logins = []string{types.JoinLogin} }},
		"for a login, to join":       {as: types.JoinLogin},
		"expired": {cert: func(id *types.Identity) {
			id.IssuedAt = id.IssuedAt.Add(-30 * time.Minute)
			id.Authority.Expires = id.IssuedAt.Add(5 * time.Minute)
		}},
		"pinned elsewhere":      {cert: func(id *types.Identity) { id.Authority.PinnedIP = pinnedElsewhere }},
		"without roles":         {cert: func(id *types.Identity) { id.Authority.Roles = nil }},
		"by the user authority": {by: func(w *world) ssh.Signer { return w.userCA }},
		"by nobody's authority": {by: func(w *world) ssh.Signer { s, _ := newSigner(w.t); return s }},
		"as a user's by the host authority": {cert: func(id *types.Identity) {
			id.Kind, id.Authority.ProxyUUID, id.Authority.UserExpires = types.IdentityUser, "", time.Time{}
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			w := bridgeWorld(t, func(w *world) {
				if c.dial != nil {
					c.dial(&w.in)
				}
			})
			ca := w.hostCA
			if c.by != nil {
				ca = c.by(w)
			}
			login := c.as
			if login == "" {
				login = "root"
			}
			if conn, err := w.client(login, w.bridge(ca, c.cert)); err == nil {
				conn.Close()
				t.Error("it is let in")
			}
		})
	}
	for _, mode := range []string{"", "off", "node", "node-sync"} {
		t.Run("in_mode_"+mode, func(t *testing.T) {
			w := bridgeWorld(t, func(w *world) { w.policy.settings.Recording.Mode = mode })
			if conn, err := w.client("root", w.bridge(w.hostCA, nil)); err == nil {
				conn.Close()
				t.Error("it is let in, and nobody records")
			}
		})
	}
	t.Run("where_none_are_taken", func(t *testing.T) {
		w := bridgeWorld(t, func(w *world) { w.cfg.VerifyBridge = nil })
		if conn, err := w.client("root", w.bridge(w.hostCA, nil)); err == nil {
			conn.Close()
			t.Error("it is let in")
		}
	})
}

// TestABridgedSessionSaysWhoRecords: without that, or with a name of its own make,
// no session begins.
func TestABridgedSessionSaysWhoRecords(t *testing.T) {
	w := bridgeWorld(t)
	c := w.mustClient("root", w.bridge(w.hostCA, nil))
	for name, payload := range map[string][]byte{
		"nothing": nil, "no uuid": ssh.Marshal(sshserver.BridgedSession{ID: "../x", Recording: "proxy"}),
		"another form": ssh.Marshal(sshserver.BridgedSession{ID: strings.ToUpper(uuid.NewString()), Recording: "proxy"}),
		"the host":     ssh.Marshal(sshserver.BridgedSession{ID: uuid.NewString(), Recording: "node"}),
		"no mode":      ssh.Marshal(sshserver.BridgedSession{ID: uuid.NewString()}),
	} {
		if ch, _, err := c.Conn().OpenChannel("session", payload); err == nil {
			ch.Close()
			t.Errorf("%s: a session begins", name)
		}
	}
}

// TestNoUserNamesTheirRecorder: what a proxy says of a session, a user may not.
func TestNoUserNamesTheirRecorder(t *testing.T) {
	spy := &countingRecorder{}
	w := bridgeWorld(t, func(w *world) { w.cfg.Recorder = spy })
	_, signer := w.user("alice", "root")
	c := w.mustClient("root", signer)
	sid := uuid.NewString()
	ch, reqs, err := c.Conn().OpenChannel("session", named(sid))
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"true"})); err != nil || !ok {
		t.Fatalf("exec: %v %v", ok, err)
	}
	io.ReadAll(ch) //nolint:errcheck // until its end
	start := w.log.wait(t, event.TypeSessionStart, "").(*event.SessionStart)
	if start.SessionID == sid || start.Recording != "node" || spy.count() != 1 {
		t.Errorf("%+v, recorded %d times", start, spy.count())
	}
	w.log.wait(t, event.TypeSessionEnd, "")
}

// TestNobodyGoesPastTheRecorder: where proxies record, who dials the host directly
// is refused, and who comes through a proxy that does not bridge is recorded here.
func TestNobodyGoesPastTheRecorder(t *testing.T) {
	for _, mode := range []string{"proxy", "proxy-sync"} {
		spy := &countingRecorder{}
		direct := bridgeWorld(t, func(w *world) {
			w.in, w.cfg.Recorder = sshaccess.Inbound{}, spy
			w.policy.settings.Recording.Mode = mode
		})
		_, signer := direct.user("alice", "root")
		if conn, err := direct.client("root", signer); err == nil {
			conn.Close()
			t.Errorf("%s: a direct connection is let in", mode)
		} else if !strings.Contains(err.Error(), "recorded at its proxies") {
			t.Errorf("%s: %v", mode, err)
		}
		through := bridgeWorld(t, func(w *world) {
			w.cfg.Recorder = spy
			w.policy.settings.Recording.Mode = mode
		})
		_, signer = through.user("alice", "root")
		if err := through.mustClient("root", signer).Conn().Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestABridgeTakesNoSlot: the proxy counted the person's connection already.
func TestABridgeTakesNoSlot(t *testing.T) {
	w := bridgeWorld(t) // nobody counts here, so that who is counted is refused
	w.policy.roles["dev"].Spec.Options.MaxConnections = 1
	w.mustClient("root", w.bridge(w.hostCA, nil)).Close()
	_, s := w.user("alice", "root")
	if _, err := w.client("root", s); err == nil {
		t.Error("a person's own connection is not counted")
	}
}
