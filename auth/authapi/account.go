package authapi

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/accountv1"
	"teleport/api/rpc"
	"teleport/auth/login"
	"teleport/fault"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// maxTokenTTL bounds the life of a join token.
const maxTokenTTL = 30 * 24 * time.Hour

// accountService makes accounts, links and join tokens.
type accountService struct{ a *API }

// InviteUser makes a user without credentials and the link that sets them.
func (s accountService) InviteUser(ctx context.Context, req *connect.Request[accountv1.InviteUserRequest]) (*connect.Response[accountv1.LinkResponse], error) {
	c := rpc.CallerFrom(ctx)
	ttl, err := lifetime(req.Msg.TtlSeconds)
	if err != nil {
		return nil, err
	}
	doc, err := s.a.d.Store.Decode(ctx, req.Msg.User)
	if err != nil {
		return nil, err
	}
	u, ok := doc.(*types.User)
	if !ok {
		return nil, fault.New(fault.Invalid, "the document is not a user")
	}
	if err := s.a.rule(ctx, c, types.KindUser, "create", u); err != nil {
		return nil, err
	}
	if err := s.a.mayGrant(c, u, nil); err != nil {
		return nil, err
	}
	stored, err := s.a.writeUser(ctx, c, store.Create, nil, u)
	if err != nil {
		return nil, err
	}
	if err := s.a.emit(ctx, changeEvent(c, nil, stored)); err != nil {
		return nil, err
	}
	link, err := s.a.d.Login.Invite(ctx, u.Metadata.Name, ttl, c.Name())
	if err != nil {
		// Nobody can use an account without its link: it does not stay.
		if undo := s.a.deleteUser(ctx, u.Metadata.Name, ""); undo != nil {
			s.a.d.Log.WarnContext(ctx, "a user without a link could not be removed", "user", u.Metadata.Name, "error", undo)
		}
		return nil, err
	}
	return s.link(ctx, c, u.Metadata.Name, link)
}

// ResetUser drops a user's credentials and makes the link that sets new ones.
// Certificates issued before are no longer good.
func (s accountService) ResetUser(ctx context.Context, req *connect.Request[accountv1.ResetUserRequest]) (*connect.Response[accountv1.LinkResponse], error) {
	c := rpc.CallerFrom(ctx)
	ttl, err := lifetime(req.Msg.TtlSeconds)
	if err != nil {
		return nil, err
	}
	u, err := s.a.users.Get(ctx, req.Msg.User)
	if err != nil {
		return nil, err
	}
	if err := s.a.rule(ctx, c, types.KindUser, "update", u); err != nil {
		return nil, err
	}
	// Who resets an account can become it: that takes what giving its roles takes.
	if err := s.a.mayGrant(c, u, nil); err != nil {
		return nil, err
	}
	link, err := s.a.d.Login.Reset(ctx, u.Metadata.Name, ttl, c.Name())
	if err != nil {
		return nil, err
	}
	if err := s.a.expireCertificates(ctx, u); err != nil {
		return nil, err
	}
	return s.link(ctx, c, u.Metadata.Name, link)
}

// link records a new link and answers with it.
func (s accountService) link(ctx context.Context, c rpc.Caller, user string, l login.Link) (*connect.Response[accountv1.LinkResponse], error) {
	res := event.Resource{Name: user, Expires: &l.Expires, UpdatedBy: who(c).User}
	if err := s.a.emit(ctx, &event.ResetToken{User: who(c), Resource: res, Connection: from(c), Purpose: l.Purpose}); err != nil {
		return nil, err
	}
	out := &accountv1.LinkResponse{Token: l.Token.Reveal(), Path: "/web/" + l.Purpose + "/" + l.Token.Reveal(),
		ExpiresUnix: l.Expires.Unix()}
	if s.a.d.PublicAddr != nil {
		if addr := s.a.d.PublicAddr(); addr != "" {
			out.Url = "https://" + addr + out.Path
		}
	}
	return connect.NewResponse(out), nil
}

