package authapi

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/api/gen/presencev1"
	"teleport/api/rpc"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// Bounds of one call about connections.
const (
	maxHeld   = 64
	maxHeldID = 64
)

// bearer is one user in a request, with their connections.
type bearer struct {
	most   int
	places []int // in the request
	ids    []string
}

// HoldConnections counts connections of users with max_connections against all
// that they have in the cluster. Whose they are, and how many may be, is not the
// caller's word: it shows the certificate that the user showed.
func (s presenceService) HoldConnections(ctx context.Context, req *connect.Request[presencev1.HoldConnectionsRequest]) (*connect.Response[presencev1.HoldConnectionsResponse], error) {
	asked := req.Msg.Connections
	if len(asked) > maxHeld {
		return nil, fault.New(fault.Limit, "at most %d connections can be counted in one call", maxHeld)
	}
	out := &presencev1.HoldConnectionsResponse{Refusals: make([]string, len(asked)), LeaseSeconds: int64(s.a.slots.Lease() / time.Second)}
	users := map[string]*bearer{}
	for i, c := range asked {
		if err := checkConnection(c.Id); err != nil {
			return nil, err
		}
		id, err := s.holder(c.UserCert)
		if err != nil {
			out.Refusals[i] = fault.Message(err)
			continue
		}
		most := access.ConnectionLimit(access.Ask(s.a.d.Policy, id, netip.Addr{}, s.a.d.Now()))
		if most == 0 {
			continue
		}
		u := users[id.Name]
		if u == nil {
			u = &bearer{most: most}
			users[id.Name] = u
		}
		u.most = min(u.most, most) // certificates of one user may differ in their roles
		u.places, u.ids = append(u.places, i), append(u.ids, c.Id)
	}
	host := rpc.CallerFrom(ctx).Identity.Name
	for name, u := range users {
		refused, err := s.a.slots.Hold(ctx, host, name, u.ids, u.most)
		if err != nil {
			return nil, err
		}
		for _, i := range u.places {
			for _, id := range refused {
				if asked[i].Id == id {
					out.Refusals[i] = limitText(u.most)
				}
			}
		}
	}
	return connect.NewResponse(out), nil
}

// ReleaseConnections gives back slots of the caller, and of nobody else.
func (s presenceService) ReleaseConnections(ctx context.Context, req *connect.Request[presencev1.ReleaseConnectionsRequest]) (*connect.Response[presencev1.ReleaseConnectionsResponse], error) {
	if len(req.Msg.Connections) > maxHeld {
		return nil, fault.New(fault.Limit, "at most %d connections can be given back in one call", maxHeld)
	}
	users := map[string][]string{}
	for _, c := range req.Msg.Connections {
		if err := checkConnection(c.Id); err != nil {
			return nil, err
		}
		if err := types.CheckName("user", c.User); err != nil {
			return nil, err
		}
		users[c.User] = append(users[c.User], c.Id)
	}
	for name, ids := range users {
		if err := s.a.slots.Release(ctx, rpc.CallerFrom(ctx).Identity.Name, name, ids); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&presencev1.ReleaseConnectionsResponse{}), nil
}

func checkConnection(id string) error {
	if id == "" || len(id) > maxHeldID {
		return fault.New(fault.Invalid, "a connection needs an id of at most %d bytes", maxHeldID)
	}
	return nil
}

// holder reads whose connection it is. A certificate that has ended counts: a
// session may outlive it, and who may begin one is the host's decision.
func (s presenceService) holder(line string) (*types.Identity, error) {
	crt, err := keys.ParseSSHCert(line)
	if err != nil {
		return nil, err
	}
	return sshcert.Verify(crt, s.a.d.Trust(), types.IdentityUser, lastMoment(crt, s.a.d.Now()))
}

func lastMoment(crt *ssh.Certificate, now time.Time) time.Time {
	if crt.ValidBefore > 1<<40 { // no time at all: Verify refuses it
		return now
	}
	if end := time.Unix(int64(crt.ValidBefore)-1, 0); end.Before(now) {
		return end
	}
	return now
}

func limitText(most int) string {
	if most == 1 {
		return "another connection of yours is open, and your roles allow one at a time (max_connections)"
	}
	return strconv.Itoa(most) + " connections of yours are open, as many as your roles allow (max_connections)"
}
