package assembly

import (
	"maps"
	"sync"

	"teleport/types"
)

// nodeDoc is the document of this host: its static labels, and those whose
// values commands print.
type nodeDoc struct {
	p  *Process
	id *types.Identity

	mu  sync.Mutex
	doc *types.Node
}

func newNodeDoc(p *Process, id *types.Identity) *nodeDoc {
	c := p.cfg.SSH
	n := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2",
		Metadata: types.Metadata{Name: id.Name, Labels: maps.Clone(c.Labels)}},
		Spec: types.NodeSpec{Hostname: p.cfg.Nodename, PublicAddrs: c.PublicAddrs, UseTunnel: true, ServerVersion: types.Release}}
	for _, cmd := range c.Commands {
		if n.Spec.CmdLabels == nil {
			n.Spec.CmdLabels = map[string]types.CommandLabel{}
		}
		n.Spec.CmdLabels[cmd.Name] = types.CommandLabel{Command: cmd.Command, Period: cmd.Period}
	}
	return &nodeDoc{p: p, id: id, doc: n}
}

// document returns the node as it stands; callers do not change it.
func (n *nodeDoc) document() *types.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.doc
}

func (n *nodeDoc) announce() error { return n.p.presence.set("ssh", n.document()) }
