package inventory

import (
	"context"
	"net"
	"slices"
	"strings"

	"teleport/fault"
	"teleport/join"
	"teleport/types"
)

// announcedKinds are the kinds that a process may announce; documents of them
// bear the host's UUID as name.
func announcedKinds() []string { return []string{types.KindNode, types.KindProxy} }

// nameIndex maps host names of live nodes to UUIDs, so that a name belongs to
// one process at a time. It is read from the store on each beat and changed by
// this service's own writes at once; two auth services that admit one name
// within a beat are told apart by revision when it is read next.
type nameIndex struct {
	loaded bool
	owner  map[string]string // lower-case host name → UUID
}

func (n *nameIndex) claim(hostname, uuid string) (holder string, ok bool) {
	key := strings.ToLower(hostname)
	if n.owner == nil {
		n.owner = map[string]string{}
	}
	if holder, taken := n.owner[key]; taken && holder != uuid {
		return holder, false
	}
	n.drop(uuid)
	n.owner[key] = uuid
	return uuid, true
}

func (n *nameIndex) drop(uuid string) {
	for k, v := range n.owner {
		if v == uuid {
			delete(n.owner, k)
		}
	}
}

// loadNames reads the host names in use. A name that was given to a process
// connected here stays its own though its document is not in the store yet: it
// may have been claimed while the store was read.
func (i *Inventory) loadNames(ctx context.Context) error {
	nodes, err := i.nodes.All(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(nodes, func(a, b *types.Node) int {
		return strings.Compare(a.Metadata.Name, b.Metadata.Name)
	})
	owner := make(map[string]string, len(nodes))
	for _, n := range nodes {
		key := strings.ToLower(n.Spec.Hostname)
		if _, taken := owner[key]; key != "" && !taken {
			owner[key] = n.Metadata.Name
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	connected := make(map[string]bool, len(i.streams))
	for key := range i.streams {
		connected[key.uuid] = true
	}
	for key, uuid := range i.names.owner {
		if _, taken := owner[key]; !taken && connected[uuid] {
			owner[key] = uuid
		}
	}
	i.names = nameIndex{loaded: true, owner: owner}
	return nil
}

// claimName gives a host name to a process, or says who has it.
func (i *Inventory) claimName(ctx context.Context, hostname, uuid string) error {
	i.mu.Lock()
	loaded := i.names.loaded
	i.mu.Unlock()
	if !loaded {
		if err := i.loadNames(ctx); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if holder, ok := i.names.claim(hostname, uuid); !ok {
		return fault.New(fault.AlreadyExists, "the host name %q belongs to the live host %s", hostname, holder).
			WithHint("give one of the two another nodename")
	}
	return nil
}

// admit checks what a host may register against its certificate: its own UUID,
// a kind that its roles allow, the name and labels that its join token's scope
// allows.
func admit(id *types.Identity, doc types.Resource) error {
	h := doc.Head()
	need := map[string]types.SystemRole{types.KindNode: types.RoleNode, types.KindProxy: types.RoleProxy}[h.Kind]
	switch {
	case need == "":
		return fault.New(fault.Denied, "a process does not register documents of the kind %s", h.Kind)
	case !id.HasSystemRole(need):
		return fault.New(fault.Denied, "its certificate does not have the role %s", need)
	case h.Metadata.Name != id.Name:
		return fault.New(fault.Denied, "it may register only its own UUID, %s", id.Name)
	}
	hostname, labels, addrs := "", h.Metadata.Labels, []string(nil)
	switch d := doc.(type) {
	case *types.Node:
		if d.SubKind != "" && d.SubKind != "teleport" {
			return fault.New(fault.Denied, "an agent registers only itself, not a node of the sub kind %s", d.SubKind)
		}
		hostname, labels, addrs = d.Spec.Hostname, d.AllLabels(), d.Spec.PublicAddrs
	case *types.Proxy:
		hostname, addrs = d.Spec.Hostname, d.Spec.PublicAddrs
	}
	if own := id.Authority.Hostname; own != "" && hostname != own {
		return fault.New(fault.Denied, "its certificate is for the host name %q, not %q", own, hostname)
	}
	if !join.Covers(id.Authority.Scope, hostname, labels) {
		return fault.New(fault.Denied, "its join token does not allow the host name %q with these labels", hostname).
			WithHint("join with a token whose scope covers them")
	}
	// A dial finds a node by its registered addresses too: a host that may not bear
	// a name may not be found under it.
	for _, a := range addrs {
		if host, _, err := net.SplitHostPort(a); err == nil {
			a = host
		}
		if !join.CoversName(id.Authority.Scope, a) {
			return fault.New(fault.Denied, "its join token does not allow the address %.80q", a).
				WithHint("join with a token whose scope covers it")
		}
	}
	return nil
}
