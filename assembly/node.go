package assembly

import (
	"maps"

	"teleport/sshaccess/nodelabels"
	"teleport/telemetry"
	"teleport/types"
)

// nodeDoc is the document of this host: its static labels, and those whose
// values commands print.
type nodeDoc struct {
	p      *Process
	fixed  *types.Node // everything but the values of command labels; never changed
	labels *nodelabels.Runner
}

// newNodeDoc makes the document; addr is where the host itself is reached, ""
// where only tunnels lead to it.
func newNodeDoc(p *Process, id *types.Identity, addr string) (*nodeDoc, error) {
	c := p.cfg.SSH
	n := &nodeDoc{p: p, fixed: &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2",
		Metadata: types.Metadata{Name: id.Name, Labels: maps.Clone(c.Labels)}},
		Spec: types.NodeSpec{Hostname: p.cfg.Nodename, Addr: addr, PublicAddrs: c.PublicAddrs, UseTunnel: !c.Direct, ServerVersion: types.Release}}}
	commands := map[string]types.CommandLabel{}
	for _, cmd := range c.Commands {
		commands[cmd.Name] = types.CommandLabel{Command: cmd.Command, Period: cmd.Period}
	}
	var err error
	n.labels, err = nodelabels.New(commands, func() {
		if err := n.announce(); err != nil {
			p.log.Warn("changed labels were not announced", telemetry.KeyErr, err)
		}
	})
	return n, err
}

// document returns the node as it stands; callers do not change it.
func (n *nodeDoc) document() *types.Node {
	doc := *n.fixed
	if labels := n.labels.Labels(); len(labels) > 0 {
		doc.Spec.CmdLabels = labels
	}
	return &doc
}

func (n *nodeDoc) announce() error { return n.p.presence.set("ssh", n.document()) }
