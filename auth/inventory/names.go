package inventory

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"teleport/fault"
	"teleport/join"
	"teleport/types"
)

// announcers are the kinds that a process may announce, and the role that it
// needs for each.
func announcers() map[string]types.SystemRole {
	return map[string]types.SystemRole{types.KindNode: types.RoleNode, types.KindProxy: types.RoleProxy, types.KindDatabaseServer: types.RoleDb, types.KindAppServer: types.RoleApp}
}

// announcedBy finds the documents of a host: of most kinds there is one, named by
// its UUID; of those that front resources, one for each.
func (i *Inventory) announcedBy(ctx context.Context, uuid string) ([]docKey, error) {
	keys := []docKey{{types.KindNode, uuid}, {types.KindProxy, uuid}}
	servers, err := i.databases.All(ctx)
	for _, s := range servers {
		if s.Spec.HostID == uuid {
			keys = append(keys, docKey{types.KindDatabaseServer, s.Metadata.Name})
		}
	}
	if err != nil {
		return nil, err
	}
	apps, err := i.apps.All(ctx)
	for _, s := range apps {
		if s.Spec.HostID == uuid {
			keys = append(keys, docKey{types.KindAppServer, s.Metadata.Name})
		}
	}
	return keys, err
}

// nameIndex maps what live nodes are found by, host names and the hosts of their
// addresses, to UUIDs, so that a name belongs to one process at a time. It is
// read from the store on each beat and changed by this service's own writes at
// once. Two auth services may admit one name within a beat: then the document
// that was written first keeps it, and the other is withdrawn by its service.
type nameIndex struct {
	loaded bool
	owner  map[string]string // name → UUID
	held   map[string]claim  // by UUID
}

// claim is all the names of one process. A claim of this service has the time
// when it was made: for a moment its document may not be in the store.
type claim struct {
	names []string
	made  time.Time
}

func newNameIndex(size int) nameIndex {
	return nameIndex{owner: make(map[string]string, size), held: make(map[string]claim, size)}
}

// claim gives a process all the names instead of those that it had, or none: then
// it says which belongs to whom.
func (n *nameIndex) claim(uuid string, c claim) (name, holder string, ok bool) {
	if name, holder = n.taken(uuid, c.names); holder != "" {
		return name, holder, false
	}
	n.drop(uuid)
	for _, name := range c.names {
		n.owner[name] = uuid
	}
	n.held[uuid] = c
	return "", "", true
}

// taken finds a name that belongs to another process.
func (n *nameIndex) taken(uuid string, names []string) (name, holder string) {
	for _, name := range names {
		if holder := n.owner[name]; holder != "" && holder != uuid {
			return name, holder
		}
	}
	return "", ""
}

func (n *nameIndex) drop(uuid string) {
	for _, name := range n.held[uuid].names {
		delete(n.owner, name)
	}
	delete(n.held, uuid)
}

