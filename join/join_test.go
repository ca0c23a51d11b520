package join_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/fault"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/types"
	"teleport/types/event"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const secret = "0123456789abcdef-do-not-print"

// tokens is a store with compare-and-swap reduced to one lock.
type tokens struct {
	mu  sync.Mutex
	has map[string]*types.Token
}

func (s *tokens) Get(_ context.Context, name string) (*types.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.has[name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "no such token")
	}
	c := *t
	return &c, nil
}

func (s *tokens) Modify(_ context.Context, name string, change func(*types.Token) error) (*types.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.has[name]
	if t == nil {
		return nil, fault.New(fault.NotFound, "no such token")
	}
	c := *t
	if err := change(&c); err != nil {
		return nil, err
	}
	s.has[name] = &c
	return &c, nil
}

type events struct {
	mu   sync.Mutex
	got  []*event.InstanceJoin
	fail error
}

func (e *events) Emit(_ context.Context, evs ...event.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range evs {
		if j, ok := ev.(*event.InstanceJoin); ok {
			e.got = append(e.got, j)
		}
	}
	return e.fail
}

func gate(t *testing.T, o tokenjoin.Options, method string) (*join.Gate, *events, *types.Token) {
	t.Helper()
	doc, err := tokenjoin.NewToken(types.NewSecret(secret), o)
	if err != nil {
		t.Fatal(err)
	}
	doc.Spec.JoinMethod = method
	log := &events{}
	g, err := join.NewGate(&tokens{has: map[string]*types.Token{doc.Metadata.Name: doc}}, log, func() time.Time { return now }, tokenjoin.Method{}, otherMethod{})
	if err != nil {
		t.Fatal(err)
	}
	return g, log, doc
}

// otherMethod is a second method, so that mixing them up can be tried.
type otherMethod struct{ tokenjoin.Method }

func (otherMethod) Name() string { return "other" }

func options() tokenjoin.Options {
	return tokenjoin.Options{Roles: []types.SystemRole{types.RoleNode, types.RoleApp}, Expires: now.Add(30 * time.Minute),
		Scope: &types.JoinScope{Names: []string{"web-*"}, Labels: map[string][]string{"env": {"prod"}}}}
}

func request() join.Request {
	return join.Request{Method: "token", Token: types.NewSecret(secret), Hostname: "web-1", HostUUID: "u", Roles: []types.SystemRole{types.RoleNode}}
}

func TestAdmit(t *testing.T) {
	g, log, doc := gate(t, options(), "token")
	a, err := g.Admit(context.Background(), request())
	if err != nil {
		t.Fatal(err)
	}
	if !a.Valid() || !a.Claims().Renewable || len(a.Roles()) != 1 || a.Scope().Names[0] != "web-*" || a.At() != now {
		t.Errorf("%+v", a)
	}
	e := log.got[0]
	if !e.Success || e.Code != "TJ002I" || e.NodeName != "web-1" || e.TokenName != doc.Spec.Prefix+"…" {
		t.Errorf("%+v", e)
	}
	if (&join.Admission{}).Valid() || (*join.Admission)(nil).Valid() {
		t.Error("an admission out of nothing is valid")
	}
	if doc.Metadata.Name == secret || strings.Contains(fmt.Sprintf("%+v", doc), secret) {
		t.Error("the token resource holds the secret")
	}
}

