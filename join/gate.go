package join

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// Tokens is where token resources live. Modify reads a token, lets change edit
// it, and writes it back, again while others get in between; an error of change
// ends it unwritten. store.Collection[*types.Token] is one.
type Tokens interface {
	Get(ctx context.Context, name string) (*types.Token, error)
	Modify(ctx context.Context, name string, change func(*types.Token) error) (*types.Token, error)
}

// Emitter takes audit events.
type Emitter interface {
	Emit(ctx context.Context, events ...event.Event) error
}

// Gate decides who may join. Safe for concurrent use.
type Gate struct {
	tokens  Tokens
	events  Emitter
	now     func() time.Time
	methods map[string]Method
}

// NewGate returns a gate that knows the listed methods. Two of one name are
// fault.Internal.
func NewGate(tokens Tokens, events Emitter, now func() time.Time, methods ...Method) (*Gate, error) {
	g := &Gate{tokens: tokens, events: events, now: now, methods: map[string]Method{}}
	for _, m := range methods {
		if m.Name() == "" || g.methods[m.Name()] != nil {
			return nil, fault.New(fault.Internal, "the join method %q is listed twice or has no name", m.Name())
		}
		g.methods[m.Name()] = m
	}
	return g, nil
}

// Request is one attempt to join, as it came in.
type Request struct {
	Method    string
	Token     types.Secret
	Proof     []byte
	Challenge []byte
	HostUUID  string
	Hostname  string
	Roles     []types.SystemRole
	Addr      netip.AddrPort // of the process, as auth saw it
}

// Admission is a granted join. Only Gate.Admit makes one that is valid, which is
// what the issuer asks for: there is no other way from a token to a certificate.
type Admission struct {
	granted bool
	claims  Claims
	method  string
	token   string // masked
	roles   []types.SystemRole
	scope   *types.JoinScope
	at      time.Time
}

// Valid reports whether the admission was made by a gate.
func (a *Admission) Valid() bool { return a != nil && a.granted }

// Claims returns what the method proved.
func (a *Admission) Claims() Claims { return a.claims }

// Roles returns the system roles granted: those asked for.
func (a *Admission) Roles() []types.SystemRole { return slices.Clone(a.roles) }

// Scope returns what may be registered under the identity; nil is no limit.
func (a *Admission) Scope() *types.JoinScope { return a.scope }

// At returns when the admission was granted.
func (a *Admission) At() time.Time { return a.at }

// By names method and token, masked, for messages.
func (a *Admission) By() string { return a.method + " token " + a.token }