// namesOf is what a node is found by, beside its UUID.
func namesOf(n *types.Node) []string {
	var names []string
	for _, name := range append([]string{n.Spec.Hostname}, addresses(n)...) {
		if name = strings.ToLower(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// addresses are the hosts of a node's addresses, without the ports.
func addresses(n *types.Node) []string {
	var hosts []string
	for _, a := range slices.Concat([]string{n.Spec.Addr}, n.Spec.PublicAddrs) {
		if a != "" {
			hosts = append(hosts, hostOf(a))
		}
	}
	return hosts
}

func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// loadNames reads the names in use. Claims that this service made lately stay,
// though their documents are not in the store yet.
func (i *Inventory) loadNames(ctx context.Context) error {
	begun := i.d.Now()
	nodes, err := i.nodes.All(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(nodes, func(a, b *types.Node) int { return byRevision(a.Metadata.Revision, b.Metadata.Revision) })
	read := newNameIndex(len(nodes))
	for _, n := range nodes {
		read.claim(n.Metadata.Name, claim{names: namesOf(n)}) // or not: an older document has one of them
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for uuid, c := range i.names.held {
		if c.made.After(begun.Add(-i.d.Lease)) {
			read.claim(uuid, c)
		}
	}
	read.loaded = true
	i.names = read
	return nil
}

// byRevision compares hexadecimal numbers without leading zeros.
func byRevision(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// claimNames gives a node its names, or says who has one of them.
func (i *Inventory) claimNames(ctx context.Context, uuid string, names []string) error {
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
	if name, holder, ok := i.names.claim(uuid, claim{names, i.d.Now()}); !ok {
		return fault.New(fault.AlreadyExists, "the host name %q belongs to the live host %s", name, holder).
			WithHint("give one of the two another nodename, or another public_addr")
	}
	return nil
}

// Claim gives the names of a node to it that no process announces, or says who has
// one of them. The document is to be stored at once: until then the names are kept
// for one lease.
func (i *Inventory) Claim(ctx context.Context, n *types.Node) error {
	return i.claimNames(ctx, n.Metadata.Name, namesOf(n))
}

// lostNames reports whether another process has one of a node's names now.
func (i *Inventory) lostNames(uuid string, names []string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, holder := i.names.taken(uuid, names)
	return holder != ""
}

// admit checks what a host may register against its certificate: its own UUID,
// a kind that its roles allow, the name and labels that its join token's scope
// allows.
func admit(id *types.Identity, doc types.Resource) error {
	h := doc.Head()
	need := announcers()[h.Kind]
	own := id.Name
	if s, ok := doc.(types.FrontedServer); ok {
		own = types.ServerName(s.Of().Head().Metadata.Name, id.Name)
		if host, _ := s.Host(); host != id.Name {
			return fault.New(fault.Denied, "it may register only what it fronts itself")
		}
	}
	switch {
	case need == "":
		return fault.New(fault.Denied, "a process does not register documents of the kind %s", h.Kind)
	case !id.HasSystemRole(need):
		return fault.New(fault.Denied, "its certificate does not have the role %s", need)
	case h.Metadata.Name != own:
		return fault.New(fault.Denied, "it may register only under its own UUID, %s", id.Name)
	}
	hostname, labels, addrs := "", h.Metadata.Labels, []string(nil)
	switch d := doc.(type) {
	case *types.Node:
		if d.SubKind != "" && d.SubKind != types.SubKindTeleport {
			return fault.New(fault.Denied, "an agent registers only itself, not a node of the sub kind %s", d.SubKind)
		}
		hostname, labels, addrs = d.Spec.Hostname, d.AllLabels(), addresses(d)
	case *types.Proxy:
		hostname, addrs = d.Spec.Hostname, d.Spec.PublicAddrs
	case types.FrontedServer:
		return admitFronted(id, d)
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
		if !join.CoversName(id.Authority.Scope, hostOf(a)) {
			return fault.New(fault.Denied, "its join token does not allow the address %.80q", a).
				WithHint("join with a token whose scope covers it")
		}
	}
	return nil
}

// admitFronted checks what an agent fronts: the name and the labels of that count,
// not those of the host.
func admitFronted(id *types.Identity, s types.FrontedServer) error {
	h := s.Of().Head()
	if !join.Covers(id.Authority.Scope, h.Metadata.Name, s.Of().AllLabels()) {
		return fault.New(fault.Denied, "its join token does not allow the %s %q with these labels", called(h.Kind), h.Metadata.Name).
			WithHint("join with a token whose scope covers them")
	}
	_, hostname := s.Host()
	if own := id.Authority.Hostname; own != "" && hostname != own {
		return fault.New(fault.Denied, "its certificate is for the host name %q, not %q", own, hostname)
	}
	return nil
}

// called is what people call resources of a kind.
func called(kind string) string {
	if kind == types.KindDatabase {
		return "database"
	}
	return kind
}
