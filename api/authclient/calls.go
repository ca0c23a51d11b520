package authclient

import (
	"context"
	"io"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/api/gen/accountv1"
	"teleport/api/gen/auditv1"
	"teleport/api/gen/issuev1"
	"teleport/api/gen/joinv1"
	"teleport/api/gen/loginv1"
	"teleport/api/gen/presencev1"
	"teleport/api/gen/statusv1"
	"teleport/api/rpc"
	"teleport/fault"
)

// Joiner admits a process; the client that plays it needs no certificate.
type Joiner interface {
	Challenge(ctx context.Context, method string) ([]byte, error)
	Join(ctx context.Context, req *joinv1.JoinRequest) (*joinv1.JoinResponse, error)
}

// Renewer replaces the host certificate that the client shows.
type Renewer interface {
	Renew(ctx context.Context, req *joinv1.RenewRequest) (*joinv1.JoinResponse, error)
}

// Presence opens the control stream of a process.
type Presence interface {
	Control(ctx context.Context) (ControlStream, error)
}

// Shipper sends audit records and learns what is durable.
type Shipper interface {
	Ship(ctx context.Context, req *auditv1.ShipRequest) (acknowledged uint64, err error)
}

var (
	_ Joiner   = (*Client)(nil)
	_ Renewer  = (*Client)(nil)
	_ Presence = (*Client)(nil)
	_ Shipper  = (*Client)(nil)
)

// Ping asks what anybody may know of the cluster.
func (c *Client) Ping(ctx context.Context) (*statusv1.PingResponse, error) {
	return unary(ctx, c.status.Ping, &statusv1.PingRequest{})
}

// Status asks what an administrator wants to know first.
func (c *Client) Status(ctx context.Context) (*statusv1.StatusResponse, error) {
	return unary(ctx, c.status.Status, &statusv1.StatusRequest{})
}

// Challenge starts a join with a method that answers one.
func (c *Client) Challenge(ctx context.Context, method string) ([]byte, error) {
	resp, err := unary(ctx, c.join.Challenge, &joinv1.ChallengeRequest{Method: method})
	return resp.GetChallenge(), err
}

// Join trades a proof for host certificates.
func (c *Client) Join(ctx context.Context, req *joinv1.JoinRequest) (*joinv1.JoinResponse, error) {
	return unary(ctx, c.join.Join, req)
}

// JoinOpenSSH registers a stock SSH server and gets its host certificate.
func (c *Client) JoinOpenSSH(ctx context.Context, req *joinv1.JoinOpenSSHRequest) (*joinv1.JoinOpenSSHResponse, error) {
	return unary(ctx, c.join.JoinOpenSSH, req)
}

// Renew replaces the host certificate that this client shows. It runs on a
// connection of its own: the one in use may have been made with the certificate
// before the current one, and a renewal with an old certificate is what a cloned
// host looks like.
func (c *Client) Renew(ctx context.Context, req *joinv1.RenewRequest) (*joinv1.JoinResponse, error) {
	client, done := c.fresh()
	defer done()
	return unary(ctx, client.Renew, req)
}

// Login checks a person's proofs and issues certificates (proxies only).
func (c *Client) Login(ctx context.Context, req *loginv1.LoginRequest) (*loginv1.CertsResponse, error) {
	return unary(ctx, c.login.Login, req)
}

// StartWebSession logs a browser in (proxies only).
func (c *Client) StartWebSession(ctx context.Context, req *loginv1.StartWebSessionRequest) (*loginv1.StartWebSessionResponse, error) {
	return unary(ctx, c.login.StartWebSession, req)
}

// UseWebSession trades a bearer for a certificate of minutes (proxies only).
func (c *Client) UseWebSession(ctx context.Context, req *loginv1.UseWebSessionRequest) (*loginv1.CertsResponse, error) {
	return unary(ctx, c.login.UseWebSession, req)
}

// CheckWebSession tells whether a bearer's session lives (proxies only).
func (c *Client) CheckWebSession(ctx context.Context, req *loginv1.CheckWebSessionRequest) (*loginv1.CheckWebSessionResponse, error) {
	return unary(ctx, c.login.CheckWebSession, req)
}

// EndWebSession logs a browser out (proxies only).
func (c *Client) EndWebSession(ctx context.Context, req *loginv1.EndWebSessionRequest) error {
	_, err := unary(ctx, c.login.EndWebSession, req)
	return err
}

// StartAppSession makes a session with one app of a web session (proxies only).
func (c *Client) StartAppSession(ctx context.Context, req *loginv1.StartAppSessionRequest) (*loginv1.StartAppSessionResponse, error) {
	return unary(ctx, c.login.StartAppSession, req)
}