// Admit checks an attempt and counts a use of the token. Each refusal is a fault
// that says what to do, and both outcomes are audited; when the event cannot be
// recorded nobody is admitted.
func (g *Gate) Admit(ctx context.Context, r Request) (*Admission, error) {
	a, err := g.admit(ctx, r)
	e := g.joinEvent(r, a)
	if err != nil {
		e.Meta.Code = event.CodeInstanceJoinFail
		e.Status = event.Status{Error: err.Error(), Message: fault.Message(err)}
	}
	if emitErr := g.events.Emit(ctx, e); emitErr != nil && err == nil {
		return nil, fault.Wrap(emitErr, fault.Unavailable, "the join could not be recorded in the audit log")
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (g *Gate) admit(ctx context.Context, r Request) (*Admission, error) {
	m := g.methods[r.Method]
	if m == nil {
		return nil, fault.New(fault.Invalid, "the join method %.60q is not known to this auth service", r.Method).
			WithHint("known methods: %s", strings.Join(g.Methods(), ", "))
	}
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	name, err := m.TokenName(r.Token)
	if err != nil {
		return nil, err
	}
	tok, err := g.tokens.Get(ctx, name)
	if errors.Is(err, fault.NotFound) {
		return nil, errNoToken()
	}
	if err != nil {
		return nil, err
	}
	now := g.now()
	if err := g.checkToken(tok, r, now); err != nil {
		return nil, err
	}
	claims, err := m.Verify(ctx, VerifyRequest{Token: tok, Sent: r.Token, Proof: r.Proof, Challenge: r.Challenge, Now: now})
	if err != nil {
		return nil, err
	}
	if tok, err = g.use(ctx, name, r, now); err != nil {
		return nil, err
	}
	return &Admission{
		granted: true, claims: claims, method: r.Method, token: g.masked(r), roles: slices.Clone(r.Roles), scope: cloneScope(tok.Spec.Scope), at: now,
	}, nil
}

// Methods lists what the gate knows, sorted.
func (g *Gate) Methods() []string {
	var names []string
	for n := range g.methods {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// errNoToken is what a wrong secret gets, and a token that was removed or swept
// after its expiry: from the outside they are the same.
func errNoToken() error {
	return fault.New(fault.Denied, "the join token is not valid").
		WithHint("tokens expire (30 minutes unless made otherwise); make a new one with: tctl tokens add --type=node")
}

const (
	maxProof = 64 << 10
	maxRoles = 16
)

func checkRequest(r Request) error {
	if len(r.Proof) > maxProof {
		return fault.New(fault.Limit, "the proof is larger than %d bytes", maxProof)
	}
	if len(r.Roles) == 0 || len(r.Roles) > maxRoles {
		return fault.New(fault.Invalid, "a process joins with at least one and at most %d system roles", maxRoles)
	}
	for i, role := range r.Roles {
		if role == types.RoleAdmin || role == "" || slices.Contains(r.Roles[:i], role) {
			return fault.New(fault.Invalid, "the system role %.60q cannot be asked for", role)
		}
	}
	return nil
}

// checkToken holds the rules of all methods; it runs again when a use is counted.
func (g *Gate) checkToken(tok *types.Token, r Request, now time.Time) error {
	if tok.Spec.JoinMethod != r.Method {
		return fault.New(fault.Denied, "the join token is for the method %q, not %q", tok.Spec.JoinMethod, r.Method).
			WithHint("set teleport.join_params.method to %s", tok.Spec.JoinMethod)
	}
	if exp := tok.Metadata.Expires; exp != nil && !now.Before(*exp) {
		return fault.New(fault.Denied, "the join token expired at %s", exp.UTC().Format(time.RFC3339)).
			WithHint("make a new one with: tctl tokens add; if it should still be valid, compare the clocks")
	}
	if tok.Spec.MaxUses > 0 && tok.Spec.Uses >= tok.Spec.MaxUses {
		return fault.New(fault.Denied, "the join token is used up").
			WithHint("make a new one with: tctl tokens add")
	}
	for _, role := range r.Roles {
		if role != types.RoleInstance && !slices.Contains(tok.Spec.Roles, role) {
			return fault.New(fault.Denied, "the join token does not allow the role %s", role).
				WithHint("it allows: %s", joinRoles(tok.Spec.Roles))
		}
	}
	if !CoversName(tok.Spec.Scope, r.Hostname) {
		return fault.New(fault.Denied, "the join token does not allow the host name %.80q", r.Hostname).
			WithHint("it allows: %s", strings.Join(tok.Spec.Scope.Names, ", "))
	}
	return nil
}

// use counts a use under compare-and-swap, with the rules looked at again, so that
// two at once never share the last use.
func (g *Gate) use(ctx context.Context, name string, r Request, now time.Time) (*types.Token, error) {
	tok, err := g.tokens.Get(ctx, name)
	if err == nil && tok.Spec.MaxUses == 0 {
		return tok, g.checkToken(tok, r, now)
	}
	tok, err = g.tokens.Modify(ctx, name, func(t *types.Token) error {
		if err := g.checkToken(t, r, now); err != nil {
			return err
		}
		t.Spec.Uses++
		return nil
	})
	if errors.Is(err, fault.NotFound) {
		return nil, errNoToken()
	}
	return tok, err
}

func (g *Gate) masked(r Request) string {
	m := g.methods[r.Method]
	if m == nil || m.Secret() {
		return Mask(r.Token)
	}
	return r.Token.Reveal()
}

func (g *Gate) joinEvent(r Request, a *Admission) *event.InstanceJoin {
	e := &event.InstanceJoin{
		Meta:       event.Meta{Type: event.TypeInstanceJoin, Code: event.CodeInstanceJoin},
		Connection: event.Connection{RemoteAddr: addrString(r.Addr)},
		Status:     event.Status{Success: true},
		HostID:     clip(r.HostUUID), NodeName: clip(r.Hostname), Method: clip(r.Method), TokenName: clip(g.masked(r)),
	}
	for _, role := range r.Roles[:min(len(r.Roles), maxRoles)] {
		e.Roles = append(e.Roles, clip(string(role)))
	}
	if len(e.Roles) > 0 {
		e.Role = e.Roles[0]
	}
	if a != nil && len(a.claims.Attributes) > 0 {
		if b, err := json.Marshal(a.claims.Attributes); err == nil {
			e.Attributes = string(b)
		}
	}
	return e
}

// clip bounds what a stranger sent before it goes into the log.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 255)], "?") }

func addrString(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func joinRoles(roles []types.SystemRole) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

func cloneScope(s *types.JoinScope) *types.JoinScope {
	if s == nil {
		return nil
	}
	c := &types.JoinScope{Names: slices.Clone(s.Names)}
	for k, v := range s.Labels {
		if c.Labels == nil {
			c.Labels = map[string][]string{}
		}
		c.Labels[k] = slices.Clone(v)
	}
	return c
}
