// Package router finds the live tunnel (or, for agents in direct mode, the
// address) behind the name that a dial carries. Names are looked up in the list
// of registered nodes, of which only what the caller may see exists for them; a
// name never becomes a destination by itself.
package router

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Nodes is the registered nodes; *store.Replica is one.
type Nodes interface {
	Nodes() []*types.Node
}

// Tunnels reaches agents; *tunnel.Registry is one.
type Tunnels interface {
	Agent(uuid string) (tunnel.AgentInfo, error)
	LastSeen(uuid string) time.Time
	Dial(ctx context.Context, uuid string, h tunframe.Header) (net.Conn, tunframe.Reply, error)
}

var _ Tunnels = (*tunnel.Registry)(nil)

// Direct dials an agent that listens by itself (direct mode), at the address
// that it registered.
type Direct func(ctx context.Context, n *types.Node, h tunframe.Header) (net.Conn, tunframe.Reply, error)

// Strategy says what happens when several nodes match.
type Strategy string

// The strategies, as in cluster_networking_config.
const (
	Unambiguous Strategy = "unambiguous_match" // an error that lists the candidates
	MostRecent  Strategy = "most_recent"       // the latest heartbeat wins
)

// Query is what somebody looks for.
type Query struct {
	// Name is a UUID, a host name, a registered address (host or host:port), or a
	// label selector k=v,k=v.
	Name string
	// Visible reports whether the caller may know of a node. It is required:
	// what it hides does not exist for them.
	Visible func(*types.Node) bool
	// Cluster is the cluster's name. OpenSSH's users write NAME.CLUSTER, which is
	// tried after all that a node says of itself.
	Cluster         string
	Strategy        Strategy // empty: Unambiguous
	CaseInsensitive bool     // host names
}

// Router resolves and dials. Safe for concurrent use.
type Router struct {
	nodes   Nodes
	tunnels Tunnels
	direct  Direct
}

// New makes a router. direct may be nil: then only tunnels are used.
func New(nodes Nodes, tunnels Tunnels, direct Direct) *Router {
	return &Router{nodes: nodes, tunnels: tunnels, direct: direct}
}