// CreateToken makes a join token. Its secret is in the answer and nowhere else.
func (s accountService) CreateToken(ctx context.Context, req *connect.Request[accountv1.CreateTokenRequest]) (*connect.Response[accountv1.CreateTokenResponse], error) {
	c := rpc.CallerFrom(ctx)
	ttl, err := lifetime(req.Msg.TtlSeconds)
	if err != nil {
		return nil, err
	}
	if ttl > maxTokenTTL {
		return nil, fault.New(fault.Invalid, "a join token lives at most %d days", int(maxTokenTTL.Hours()/24))
	}
	if ttl == 0 {
		ttl = tokenjoin.DefaultTTL
	}
	wanted := &types.Token{}
	if err := json.Unmarshal(req.Msg.Token, wanted); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the token document cannot be read")
	}
	secret := types.NewSecret(wanted.Metadata.Name)
	if secret.Empty() {
		if secret, err = tokenjoin.NewSecret(); err != nil {
			return nil, err
		}
	}
	token, err := tokenjoin.NewToken(secret, tokenjoin.Options{Roles: wanted.Spec.Roles, Expires: s.a.d.Now().Add(ttl),
		MaxUses: wanted.Spec.MaxUses, Scope: wanted.Spec.Scope, Labels: wanted.Spec.SuggestedLabels})
	if err != nil {
		return nil, err
	}
	if err := s.a.mayAdmit(c, token); err != nil {
		return nil, err
	}
	if token, err = store.Of[*types.Token](s.a.d.Store).Create(ctx, token); err != nil {
		return nil, err
	}
	return s.newToken(ctx, c, secret, token)
}

func (s accountService) newToken(ctx context.Context, c rpc.Caller, secret types.Secret, token *types.Token) (*connect.Response[accountv1.CreateTokenResponse], error) {
	e := &event.JoinTokenCreate{User: who(c), Connection: from(c), JoinMethod: token.Spec.JoinMethod,
		Resource: event.Resource{Name: join.Mask(secret), Expires: token.Metadata.Expires, UpdatedBy: who(c).User}}
	for _, r := range token.Spec.Roles {
		e.Roles = append(e.Roles, string(r))
	}
	if err := s.a.emit(ctx, e); err != nil {
		return nil, err
	}
	b, err := json.Marshal(token)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the token cannot be encoded")
	}
	return connect.NewResponse(&accountv1.CreateTokenResponse{Secret: secret.Reveal(), Token: b,
		CaPins: s.a.d.Trust().Pins(s.a.d.Cluster)}), nil
}

// DeleteToken removes a join token by its secret, its stored name or the prefix
// that listings show.
func (s accountService) DeleteToken(ctx context.Context, req *connect.Request[accountv1.DeleteTokenRequest]) (*connect.Response[accountv1.DeleteTokenResponse], error) {
	c := rpc.CallerFrom(ctx)
	tokens := store.Of[*types.Token](s.a.d.Store)
	found, err := s.findToken(ctx, tokens, req.Msg.Token)
	if err != nil {
		return nil, err
	}
	if err := tokens.Delete(ctx, found.Metadata.Name, ""); err != nil {
		return nil, err
	}
	if err := s.a.emit(ctx, deleteEvent(c, found)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&accountv1.DeleteTokenResponse{}), nil
}

func (s accountService) findToken(ctx context.Context, tokens store.Collection[*types.Token], given string) (*types.Token, error) {
	name, _ := tokenjoin.Method{}.TokenName(types.NewSecret(given)) // "" for what is too short to be a secret
	all, err := tokens.All(ctx)
	if err != nil {
		return nil, err
	}
	prefix := strings.TrimSuffix(given, "…")
	var found []*types.Token
	for _, t := range all {
		if t.Metadata.Name == name || len(prefix) >= join.PrefixLen && strings.HasPrefix(t.Metadata.Name, prefix) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return nil, fault.New(fault.NotFound, "there is no such join token").WithHint("tctl tokens ls shows them by prefix")
	case 1:
		return found[0], nil
	}
	return nil, fault.New(fault.Conflict, "%d join tokens begin with %q", len(found), prefix).WithHint("give more of it")
}

// WhoAmI tells callers how they are seen.
func (s accountService) WhoAmI(ctx context.Context, _ *connect.Request[accountv1.WhoAmIRequest]) (*connect.Response[accountv1.WhoAmIResponse], error) {
	c := rpc.CallerFrom(ctx)
	b, err := json.Marshal(c.Identity)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the identity cannot be encoded")
	}
	return connect.NewResponse(&accountv1.WhoAmIResponse{Identity: b, ClientAddr: c.Addr.String(),
		SshEndsAtProxy: s.a.d.Policy.Settings().Recording.AtProxy()}), nil
}