// OpenAppSession gives a session with an app to its browser (proxies only).
func (c *Client) OpenAppSession(ctx context.Context, req *loginv1.OpenAppSessionRequest) (*loginv1.OpenAppSessionResponse, error) {
	return unary(ctx, c.login.OpenAppSession, req)
}

// UseAppSession trades the bearer of a session with an app for a bridge certificate
// (proxies only).
func (c *Client) UseAppSession(ctx context.Context, req *loginv1.UseAppSessionRequest) (*loginv1.UseAppSessionResponse, error) {
	return unary(ctx, c.login.UseAppSession, req)
}

// EndAppSession ends a session with an app (proxies only).
func (c *Client) EndAppSession(ctx context.Context, req *loginv1.EndAppSessionRequest) error {
	_, err := unary(ctx, c.login.EndAppSession, req)
	return err
}

// GetInvite tells what an invite or reset link asks for (proxies only).
func (c *Client) GetInvite(ctx context.Context, req *loginv1.GetInviteRequest) (*loginv1.GetInviteResponse, error) {
	return unary(ctx, c.login.GetInvite, req)
}

// AcceptInvite sets password and second factor, and spends the link (proxies only).
func (c *Client) AcceptInvite(ctx context.Context, req *loginv1.AcceptInviteRequest) (*loginv1.AcceptInviteResponse, error) {
	return unary(ctx, c.login.AcceptInvite, req)
}

// Reissue narrows the caller's own user certificate.
func (c *Client) Reissue(ctx context.Context, req *issuev1.ReissueRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.Reissue, req)
}

// SignUser issues certificates for a user (local administrator only).
func (c *Client) SignUser(ctx context.Context, req *issuev1.SignUserRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.SignUser, req)
}

// SignHost issues a host certificate (local administrator only).
func (c *Client) SignHost(ctx context.Context, req *issuev1.SignHostRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.SignHost, req)
}

// SignDatabase issues a certificate for a database server (local administrator
// only).
func (c *Client) SignDatabase(ctx context.Context, req *issuev1.SignHostRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.SignDatabase, req)
}

// OpenSSH issues the certificate with which this proxy enters a server without an
// agent for a user (proxies only).
func (c *Client) OpenSSH(ctx context.Context, req *issuev1.OpenSSHRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.OpenSSH, req)
}

// HoldConnections takes or renews slots for connections of users who have
// max_connections (agents and proxies only).
func (c *Client) HoldConnections(ctx context.Context, req *presencev1.HoldConnectionsRequest) (*presencev1.HoldConnectionsResponse, error) {
	return unary(ctx, c.presence.HoldConnections, req)
}

// ReleaseConnections gives slots of this process back.
func (c *Client) ReleaseConnections(ctx context.Context, req *presencev1.ReleaseConnectionsRequest) error {
	_, err := unary(ctx, c.presence.ReleaseConnections, req)
	return err
}

// Bridge issues the certificate with which this proxy goes on to a node for a user
// whose SSH it ends (proxies only).
func (c *Client) Bridge(ctx context.Context, req *issuev1.BridgeRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.Bridge, req)
}

// BridgeTLS issues the certificate with which this proxy goes on to an agent for a
// user whose TLS it ends.
func (c *Client) BridgeTLS(ctx context.Context, req *issuev1.BridgeTLSRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.BridgeTLS, req)
}

// DatabaseCert issues the certificate with which this agent logs in to a database
// for a user (database agents only).
func (c *Client) DatabaseCert(ctx context.Context, req *issuev1.DatabaseRequest) (*issuev1.IssuedCerts, error) {
	return unary(ctx, c.issue.Database, req)
}

// AppToken issues the token by which an app learns who a user is (app agents only).
func (c *Client) AppToken(ctx context.Context, req *issuev1.AppTokenRequest) (*issuev1.AppTokenResponse, error) {
	return unary(ctx, c.issue.AppToken, req)
}

// InviteUser makes a user without credentials and the link that sets them.
func (c *Client) InviteUser(ctx context.Context, req *accountv1.InviteUserRequest) (*accountv1.LinkResponse, error) {
	return unary(ctx, c.account.InviteUser, req)
}

// ResetUser drops a user's credentials and makes the link that sets new ones.
func (c *Client) ResetUser(ctx context.Context, req *accountv1.ResetUserRequest) (*accountv1.LinkResponse, error) {
	return unary(ctx, c.account.ResetUser, req)
}