// Each refusal is its own clear line, is audited, and tells no secret.
func TestAdmitRefuses(t *testing.T) {
	past := options()
	past.Expires = now
	used := options()
	used.MaxUses = 1
	cases := map[string]struct {
		options tokenjoin.Options
		method  string
		f       func(*join.Request)
		kind    fault.Kind
		says    string
	}{
		"wrong secret":       {options(), "token", func(r *join.Request) { r.Token = types.NewSecret(secret + "x") }, fault.Denied, "not valid"},
		"no secret":          {options(), "token", func(r *join.Request) { r.Token = types.Secret{} }, fault.Invalid, "no join token"},
		"short secret":       {options(), "token", func(r *join.Request) { r.Token = types.NewSecret("short") }, fault.Invalid, "at least 16"},
		"huge secret":        {options(), "token", func(r *join.Request) { r.Token = types.NewSecret(strings.Repeat("x", 1<<20)) }, fault.Invalid, "at most"},
		"the hash as secret": {options(), "token", func(r *join.Request) { r.Token = types.NewSecret(hashOf(t)) }, fault.Denied, "not valid"},
		"expired":            {past, "token", func(*join.Request) {}, fault.Denied, "expired"},
		"role not in token":  {options(), "token", func(r *join.Request) { r.Roles = []types.SystemRole{types.RoleNode, types.RoleAuth} }, fault.Denied, "role Auth"},
		"admin":              {options(), "token", func(r *join.Request) { r.Roles = []types.SystemRole{types.RoleAdmin} }, fault.Invalid, "Admin"},
		"no roles":           {options(), "token", func(r *join.Request) { r.Roles = nil }, fault.Invalid, "at least one"},
		"role twice":         {options(), "token", func(r *join.Request) { r.Roles = []types.SystemRole{types.RoleNode, types.RoleNode} }, fault.Invalid, "Node"},
		"token of another":   {options(), "other", func(*join.Request) {}, fault.Denied, `for the method "other"`},
		"method of another":  {options(), "token", func(r *join.Request) { r.Method = "other" }, fault.Denied, `for the method "token"`},
		"unknown method":     {options(), "token", func(r *join.Request) { r.Method = "magic" }, fault.Invalid, "not known"},
		"name out of scope":  {options(), "token", func(r *join.Request) { r.Hostname = "db-1" }, fault.Denied, "host name"},
		"huge proof":         {options(), "token", func(r *join.Request) { r.Proof = make([]byte, 1<<20) }, fault.Limit, "proof"},
		"used up":            {used, "token", func(*join.Request) {}, fault.Denied, "used up"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g, log, _ := gate(t, c.options, c.method)
			if name == "used up" {
				if _, err := g.Admit(context.Background(), request()); err != nil {
					t.Fatal(err)
				}
			}
			r := request()
			c.f(&r)
			a, err := g.Admit(context.Background(), r)
			if a != nil || !errors.Is(err, c.kind) || !strings.Contains(fault.Message(err), c.says) {
				t.Fatalf("%v, %v", a, err)
			}
			e := log.got[len(log.got)-1]
			if e.Success || e.Code != "TJ002E" || e.Message != fault.Message(err) {
				t.Errorf("%+v", e)
			}
			for _, text := range []string{err.Error(), fault.Hint(err), fmt.Sprintf("%+v", e)} {
				if s := r.Token.Reveal(); len(s) >= 16 && strings.Contains(text, s) {
					t.Errorf("the secret shows: %s", text)
				}
			}
		})
	}
}

func hashOf(t *testing.T) string {
	t.Helper()
	name, err := tokenjoin.Method{}.TokenName(types.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// The last use goes to one of many who come at once.
func TestUsesAreCounted(t *testing.T) {
	o := options()
	o.MaxUses = 3
	g, _, _ := gate(t, o, "token")
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := g.Admit(context.Background(), request()); err == nil {
				admitted.Add(1)
			}
		})
	}
	wg.Wait()
	if n := admitted.Load(); n != 3 {
		t.Errorf("%d joins with a token of 3 uses", n)
	}
}

func TestNotRecordedNotAdmitted(t *testing.T) {
	g, log, _ := gate(t, options(), "token")
	log.fail = errors.New("disk full")
	if a, err := g.Admit(context.Background(), request()); a != nil || !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v, %v", a, err)
	}
}

func TestStaticToken(t *testing.T) {
	o := tokenjoin.Options{Roles: []types.SystemRole{types.RoleNode}, Static: true}
	g, _, _ := gate(t, o, "token")
	r := request()
	r.Hostname = "anything"
	if _, err := g.Admit(context.Background(), r); err != nil {
		t.Error(err)
	}
	if _, err := tokenjoin.NewToken(types.NewSecret(secret), tokenjoin.Options{Roles: o.Roles}); err == nil {
		t.Error("a token that never expires was made")
	}
	if _, err := join.NewGate(nil, nil, nil, tokenjoin.Method{}, tokenjoin.Method{}); err == nil {
		t.Error("a method is listed twice")
	}
}

func TestCovers(t *testing.T) {
	s := &types.JoinScope{Names: []string{"web-*", "db"}, Labels: map[string][]string{"env": {"prod", "stag*"}}}
	for _, c := range []struct {
		s      *types.JoinScope
		name   string
		labels map[string]string
		want   bool
	}{
		{nil, "x", nil, true},
		{&types.JoinScope{}, "x", nil, true},
		{s, "web-1", map[string]string{"env": "prod"}, true},
		{s, "web-a/b", map[string]string{"env": "staging"}, true},
		{s, "db", map[string]string{"env": "prod", "x": "y"}, true},
		{s, "db2", map[string]string{"env": "prod"}, false},
		{s, "db", map[string]string{"env": "dev"}, false},
		{s, "db", nil, false},
		{&types.JoinScope{Names: []string{"["}}, "[", nil, false},
	} {
		if got := join.Covers(c.s, c.name, c.labels); got != c.want {
			t.Errorf("%+v covers %s %v: %v", c.s, c.name, c.labels, got)
		}
	}
}
