package access_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
	"teleport/types/event"
)

// useRoles are roles that differ in everything a login looks at.
func useRoles(r *rand.Rand) []*types.Role {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var out []*types.Role
	for i := range 1 + r.IntN(3) {
		out = append(out, role(fmt.Sprintf("r%d", i), func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{Logins: []string{pick("root", "{{internal.logins}}", "ubuntu")}, NodeLabels: types.Labels{"env": {pick("prod", "dev", "*")}}}
			switch r.IntN(6) {
			case 0:
				s.Allow.NodeLabels, s.Allow.NodeLabelsExpression = nil, pick(`contains(user.spec.traits["team"], labels["team"])`, `user.metadata.name == "alice"`, `contains(user.spec.roles, "r1")`)
			case 1:
				s.Deny.Logins = []string{pick("root", "alice")}
			case 2:
				s.Deny.NodeLabels = types.Labels{"team": {pick("web", "{{external.team}}", "db")}}
			case 3:
				s.Options.DisconnectExpiredCert, s.Options.PinSourceIP = yes(), yes()
			case 4:
				s.Options.RequireSessionMFA, s.Options.ClientIdleTimeout = types.MFASession, types.Duration(time.Minute)
			}
		}))
	}
	return out
}

func randomUse(r *rand.Rand, roles []*types.Role) access.Request {
	half := func() bool { return r.IntN(2) == 0 }
	q := bare()
	q.Roles, q.Identity.Authority.Roles = roles, nil
	for _, role := range roles {
		q.Identity.Authority.Roles = append(q.Identity.Authority.Roles, role.Metadata.Name)
	}
	a := &q.Identity.Authority
	actions := []access.Action{access.ActionLogin, access.ActionDial, access.ActionFileCopy, access.ActionForwardLocal, access.ActionForwardAgent, access.ActionX11}
	if q.Action = actions[r.IntN(len(actions))]; q.Action == access.ActionDial {
		q.Login = ""
	}
	a.PermitAgent, a.PermitPortForward, a.PermitX11, q.Live, q.LocksStale = half(), half(), half(), half(), half()
	switch r.IntN(8) {
	case 0:
		a.PinnedIP = netip.MustParseAddr([]string{"10.0.0.1", "10.0.0.2"}[r.IntN(2)])
	case 1:
		a.Usage = []string{[]string{"ssh", "db"}[r.IntN(2)]}
	case 2:
		a.Route = &types.Route{Cluster: "example.com", Kind: "node", Name: []string{node().Metadata.Name, "x"}[r.IntN(2)]}
	case 3:
		a.ResourceIDs = []types.ResourceID{{Cluster: "example.com", Kind: "node", Name: []string{node().Metadata.Name, "x"}[r.IntN(2)]}}
	case 4:
		a.Expires = now().Add(-time.Minute)
	case 5:
		q.Identity.Proofs = types.Proofs{MFADevice: "m", DeviceID: "d", AccessRequests: []string{"q"}}
	case 6:
		q.Identity.IssuedAt = now().Add(-3 * time.Hour)
	case 7:
		q.Identity.Kind = types.IdentityBridge
	}
	if half() {
		q.Labels = map[string]string{"env": "prod", "team": "db"}
	}
	return q
}

// TestReplayGivesTheSameAnswer: a record holds the whole input. Decided again
// from its JSON, under the policy that it was made from, nothing differs, limits
// included.
func TestReplayGivesTheSameAnswer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	allowed := 0
	for range 1500 {
		roles := useRoles(rnd)
		q := randomUse(rnd, roles)
		p := access.Policy{Roles: func([]string) []*types.Role { return roles }, Revision: q.Policy, Cache: predicate.NewCache()}
		switch rnd.IntN(5) {
		case 0:
			p.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Device = "d" }), lock(func(l *types.LockSpec) { l.Target.AccessRequest = "q" })}
		case 1:
			p.Epoch = &types.UserEpochSpec{NotBefore: now().Add(-2 * time.Hour), Roles: []string{"r0"}, Traits: map[string][]string{"logins": {"root"}}}
		case 2:
			p.Settings.Auth.LockingMode, p.Settings.Auth.DisconnectExpiredCert = "strict", true
		case 3:
			p.Unreadable = []string{"r1"}
		}
		q.Locks, q.Epoch, q.Settings, q.Unreadable = p.Locks, p.Epoch, p.Settings, p.Unreadable
		want := access.Decide(q)
		b, err := json.Marshal(access.Record(q, want))
		if err != nil {
			t.Fatal(err)
		}
		var e event.Decision
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		got, err := access.Replay(e, p)
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if got.Reasons[0].Code != want.Reasons[0].Code || got.Allow != want.Allow || got.Role != want.Role || got.Rule != want.Rule ||
			got.Policy != want.Policy || !reflect.DeepEqual(got.Limits, want.Limits) {
			t.Fatalf("replayed %+v, recorded %+v\n%s", got, want, b)
		}
		if want.Allow {
			allowed++
		}
	}
	if allowed < 75 || allowed > 1425 {
		t.Errorf("%d of 1500 were allowed: the requests test too little", allowed)
	}
}

// TestReplayRefusesHalfARecord: what was redacted, or written by a version that
// recorded less, is not guessed at.
func TestReplayRefusesHalfARecord(t *testing.T) {
	q := request()
	whole := access.Record(q, access.Decide(q))
	p := access.Policy{Roles: func([]string) []*types.Role { return q.Roles }}
	if d, err := access.Replay(whole, p); err != nil || !d.Allow {
		t.Fatalf("%+v %v", d, err)
	}
	for name, edit := range map[string]func(*event.Decision){
		"user":     func(e *event.Decision) { e.User = "" },
		"kind":     func(e *event.Decision) { e.IdentityKind = "" },
		"resource": func(e *event.Decision) { e.ResourceKind = "" },
		"unknown":  func(e *event.Decision) { e.ResourceKind = "spaceship" },
		"name":     func(e *event.Decision) { e.ResourceName = "" },
		"time":     func(e *event.Decision) { e.At = time.Time{} },
		"login":    func(e *event.Decision) { e.Login = "" },
		"address":  func(e *event.Decision) { e.ClientAddr = "x" },
		"pin":      func(e *event.Decision) { e.PinnedIP = "x" },
	} {
		e := whole
		edit(&e)
		if d, err := access.Replay(e, p); fault.KindOf(err) != fault.Invalid || d.Allow {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
}