// CreateToken makes a join token; its secret is in this answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, req *accountv1.CreateTokenRequest) (*accountv1.CreateTokenResponse, error) {
	return unary(ctx, c.account.CreateToken, req)
}

// DeleteToken removes a join token by its secret or its displayed prefix.
func (c *Client) DeleteToken(ctx context.Context, token string) error {
	_, err := unary(ctx, c.account.DeleteToken, &accountv1.DeleteTokenRequest{Token: token})
	return err
}

// WhoAmI tells how the auth service sees this client.
func (c *Client) WhoAmI(ctx context.Context) (*accountv1.WhoAmIResponse, error) {
	return unary(ctx, c.account.WhoAmI, &accountv1.WhoAmIRequest{})
}

// Explain asks why a user may or may not do something. The JSON is what the
// service said, with fields that this version need not know.
func (c *Client) Explain(ctx context.Context, req *accessv1.ExplainRequest) (*access.Explanation, error) {
	resp, err := unary(ctx, c.access.Explain, req)
	if err != nil {
		return nil, err
	}
	return decode[access.Explanation](resp.Explanation)
}

// PlanAccess asks what a change of roles would give and take. Nothing is written.
func (c *Client) PlanAccess(ctx context.Context, req *accessv1.PlanRequest) (*access.Plan, error) {
	resp, err := unary(ctx, c.access.Plan, req)
	if err != nil {
		return nil, err
	}
	return decode[access.Plan](resp.Plan)
}

// Ship sends one batch of a writer's records. It returns the sequence up to
// which everything is durable; sending a batch again is harmless.
func (c *Client) Ship(ctx context.Context, req *auditv1.ShipRequest) (uint64, error) {
	resp, err := unary(ctx, c.audit.Ship, req)
	return resp.GetAcknowledged(), err
}

// SearchEvents returns one page of events.
func (c *Client) SearchEvents(ctx context.Context, req *auditv1.SearchRequest) (*auditv1.SearchResponse, error) {
	return unary(ctx, c.audit.Search, req)
}

// AuditHead returns the newest signed checkpoint.
func (c *Client) AuditHead(ctx context.Context) ([]byte, error) {
	resp, err := unary(ctx, c.audit.Head, &auditv1.HeadRequest{})
	return resp.GetCheckpoint(), err
}

// ExportAudit writes blocks, checkpoints and public keys to w: all that
// verification needs.
func (c *Client) ExportAudit(ctx context.Context, req *auditv1.ExportRequest, w io.Writer) error {
	stream, err := c.audit.Export(ctx, connect.NewRequest(req))
	if err != nil {
		return rpc.FromWire(err)
	}
	defer func() { _ = stream.Close() }() // the answer has been read; closing cannot change it
	for stream.Receive() {
		if _, err := w.Write(stream.Msg().Chunk); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the export could not be written")
		}
	}
	return rpc.FromWire(stream.Err())
}

// ControlStream is the control stream of one process. Send and Receive may run
// concurrently with each other, but not with themselves.
type ControlStream interface {
	Send(m *presencev1.ControlRequest) error
	Receive() (*presencev1.ControlResponse, error)
	// Close ends both directions.
	Close() error
}

// Control opens the control stream; the first message is Hello. It does not wait
// for the server: that it cannot be reached, or refuses, shows in the first
// Receive. The stream ends with ctx, with the certificate that it was opened with,
// and with Redial.
func (c *Client) Control(ctx context.Context) (ControlStream, error) {
	ctx, cancel := c.links.stream(ctx)
	s := c.presence.Control(ctx)
	// The request goes out before there is a message, so that a refusal comes early.
	if err := s.Send(nil); err != nil {
		defer cancel()
		return nil, streamError(ctx, err)
	}
	return &controlStream{stream: s, ctx: ctx, cancel: cancel}, nil
}

type controlStream struct {
	stream *connect.BidiStreamForClient[presencev1.ControlRequest, presencev1.ControlResponse]
	ctx    context.Context // of the call
	cancel context.CancelFunc
}

// Send reports why the peer ended the stream, where it did.
func (s *controlStream) Send(m *presencev1.ControlRequest) error {
	err := s.stream.Send(m)
	if err != nil {
		if _, cause := s.stream.Receive(); cause != nil {
			err = cause
		}
	}
	return streamError(s.ctx, err)
}

func (s *controlStream) Receive() (*presencev1.ControlResponse, error) {
	m, err := s.stream.Receive()
	return m, streamError(s.ctx, err)
}

func (s *controlStream) Close() error {
	err := s.stream.CloseRequest()
	s.cancel()
	return err
}