// Resolve returns the one node that a query means. It is fault.NotFound when
// the caller sees none, fault.Conflict when several match and the strategy does
// not choose; the message then lists them with their UUIDs, sorted.
func (r *Router) Resolve(q Query) (*types.Node, error) {
	if q.Visible == nil {
		return nil, fault.New(fault.Internal, "router: a query without a rule of visibility")
	}
	if q.Name == "" {
		return nil, fault.New(fault.Invalid, "the dial names no node")
	}
	all := r.nodes.Nodes()
	for _, match := range matchers(q) {
		var found []*types.Node
		for _, n := range all {
			if match(n) && q.Visible(n) {
				found = append(found, n)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1 && q.Strategy == MostRecent:
			return slices.MaxFunc(found, r.byArrival), nil
		case len(found) > 1:
			return nil, ambiguous(q.Name, found)
		}
	}
	return nil, fault.New(fault.NotFound, "there is no node %q, or you may not see it", q.Name).WithHint("tsh ls lists what you can reach")
}

// Dial resolves q and opens a stream to the node. The header's resource name
// becomes the node's UUID; a node that is registered but not connected is
// fault.Unavailable with the time since when.
func (r *Router) Dial(ctx context.Context, q Query, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	n, err := r.Resolve(q)
	if err != nil {
		return nil, tunframe.Reply{}, err
	}
	return r.DialNode(ctx, n, h)
}

// DialNode opens a stream to a node that Resolve returned.
func (r *Router) DialNode(ctx context.Context, n *types.Node, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	uuid := n.Metadata.Name
	h.Kind, h.Name = types.KindNode, uuid
	_, away := r.tunnels.Agent(uuid)
	if away != nil && !n.Spec.UseTunnel && n.Spec.Addr != "" && r.direct != nil {
		conn, reply, err := r.direct(ctx, n, h)
		reply.Hostname = cmp.Or(reply.Hostname, n.Spec.Hostname)
		return conn, reply, err
	}
	// Also without a tunnel: it may be about to come.
	conn, reply, err := r.tunnels.Dial(ctx, uuid, h)
	reply.Hostname = cmp.Or(reply.Hostname, n.Spec.Hostname)
	if err != nil && reply.Kind == "" {
		_, away := r.tunnels.Agent(uuid)
		switch {
		case errors.Is(away, tunnel.ErrDraining):
			err = fault.Wrap(away, fault.Unavailable, "node %s is stopping and takes no new connections", cmp.Or(n.Spec.Hostname, uuid))
		case away != nil:
			err = r.offline(n)
		}
	}
	return conn, reply, err
}

// offline explains why a known node cannot be reached.
func (r *Router) offline(n *types.Node) error {
	name := cmp.Or(n.Spec.Hostname, n.Metadata.Name)
	since := r.tunnels.LastSeen(n.Metadata.Name)
	if since.IsZero() {
		return fault.New(fault.Unavailable, "node %s is offline", name).WithHint("its agent has no tunnel to this proxy; agents connect to every proxy, so try again in a moment")
	}
	return fault.Wrap(dial.ErrDeparted, fault.Unavailable, "node %s is offline since %s", name, since.UTC().Format(time.RFC3339))
}

// matchers are the ways a name may match, in their order of precedence.
func matchers(q Query) []func(*types.Node) bool {
	if want, ok := selector(q.Name); ok {
		return []func(*types.Node) bool{func(n *types.Node) bool { return hasLabels(n, want) }}
	}
	same := func(a, b string) bool { return a == b }
	if q.CaseInsensitive {
		same = strings.EqualFold
	}
	uuid := func(name string) func(*types.Node) bool {
		return func(n *types.Node) bool { return n.Metadata.Name == name }
	}
	host := func(name string) func(*types.Node) bool {
		return func(n *types.Node) bool { return n.Spec.Hostname != "" && same(n.Spec.Hostname, name) }
	}
	all := []func(*types.Node) bool{uuid(q.Name), host(q.Name), func(n *types.Node) bool { return hasAddress(n, q.Name) }}
	if short, ok := strings.CutSuffix(q.Name, "."+q.Cluster); ok && q.Cluster != "" && short != "" {
		all = append(all, uuid(short), host(short))
	}
	return all
}

// selector reads k=v,k=v. Host names and addresses hold no "=".
func selector(s string) (map[string]string, bool) {
	if !strings.Contains(s, "=") {
		return nil, false
	}
	want := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(part, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, false
		}
		want[k] = v
	}
	return want, true
}

func hasLabels(n *types.Node, want map[string]string) bool {
	labels := n.AllLabels()
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// hasAddress compares with the addresses that the node registered: with the
// port, or the host alone.
func hasAddress(n *types.Node, name string) bool {
	for _, a := range append([]string{n.Spec.Addr}, n.Spec.PublicAddrs...) {
		if a == "" {
			continue
		}
		if a == name {
			return true
		}
		if host, _, err := net.SplitHostPort(a); err == nil && host == name {
			return true
		}
	}
	return false
}

// byArrival orders by when the tunnel that a dial would use came up: a machine
// that took the place of another with its name came later, and one that has no
// tunnel here comes last.
func (r *Router) byArrival(a, b *types.Node) int {
	return cmp.Or(r.since(a).Compare(r.since(b)), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
}

func (r *Router) since(n *types.Node) time.Time {
	a, err := r.tunnels.Agent(n.Metadata.Name)
	if err != nil {
		return time.Time{}
	}
	return a.Since
}

// maxListed bounds the candidates in a message.
const maxListed = 20

func ambiguous(name string, found []*types.Node) error {
	lines := make([]string, 0, len(found))
	for _, n := range found {
		lines = append(lines, n.Metadata.Name+"  "+cmp.Or(n.Spec.Hostname, "-"))
	}
	slices.Sort(lines)
	more := ""
	if len(lines) > maxListed {
		lines, more = lines[:maxListed], "\n  …"
	}
	return fault.New(fault.Conflict, "%q means %d nodes:\n  %s%s", name, len(found), strings.Join(lines, "\n  "), more).
		WithHint("name one of them by its UUID")
}
